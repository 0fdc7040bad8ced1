"""One data set, row by row: to read, to search, and, of what a model made up, to accept or reject."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Input

from workbench.errors import WorkbenchError
from workbench.tui import actions, cleaning_view, safe
from workbench.tui.live import ArtifactRow
from workbench.tui.records import Record, Records
from workbench.tui.screens.base import entitle
from workbench.tui.screens.data_reviewing import Reviewing
from workbench.tui.screens.reading import ReadingScreen
from workbench.tui.widgets.reader import Reader
from workbench.tui.widgets.table import Column, Table

COLUMNS = (
    Column(title="Row", width=6, right=True),
    Column(title="", width=1),
    Column(title="Begins", width=24, grow=3),
    Column(title="Source", width=18, grow=1, drop=1),
)
MARKS = {
    "accepted": ("✓", "+", "good"),
    "rejected": ("✗", "x", "bad"),
    "new": ("·", ".", "muted"),
    "": (" ", " ", "text"),
}
MOST_FOUND = 10_000  # rows of a search: nobody reads more
REST_SECONDS = 0.08  # of the cursor, before a row that is not in memory is read


class RecordsScreen(Reviewing, ReadingScreen):
    PLACE = "records"
    BINDINGS = actions.bindings("records")
    DEFAULT_CSS = """
    RecordsScreen #filter { display: none; }
    RecordsScreen.-searching #filter { display: block; }
    """

    def __init__(self, item: ArtifactRow):
        super().__init__()
        self.item = item
        self.records: Records | None = None  # that are shown
        self.rows: Records | None = None
        self.rejects: Records | None = None  # None: nothing was left out
        self.found: Sequence[int] | None = None  # by a search; None: all rows are shown
        self.searched = 0.0  # share of the set that the search has gone through
        self.record: Record | None = None
        self.reviews: Any = None  # `Reviews` of rows that wait for a yes or no, `CorpusMarks` of documents
        self._loading: set[int] = set()
        self._resting: Timer | None = None

    def heading(self) -> str:
        return safe.line(f"{self.item.kind} {self.item.id}")

    def listing(self) -> ComposeResult:
        with Vertical(id="list", classes="pane"):
            yield Input(placeholder="words that a row holds; Enter searches", id="filter")
            yield Table(COLUMNS, self.cells, key=lambda number: number, opens="Read")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self._title()
        self.beside(self._open)

    # ------------------------------------------------------------------ reading

    async def _open(self) -> None:
        project = self.app.project
        assert project is not None

        def read() -> tuple[Records, Any]:
            folder = project.folder(self.item.kind) / self.item.id
            records = Records(self.item.kind, folder)
            self.rejects = _rejects(folder)
            if self.item.kind == "corpus":
                from workbench.tui.corpus_marks import CorpusMarks

                return records, CorpusMarks(project, self.item.id, records)
            if self.item.kind == "chats" and len(records) and records.record(0).status:
                from workbench.preferences.reviews import Reviews

                return records, Reviews(project, self.item.identity)
            return records, None

        records, self.reviews = await asyncio.to_thread(read)
        self.records = self.rows = records
        self.query_one(Table).set_rows(range(len(records)))
        self._title()
        self.refresh_keys()

    def _load(self, page: int) -> None:
        """Read a page beside the screen, once."""
        if page not in self._loading:
            self._loading.add(page)
            self.beside(partial(self._loaded, page))

    async def _loaded(self, page: int) -> None:
        assert self.records is not None
        await asyncio.to_thread(self.records.page, page)
        self._loading.discard(page)  # one that cannot be read is not asked for again
        self.query_one(Table).refresh()

    async def _read(self, number: int) -> None:
        assert self.records is not None
        record = await asyncio.to_thread(self.records.record, number)
        if self.query_one(Table).row == number:
            self.record = record
            self.give_to_read(record.parts, f"row {number:,}  {record.source}", self._said(number))

    # ------------------------------------------------------------------ what is shown

    def cells(self, number: int) -> list[Text]:
        on = self.query_one(Table)
        assert self.records is not None
        title = self.records.title(number)
        if title is None:
            self._load(self.records.page_of(number))
        text, source = title or ("...", "")
        reviewed = self.reviews is not None and not self.shows_rejects
        mark, plain, style = MARKS[self.reviews.status(number) if reviewed else ""]
        return [
            on.assemble((f"{number:,}", "muted")),
            on.assemble((plain if self.app.ascii else mark, style)),
            on.assemble(safe.line(text)),
            on.assemble((safe.line(source), "muted")),
        ]

    def _title(self) -> None:
        pane = self.query_one("#list")
        total = len(self.records) if self.records is not None else 0
        if self.records is None:
            entitle(pane, "being read ...")
        elif self.found is not None:
            more = "" if self.searched >= 1 else f", {self.searched:.0%} searched"
            entitle(pane, f"{len(self.found):,} of {total:,} {self._what}{more}", self._reviewed())
        else:
            entitle(pane, f"{total:,} {self._what}", self._reviewed())

    @property
    def shows_rejects(self) -> bool:
        """Whether what was left out is shown, in place of the rows."""
        return self.rejects is not None and self.records is self.rejects

    @property
    def _what(self) -> str:
        return "left out" if self.shows_rejects else "rows"

    def on_table_moved(self, event: Table.Moved) -> None:
        if self._resting is not None:
            self._resting.stop()
        if event.row is None:
            self.record = None
            self.give_to_read(())
            return
        number: int = event.row
        self._resting = self.set_timer(REST_SECONDS, lambda: self._follow(number))

    def _follow(self, number: int) -> None:
        self.beside(partial(self._read, number), group="record")

    # ------------------------------------------------------------------ searching

    def do_search(self, argument: str = "") -> None:
        field = self.query_one(Input)
        self.remove_class("-zoomed")
        self.add_class("-searching")
        if argument:
            field.value = argument
            self._search(argument)
        else:
            field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one(Table).focus()
        self._search(event.value)

    def _search(self, text: str) -> None:
        if not text.strip():
            self._all()
            return
        self.beside(partial(self._searching, text), group="search")

    async def _searching(self, text: str) -> None:
        records = self.records
        if records is None:
            return
        self.found, self.searched = [], 0.0
        table = self.query_one(Table)
        table.set_rows([])
        for page in range(records.pages):
            hits = await asyncio.to_thread(records.matches, page, text)
            self.searched = (page + 1) / records.pages
            self.found = [*self.found, *hits]
            if hits:
                table.set_rows(self.found)
            self._title()
            if len(self.found) >= MOST_FOUND:
                break
        self.refresh_keys()

    def _all(self) -> None:
        self.workers.cancel_group(self, "search")
        self.found = None
        self.query_one(Input).value = ""
        self.remove_class("-searching")
        table = self.query_one(Table)
        table.set_rows(range(len(self.records) if self.records is not None else 0))
        table.focus()
        self._title()

    # ------------------------------------------------------------------ tokens

    def why_not_tokens(self, _: str = "") -> str | None:
        if self.item.kind != "corpus":
            return "x on Data shows conversations and pairs as they are trained on."
        if not self._tokenizers():
            return "The project has no tokenizer yet."
        return None if self.record is not None else "There is no row to read."

    def do_tokens(self, _: str = "") -> None:
        from workbench.tui.screens.data_tokens import TokensScreen

        assert self.record is not None
        title = f"row {self.record.number:,} of {self.item.id}"
        self.app.push_screen(TokensScreen(title, self.record.parts[0].text, self._tokenizers()))

    def _tokenizers(self) -> list[ArtifactRow]:
        """The project's, those of this corpus first, the newest before older ones."""
        live = self.app.live
        found = [item for item in reversed(live.artifacts if live else ()) if item.kind == "tokenizer"]
        return sorted(found, key=lambda item: ("corpus", self.item.id) not in item.inputs.values())

    # ------------------------------------------------------------------ what was left out

    def why_not_rejects(self, _: str = "") -> str | None:
        return None if self.rejects is not None else "Nothing was left out of it."

    def do_rejects(self, _: str = "") -> None:
        if cleaning_view.funnel(self.item.report):
            from workbench.tui.screens.data_rejects import RejectsScreen

            self.app.push_screen(RejectsScreen(self.item))
            return
        self.records = self.rows if self.shows_rejects else self.rejects
        self._loading.clear()
        self.query_one(Table).set_rows([])  # the numbers are other rows' now
        self._all()
        self.refresh_keys()

    # ------------------------------------------------------------------ moving

    def do_back(self, _: str = "") -> None:
        if self.has_class("-zoomed") or isinstance(self.focused, Reader):
            super().do_back()
        elif self.has_class("-searching"):
            self._all()
        elif self.shows_rejects:
            self.do_rejects()
        else:
            self.dismiss()


def _rejects(folder: Path) -> Records | None:
    """What an import left out, if anything."""
    if not (folder / "rejects.parquet").is_file():
        return None
    try:
        found = Records("rejects", folder)
    except WorkbenchError:
        return None
    return found if len(found) else None
