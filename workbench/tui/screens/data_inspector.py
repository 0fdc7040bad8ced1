"""The inspector: the batches that a recipe really trains on, token by token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll

from workbench.errors import WorkbenchError
from workbench.tui import actions, inspecting, safe
from workbench.tui.inspecting import Subject
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Column, Table
from workbench.tui.widgets.token_text import TokenText

if TYPE_CHECKING:
    from workbench.corpus.chats.inspection import BatchView, Inspector, SequenceView

COLUMNS = (
    Column(title="Row", width=4, right=True),
    Column(title="Tokens", width=6, right=True),
    Column(title="Trained", width=7, right=True),
    Column(title="Docs", width=4, right=True, drop=1),
    Column(title="Cut", width=3, right=True, drop=2),
    Column(title="From", width=6, grow=1, drop=3),
)


class InspectorScreen(WorkbenchScreen):
    """Wide: the batch's rows, the tokens of one and what is known of the one under the cursor. Narrow: the tokens and
    a few lines about them."""

    PLACE = "inspector"
    BINDINGS = actions.bindings("inspector")
    DEFAULT_CSS = """
    InspectorScreen #none { height: 1fr; }
    InspectorScreen #batch { display: none; height: 1fr; }
    InspectorScreen.-open #none { display: none; }
    InspectorScreen.-open #batch { display: block; }
    InspectorScreen #wrong { display: none; height: auto; max-height: 8; }
    InspectorScreen.-wrong #wrong { display: block; }
    InspectorScreen #side { height: auto; }
    InspectorScreen #rows { display: none; }
    InspectorScreen #facts { display: none; }
    InspectorScreen #token { height: 5; }
    InspectorScreen #tokens { height: 1fr; }
    InspectorScreen.-wide #parts, InspectorScreen.-very-wide #parts { layout: horizontal; height: 1fr; }
    InspectorScreen #parts { height: 1fr; }
    InspectorScreen.-wide #side, InspectorScreen.-very-wide #side { width: 42; height: 100%; }
    InspectorScreen.-very-wide #side { width: 60; }
    InspectorScreen.-wide #rows, InspectorScreen.-very-wide #rows { display: block; height: 1fr; }
    InspectorScreen.-wide #facts, InspectorScreen.-very-wide #facts { display: block; height: auto; }
    InspectorScreen.-wide #token, InspectorScreen.-very-wide #token { height: 7; }
    InspectorScreen.-wide #tokens, InspectorScreen.-very-wide #tokens { width: 1fr; height: 100%; }
    """

    def __init__(self, subject: Subject):
        super().__init__()
        self.subject = subject
        self.inspector: Inspector | None = None
        self.shown_batch: BatchView | None = None
        self.row = 0
        self._wanted = 0  # the batch that was asked for last
        self._reading = False

    def heading(self) -> str:
        return safe.line(f"What is trained on: {self.subject.title}")

    def body(self) -> ComposeResult:
        yield Empty("The data is being read and put into tokens ...", id="none")
        with Container(id="batch"):
            with VerticalScroll(id="wrong", classes="pane") as pane:
                pane.border_title = "What is wrong"
                yield Sections()
            with Container(id="parts"):
                with Vertical(id="tokens", classes="pane"):
                    yield TokenText()
                with Vertical(id="side"):
                    with Vertical(id="facts", classes="pane") as pane:
                        pane.border_title = "Batch"
                        yield Sections()
                    with Vertical(id="rows", classes="pane") as pane:
                        pane.border_title = "Rows of the batch"
                        yield Table(COLUMNS, self.cells, key=lambda row: row[0], opens="Tokens")
                    with Vertical(id="token", classes="pane") as pane:
                        pane.border_title = "Token"
                        yield Facts()

    def on_mount(self) -> None:
        self.beside(self._open)

    def show(self, changes: Changes) -> None:
        pass  # what was read does not change

    # ------------------------------------------------------------------ reading

    async def _open(self) -> None:
        try:
            self.inspector = await asyncio.to_thread(self.subject.open)
        except WorkbenchError as error:
            self.query_one("#none", Empty).say(safe.safe(str(error)), ("Esc", "back"))
            return
        self._say_what_is_wrong()
        await self._read()

    async def _read(self) -> None:
        """The batch that is wanted, and the one that is wanted by then."""
        if self._reading or self.inspector is None:
            return
        self._reading = True
        try:
            while self.shown_batch is None or self.shown_batch.step != self._wanted:
                batch = await asyncio.to_thread(self.inspector.batch, self._wanted)
                self.shown_batch, self.row = batch, 0
        finally:
            self._reading = False
        self._show_batch()

    def _say_what_is_wrong(self) -> None:
        assert self.inspector is not None
        lines = inspecting.findings_in_words(self.inspector.facts)
        self.set_class(bool(lines), "-wrong")
        on = self.query_one("#wrong Sections", Sections)
        on.begin()
        for sentence, style in lines:
            on.sentence(sentence, style)
        on.end()

    # ------------------------------------------------------------------ what is shown

    def _show_batch(self) -> None:
        looked_at, batch = self.inspector, self.shown_batch
        assert looked_at is not None
        assert batch is not None
        self.add_class("-open")
        facts = self.query_one("#facts Sections", Sections)
        facts.begin()
        facts.pairs(inspecting.batch_in_words(looked_at.facts, batch), names=10)
        facts.end()
        self.query_one(Table).set_rows([(number, batch.step) for number in range(len(batch.sequences))])
        self.query_one(Table).refresh()
        self.query_one(Table).cursor = 0
        self._show_row()
        if self.focused is None:
            self.query_one(TokenText).focus()
        self.refresh_keys()

    @property
    def sequence(self) -> SequenceView | None:
        return self.shown_batch.sequences[self.row] if self.shown_batch is not None else None

    def _show_row(self) -> None:
        looked_at, batch, sequence = self.inspector, self.shown_batch, self.sequence
        assert looked_at is not None
        assert batch is not None
        assert sequence is not None
        share = sequence.trained / max(len(sequence.tokens), 1)
        marks = "# trained on, : masked" if self.app.ascii else "┃ trained on, ┊ masked"
        entitle(
            self.query_one("#tokens"),
            f"batch {batch.step:,} of {looked_at.facts.steps_per_epoch:,}, row {self.row} of {len(batch.sequences)}: "
            f"{sequence.trained:,} of {len(sequence.tokens):,} trained on, {share:.0%}",
            marks,
        )
        self.query_one(TokenText).show(inspecting.stretches(sequence))

    def cells(self, row: tuple[int, int]) -> list[Text]:
        on, batch = self.query_one(Table), self.shown_batch
        assert batch is not None
        sequence = batch.sequences[row[0]]
        share = sequence.trained / max(len(sequence.tokens), 1)
        cut = sum(document.cut for document in sequence.documents)
        labels = dict.fromkeys(f"{item.label} {item.source}".strip() for item in sequence.documents)
        return [
            on.assemble(str(row[0])),
            on.assemble(f"{len(sequence.tokens):,}"),
            on.assemble((f"{share:.0%}", "text" if share else "bad")),
            on.assemble(str(len(sequence.documents))),
            on.assemble((str(cut or ""), "warn")),
            on.assemble((safe.line(", ".join(labels)), "muted")),
        ]

    def on_table_moved(self, event: Table.Moved) -> None:
        if self.shown_batch is not None and event.row is not None and event.row[0] != self.row:
            self.row = event.row[0]
            self._show_row()

    def on_table_opened(self, event: Table.Opened) -> None:
        self.query_one(TokenText).focus()

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        sequence = self.sequence
        facts = self.query_one("#token Facts", Facts)
        if sequence is None or self.inspector is None or not sequence.tokens:
            facts.state(None, (), ())
            return
        pairs = inspecting.token_in_words(self.inspector, sequence, event.place)
        heading = facts.assemble((safe.line(pairs[0][1]), "strong"))
        facts.state(heading, (), [(name, safe.line(value)) for name, value in pairs[1:]])

    # ------------------------------------------------------------------ actions

    def _why_not(self, _: str = "") -> str | None:
        return None if self.shown_batch is not None else "There is no batch to look at yet."

    why_not_next = why_not_batch = _why_not

    def why_not_previous(self, _: str = "") -> str | None:
        return self._why_not() or (None if self._wanted else "This is the first batch.")

    def why_not_next_row(self, _: str = "") -> str | None:
        last = self.shown_batch is not None and self.row + 1 == len(self.shown_batch.sequences)
        return self._why_not() or ("This is the batch's last row." if last else None)

    def why_not_previous_row(self, _: str = "") -> str | None:
        return self._why_not() or (None if self.row else "This is the batch's first row.")

    def do_next(self, _: str = "") -> None:
        self._go_to(self._wanted + 1)

    def do_previous(self, _: str = "") -> None:
        self._go_to(self._wanted - 1)

    def do_batch(self, argument: str = "") -> None:
        if not argument:
            self.app.ask_line("Show the batch of step", self.do_batch, value=str(self._wanted), hint="from 0")
            return
        if not argument.isdecimal() or len(argument) > 12:
            raise WorkbenchError(f"{argument!r} is no batch.", "Batches are counted from 0.")
        self._go_to(int(argument))

    def _go_to(self, step: int) -> None:
        self._wanted = step
        self.beside(self._read)

    def do_next_row(self, _: str = "") -> None:
        self._to_row(self.row + 1)

    def do_previous_row(self, _: str = "") -> None:
        self._to_row(self.row - 1)

    def _to_row(self, row: int) -> None:
        self.row = row
        self.query_one(Table).cursor = row
        self._show_row()
        self.refresh_keys()

    def do_back(self, _: str = "") -> None:
        self.dismiss()
