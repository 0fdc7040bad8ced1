"""All answers to a prompt, to be put in order: k · (k - 1) / 2 pairs at a time (Ouyang et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.judgements import Judgement
from workbench.tui import actions
from workbench.tui.screens.arena_judging import Judging
from workbench.tui.widgets.painted import Painted


class Order:
    """Places of answers in groups, best first, as it is typed: a digit begins a group, or joins the last one."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.joins = False  # the next one belongs to the last group

    def put(self, place: int) -> None:
        if self.joins:
            self.groups[-1].append(place)
        else:
            self.groups.append([place])
        self.joins = False

    def back(self) -> None:
        """Take back what was typed last."""
        if self.joins:
            self.joins = False
        elif self.groups:
            self.joins = len(self.groups[-1]) > 1
            self.groups[-1].pop()
            self.groups = [group for group in self.groups if group]

    @property
    def placed(self) -> list[int]:
        return [place for group in self.groups for place in group]

    def rank(self, place: int) -> int | None:
        """1 for the best group; None if it has no place yet."""
        return next((number for number, group in enumerate(self.groups, 1) if place in group), None)

    def text(self) -> str:
        shown = " > ".join(" = ".join(str(place + 1) for place in group) for group in self.groups)
        return shown + (" =" if self.joins else "")


class OrderLine(Painted, Static):
    """The order as far as it is typed, and what comes next."""

    DEFAULT_CSS = "OrderLine { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.order, self.total = Order(), 0

    def show(self, order: Order, total: int) -> None:
        self.order, self.total = order, total
        self.refresh()

    def render(self) -> Text:
        left = [str(place + 1) for place in range(self.total) if place not in self.order.placed]
        text = self.assemble(("Best first: ", "muted"), (self.order.text() or "-", "strong"))
        if left:
            text.append_text(self.assemble(("   to place: ", "muted"), (" ".join(left), "key")))
            if self.order.groups and not self.order.joins:
                text.append_text(self.assemble("   ", ("=", "key"), (" the next is as good", "muted")))
        else:
            text.append_text(self.assemble("   ", ("Enter", "key"), (" keep this order", "muted")))
        return text


class SetScreen(Judging):
    """Wide: the answers in a grid. Narrow: the active one alone."""

    PLACE = "ordering"
    MOST_ANSWERS = 8
    BINDINGS = actions.bindings("ordering")
    DEFAULT_CSS = """
    SetScreen.-narrow #answers AnswerText { display: none; }
    SetScreen.-narrow #answers AnswerText.-active { display: block; }
    SetScreen.-wide #answers, SetScreen.-very-wide #answers { layout: grid; grid-size: 2; }
    SetScreen.-wide.-three #answers, SetScreen.-very-wide.-three #answers { grid-size: 3; }
    SetScreen.-very-wide.-many #answers { grid-size: 4; }
    SetScreen #answers AnswerText.-unused { display: none; }
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.order = Order()

    def scale(self) -> ComposeResult:
        yield OrderLine()

    def letter(self, place: int) -> str:
        return str(place + 1)

    def pane_title(self, place: int) -> str:
        rank = self.order.rank(place)
        return f"{place + 1} of {len(self.answers)}" + (f", place {rank}" if rank else "")

    def draw(self) -> tuple[Prompt, Sequence[Answer]] | None:
        assert self.arena is not None
        prompt = self.arena.next_set()
        return self._mixed(prompt) if prompt else None

    def _mixed(self, prompt: Prompt) -> tuple[Prompt, Sequence[Answer]]:
        """The answers in an order that says nothing, and is the same whenever the set is shown to this rater."""
        import hashlib

        def draw(answer: Answer) -> str:
            return hashlib.sha256(f"{self.ranking.rater}\0{answer.id}".encode()).hexdigest()

        return prompt, sorted(prompt.answers, key=draw)

    def present(self, prompt: Prompt, answers: Sequence[Answer]) -> None:
        self.order = Order()
        self.set_class(len(answers) > 4, "-many")
        self.set_class(len(answers) == 3, "-three")
        super().present(prompt, answers)
        self._show_order()

    def show_again(self, last: Judgement) -> None:
        assert self.arena is not None
        if last.kind != "edit" and self.arena.prompt is not None:
            self.tags, self.note = last.tags, last.note
            self.put(*self._mixed(self.arena.prompt))
        elif last.kind != "edit":
            self.advance()

    def _show_order(self) -> None:
        self.query_one(OrderLine).show(self.order, len(self.answers))
        self._entitle()
        self.refresh_keys()

    def _focus(self, pane: Widget) -> None:
        super()._focus(pane)
        self.query_one(OrderLine).refresh()

    # ------------------------------------------------------------------ actions

    def _place(self, number: int) -> None:
        place = number - 1
        if place >= len(self.answers):
            self.say(f"There are {len(self.answers)} answers.", "warn")
        elif place in self.order.placed:
            self.say(f"{number} has its place already: Backspace takes the last one back.", "warn")
        else:
            self.order.put(place)
            self._show_order()

    def do_page(self, _: str = "") -> None:
        """Space reads on; once all is read, it joins a tie, for keyboards on which = is far away."""
        if self.unread:
            super().do_page()
        elif self.why_not_equal() is None:
            self.do_equal()

    def why_not_equal(self, _: str = "") -> str | None:
        if not self.order.groups:
            return "Place an answer first: press its digit."
        return "All answers have a place." if len(self.order.placed) == len(self.answers) else None

    def do_equal(self, _: str = "") -> None:
        self.order.joins = not self.order.joins
        self._show_order()

    def why_not_take_back(self, _: str = "") -> str | None:
        return None if self.order.groups else "No answer has a place yet."

    def do_take_back(self, _: str = "") -> None:
        self.order.back()
        self._show_order()

    def why_not_keep(self, _: str = "") -> str | None:
        left = len(self.answers) - len(self.order.placed)
        if not self.answers:
            return self.why_idle()
        return f"{left} answers have no place yet." if left > 1 else "One answer has no place yet." if left else None

    def do_keep(self, _: str = "") -> None:
        if not self.all_read():
            return
        order = [[self.answers[place].id for place in group] for group in self.order.groups]
        told = self.reveal()
        self.carry_out(lambda arena: arena.rank(order, tags=self.tags, note=self.note), told)

    def do_undo(self, argument: str = "") -> None:
        """What is typed of an order goes first."""
        if self.order.groups:
            self.do_take_back()
        else:
            super().do_undo(argument)

    def do_first(self, _: str = "") -> None:
        self._place(1)

    def do_second(self, _: str = "") -> None:
        self._place(2)

    def do_third(self, _: str = "") -> None:
        self._place(3)

    def do_fourth(self, _: str = "") -> None:
        self._place(4)

    def do_fifth(self, _: str = "") -> None:
        self._place(5)

    def do_sixth(self, _: str = "") -> None:
        self._place(6)

    def do_seventh(self, _: str = "") -> None:
        self._place(7)

    def do_eighth(self, _: str = "") -> None:
        self._place(8)

    why_not_first = why_not_second = why_not_third = why_not_fourth = Judging.why_idle
    why_not_fifth = why_not_sixth = why_not_seventh = why_not_eighth = Judging.why_idle
