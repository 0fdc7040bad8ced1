"""What cleaning did to a corpus, step by step: how many came and went, examples with the place that a rule is about,
and what another threshold would do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.tui import actions, cleaning_view, safe
from workbench.tui.cleaning_view import FunnelRow
from workbench.tui.live import ArtifactRow
from workbench.tui.records import Part
from workbench.tui.screens.reading import ReadingScreen
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from workbench.corpus.trial import Effect, Trial

COLUMNS = (
    Column(title="Step, reasons", width=20, grow=1),
    Column(title="In", width=8, right=True),
    Column(title="Left out", width=8, right=True),
    Column(title="Changed", width=8, right=True, drop=2),
    Column(title="Leaves", width=9, right=True, drop=1),
)


class RejectsScreen(ReadingScreen):
    PLACE = "rejects"
    BINDINGS = actions.bindings("rejects")
    DEFAULT_CSS = """
    RejectsScreen #list { height: 45%; }
    RejectsScreen #reasons { height: 1fr; }
    RejectsScreen #effect { display: none; height: auto; max-height: 8; }
    RejectsScreen.-tried #effect { display: block; }
    """

    def __init__(self, item: ArtifactRow):
        super().__init__()
        self.item = item
        self.examples: Sequence[tuple[Part, ...]] = ()  # of the chosen row
        self.effect: Effect | None = None  # of the threshold that was tried last
        self.shown = 0  # which example, or which changed document
        self._trial: Trial | None = None

    def heading(self) -> str:
        return safe.line(f"Funnel of {self.item.id}")

    def listing(self) -> ComposeResult:
        with Vertical(id="list"):
            with Vertical(id="reasons", classes="pane") as pane:
                pane.border_title = "What came, and what was left out"
                yield Table(COLUMNS, self.cells, key=lambda row: row, opens="Read")
            with Vertical(id="effect", classes="pane") as pane:
                pane.border_title = "Another threshold"
                yield Sections()

    def on_mount(self) -> None:
        self.query_one(Table).set_rows(cleaning_view.funnel(self.item.report))

    @property
    def _folder(self) -> Path:
        assert self.app.project is not None
        return self.app.project.folder(self.item.kind) / self.item.id

    # ------------------------------------------------------------------ what is shown

    def cells(self, row: FunnelRow) -> list[Text]:
        on = self.query_one(Table)
        if row.reason:
            nothing = on.assemble("")
            name = on.assemble(f"  {safe.line(row.reason)}")
            return [name, nothing, on.assemble(f"{row.rejected:,}"), nothing, nothing]
        much = row.rejected > 0.5 * row.came
        return [
            on.assemble((safe.line(row.step), "strong")),
            on.assemble((f"{row.came:,}", "strong")),
            on.assemble((f"{row.rejected:,}" if row.rejected else "", "warn" if much else "strong")),
            on.assemble((f"{row.changed:,}" if row.changed else "", "muted")),
            on.assemble((figures.size(row.bytes), "muted")),
        ]

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.row is not None:
            self._forget()
            self.run_worker(self._read(event.row), group="examples", exclusive=True, exit_on_error=True)

    async def _read(self, row: FunnelRow) -> None:
        try:
            found = await asyncio.to_thread(cleaning_view.examples, self._folder, row)
        except WorkbenchError as error:
            self.app.show_error(error)
            found = []
        if self.query_one(Table).row == row:
            self.examples, self.shown = found, 0
            self._show()

    def _show(self) -> None:
        parts = self._parts()
        row = self.query_one(Table).row
        what = "rejected" if row is not None and row.shows_rejected else "changed"
        if self.effect is not None:
            what = "with another fate"
        number = f"{self.shown + 1:,} of {self._count:,}" if parts else "no"
        self.give_to_read(parts, f"{number} examples {what}")

    @property
    def _count(self) -> int:
        if self.effect is not None:
            return len(self.effect.now_kept) + len(self.effect.now_rejected)
        return len(self.examples)

    def _parts(self) -> tuple[Part, ...]:
        if self.shown >= self._count:
            return ()
        if self.effect is None:
            return self.examples[self.shown]
        kept = self.effect.now_kept
        if self.shown < len(kept):
            return cleaning_view.fate_parts(kept[self.shown], now_kept=True)
        return cleaning_view.fate_parts(self.effect.now_rejected[self.shown - len(kept)], now_kept=False)

    # ------------------------------------------------------------------ examples

    def why_not_next(self, _: str = "") -> str | None:
        return None if self.shown + 1 < self._count else "This is the last one."

    def why_not_previous(self, _: str = "") -> str | None:
        return None if self.shown else "This is the first one."

    def do_next(self, _: str = "") -> None:
        self.shown += 1
        self._show()

    def do_previous(self, _: str = "") -> None:
        self.shown -= 1
        self._show()

    # ------------------------------------------------------------------ thresholds

    def why_not_threshold(self, _: str = "") -> str | None:
        if (row := self.query_one(Table).row) is None:
            return "No step cleaned it."
        if row.step == "read":
            return "Reading has no parameters: choose a step."
        return None if isinstance(self.item.recipe.get("clean"), list) else "It was imported without steps of cleaning."

    def do_threshold(self, argument: str = "") -> None:
        if argument:
            self._try(argument)
            return
        row: FunnelRow = self.query_one(Table).row
        self.run_worker(self._ask(row), exclusive=True, group="ask", exit_on_error=True)

    async def _ask(self, row: FunnelRow) -> None:
        value = await asyncio.to_thread(cleaning_view.limit_of, self._folder, row)
        title = f"Try another parameter of {row.step} on the sample"
        self.app.ask_line(title, self._try, value=value, hint="parameter=value")

    def _try(self, text: str) -> None:
        row: FunnelRow = self.query_one(Table).row
        moved = cleaning_view.settings(row.step, text)
        self.beside(partial(self._trying, moved), group="trial")

    async def _trying(self, moved: Mapping[str, Any]) -> None:
        def run() -> tuple[Trial, Effect]:
            from workbench.corpus.trial import Trial

            trial = self._trial
            if trial is None:  # the first one runs all steps; later ones those from the moved one on
                trial = Trial(self._folder, self.item.recipe["clean"])
                trial.prepare()
            return trial, trial.move(moved)

        if self._trial is None:
            self.app.tell("The sample goes through the steps ...")
        self._trial, effect = await asyncio.to_thread(run)
        self.effect, self.shown = effect, 0
        sections = self.query_one("#effect Sections", Sections)
        sections.begin()
        for sentence, style in cleaning_view.effect_in_words(moved, effect):
            sections.sentence(sentence, style)
        sections.end()
        self.add_class("-tried")
        self._show()

    def _forget(self) -> None:
        self.effect = None
        self.remove_class("-tried")

    # ------------------------------------------------------------------ moving

    def do_back(self, _: str = "") -> None:
        if self.effect is None or self.has_class("-zoomed"):
            super().do_back()
            return
        self._forget()
        self.shown = 0
        self._show()
