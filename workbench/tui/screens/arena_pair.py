"""Two answers to a prompt, side by side or one above the other: which is better, and by how much?"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from workbench.preferences.arena import SCALE
from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.choice import Pair
from workbench.preferences.judgements import Judgement
from workbench.tui import actions
from workbench.tui.screens.arena_judging import Judging
from workbench.tui.widgets.painted import Painted

BORDERS = 2  # lines of a pane
WORDS = ("A much better", "A better", "tie", "B better", "B much better")


class Scale(Painted, Static):
    """The verdicts and their keys."""

    DEFAULT_CSS = "Scale { height: 1; padding: 0 1; text-align: center; }"

    def __init__(self) -> None:
        super().__init__(markup=False)

    def render(self) -> Text:
        keys = [*((str(number), word) for number, word in enumerate(WORDS, 1)), ("b", "both bad")]
        text = Text("  ").join(self.assemble((key, "key"), " ", (word, "muted")) for key, word in keys)
        text.justify = "center"
        return text


class PairScreen(Judging):
    """Wide: side by side. Narrow: A above B, and the active one taller where they do not both fit."""

    PLACE = "ranking"
    BINDINGS = actions.bindings("ranking")
    DEFAULT_CSS = """
    PairScreen.-long AnswerText { height: 1fr; }
    PairScreen.-long AnswerText.-active { height: 2fr; }
    PairScreen.-wide #answers, PairScreen.-very-wide #answers { layout: horizontal; }
    PairScreen.-wide #answers AnswerText, PairScreen.-very-wide #answers AnswerText { width: 1fr; height: 100%; }
    """

    def scale(self) -> ComposeResult:
        yield Scale()

    def letter(self, place: int) -> str:
        return "AB"[place]

    def draw(self) -> tuple[Prompt, Sequence[Answer]] | None:
        assert self.arena is not None
        pair = self.arena.next()
        return _sides(pair) if pair else None

    def present(self, prompt: Prompt, answers: Sequence[Answer]) -> None:
        super().present(prompt, answers)
        if self.query_one("#answers").size.height:
            self._share_room()
        else:  # not laid out yet
            self.call_after_refresh(self._share_room)

    def on_resize(self) -> None:
        self.call_after_refresh(self._share_room)

    def _share_room(self) -> None:
        """Where the answers stand above each other and halves are too low for them, the active one gets more."""
        half = self.query_one("#answers").size.height // 2 - BORDERS
        self.set_class(self.has_class("-narrow") and any(len(pane.lines) > half for pane in self.panes), "-long")

    def show_again(self, last: Judgement) -> None:
        assert self.arena is not None
        if last.kind != "edit" and self.arena.pair is not None:
            self.tags, self.note = last.tags, last.note
            self.present(*_sides(self.arena.pair))
        elif last.kind == "ranking":
            self.advance()

    # ------------------------------------------------------------------ verdicts

    def _judge(self, number: int) -> None:
        verdict, strength = SCALE[number]
        if self.all_read():
            told = self.reveal()
            self.carry_out(lambda arena: arena.judge(verdict, strength, tags=self.tags, note=self.note), told)

    def do_a_much(self, _: str = "") -> None:
        self._judge(1)

    def do_a(self, _: str = "") -> None:
        self._judge(2)

    def do_tie(self, _: str = "") -> None:
        self._judge(3)

    def do_b(self, _: str = "") -> None:
        self._judge(4)

    def do_b_much(self, _: str = "") -> None:
        self._judge(5)

    def do_both_bad(self, _: str = "") -> None:
        if self.all_read():
            told = self.reveal()
            self.carry_out(lambda arena: arena.judge("both_bad", tags=self.tags, note=self.note), told)

    why_not_a_much = why_not_a = why_not_tie = why_not_b = why_not_b_much = why_not_both_bad = Judging._why_idle


def _sides(pair: Pair) -> tuple[Prompt, Sequence[Answer]]:
    return pair.prompt, (pair.prompt.answer(pair.left), pair.prompt.answer(pair.right))
