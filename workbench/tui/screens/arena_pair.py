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

    def share_room(self) -> None:
        """One above the other, each gets what it needs; where both are long, the active one gets more."""
        if not self.answers:
            return
        above, below = self.panes
        if not self.has_class("-narrow") or self.has_class("-zoomed"):
            for pane in self.panes:
                if pane.styles.inline.has_rule("height"):
                    pane.styles.inline.clear_rule("height")
                    pane.refresh(layout=True)
            return
        height = self.query_one("#answers").size.height
        first = upper_height(height, len(above.lines) + BORDERS, len(below.lines) + BORDERS, self.active)
        for pane, room in ((above, first), (below, height - first)):
            given = pane.styles.inline.height
            if given is None or given.value != room:
                pane.styles.height = room

    def show_again(self, last: Judgement) -> None:
        assert self.arena is not None
        if last.kind != "edit" and self.arena.pair is not None:
            self.tags, self.note = last.tags, last.note
            self.put(*_sides(self.arena.pair))
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

    why_not_a_much = why_not_a = why_not_tie = why_not_b = why_not_b_much = why_not_both_bad = Judging.why_idle


def upper_height(height: int, above: int, below: int, active: int) -> int:
    """Lines for the upper of two panes in `height`, which need `above` and `below`; `active`: 0 the upper one."""
    half = height // 2
    if above <= half and below <= half:
        return half
    if below <= half:
        return min(above, height - below)
    if above <= half:
        return above
    return height - height // 3 if active == 0 else height // 3


def _sides(pair: Pair) -> tuple[Prompt, Sequence[Answer]]:
    return pair.prompt, (pair.prompt.answer(pair.left), pair.prompt.answer(pair.right))
