"""The fields of a form: a line, several lines, a choice, and the heading that folds a group away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from workbench.tui import actions, safe
from workbench.tui.widgets.painted import Painted

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


class FieldChanged(Message):
    """A field holds another text."""

    def __init__(self, field: Field, text: str):
        super().__init__()
        self.field, self.text = field, text


class Field:
    """What all have in common: the arrows lead to the next and the previous one."""

    PLACE: ClassVar[str] = "field"

    def do_next(self, _: str = "") -> None:
        assert isinstance(self, Widget)
        self.screen.focus_next()

    def do_previous(self, _: str = "") -> None:
        assert isinstance(self, Widget)
        self.screen.focus_previous()


class LineField(Field, Input):
    """One line; Enter goes on to the next field."""

    BINDINGS = actions.bindings("field")

    def __init__(self, text: str = "", *, placeholder: str = "", id: str | None = None):
        super().__init__(text, placeholder=placeholder, id=id, select_on_focus=False)
        self.cursor_blink = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(FieldChanged(self, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.do_next()


class LinesField(Field, TextArea):
    """Several lines; Tab leaves it, and so do the arrows at its ends."""

    DEFAULT_CSS = """
    LinesField {
        border: none; padding: 0 1; height: 3; background: $panel; color: $foreground; scrollbar-size-vertical: 1;
        &:focus { border: none; background: $cursor; }
        & .text-area--cursor-line { background: transparent; }
        & .text-area--placeholder { color: $muted; }
    }
    """

    def __init__(self, text: str = "", *, placeholder: str = "", id: str | None = None):
        super().__init__(
            text, placeholder=placeholder, id=id, compact=True, tab_behavior="focus", highlight_cursor_line=False,
            show_line_numbers=False, soft_wrap=True,
        )  # fmt: skip
        self.cursor_blink = False

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(FieldChanged(self, self.text))

    def action_cursor_down(self, select: bool = False) -> None:
        if self.cursor_at_last_line:
            self.do_next()
        else:
            super().action_cursor_down(select)

    def action_cursor_up(self, select: bool = False) -> None:
        if self.cursor_at_first_line:
            self.do_previous()
        else:
            super().action_cursor_up(select)


class Pick(Field, Painted, Static, can_focus=True):
    """One of several values: the arrows to the sides change it, Enter shows all with what is known of them."""

    app: WorkbenchApp
    BINDINGS = [
        *actions.bindings("field"),
        ("left", "step(-1)", "Previous value"),
        ("right", "step(1)", "Next value"),
        ("enter,space", "list", "All values"),
    ]
    DEFAULT_CSS = """
    Pick { height: 1; padding: 0 1; background: $panel; }
    Pick:focus { background: $cursor; }
    Pick:ansi:focus { text-style: reverse; }
    """

    def __init__(self, title: str, options: Sequence[tuple[str, str]], value: str, *, id: str | None = None):
        """`options` are (value, what is known of it)."""
        super().__init__(markup=False, id=id)
        self.title, self.options, self.value = title, list(options), value
        self.why_not: Mapping[str, str] = {}  # value -> why it cannot be chosen here

    def set_options(self, options: Sequence[tuple[str, str]], value: str | None = None) -> None:
        """Other values to choose from, and another chosen one."""
        self.options = list(options)
        if value is not None:
            self.value = value
        self.refresh()

    def render(self) -> Text:
        hint = next((hint for value, hint in self.options if value == self.value), "")
        left, right = ("<", ">") if self.ascii else ("‹", "›")
        if not self.options and not self.value:
            return self.assemble(("none yet", "muted"))
        sides = "key" if self.has_focus and len(self.options) > 1 else "line"
        text = self.assemble((f"{left} ", sides), safe.line(self.value or hint), (f" {right}", sides))
        if hint and self.value:
            text.append_text(self.assemble((f"  {safe.line(hint)}", "muted")))
        text.truncate(self.content_size.width or 20, overflow="ellipsis")
        return text

    def choose(self, value: str) -> None:
        if value != self.value:
            self.value = value
            self.refresh()
            self.post_message(FieldChanged(self, value))

    def action_step(self, by: int) -> None:
        values = [value for value, _ in self.options if value not in self.why_not]
        if values:
            place = values.index(self.value) if self.value in values else -by
            self.choose(values[(place + by) % len(values)])

    def action_list(self) -> None:
        from workbench.tui.screens.menu import Choice, Menu

        if self.options:
            choices = [
                Choice(
                    value, (), "", safe.line(value or hint), safe.line(hint if value else ""), self.why_not.get(value)
                )
                for value, hint in self.options
            ]
            menu = Menu(self.title, choices, chosen=self.value)
            self.app.push_screen(menu, lambda value: self.choose(value) if value is not None else None)

    def on_click(self, event: events.Click) -> None:
        self.action_list()


class Fold(Field, Painted, Static, can_focus=True):
    """The heading of a group of fields; Enter shows and hides them."""

    BINDINGS = [*actions.bindings("field"), ("enter,space,right,left", "unfold", "Show or hide")]
    DEFAULT_CSS = """
    Fold { height: 1; }
    Fold:focus { background: $cursor; }
    Fold:ansi:focus { text-style: reverse; }
    """

    class Toggled(Message):
        """The group is to be shown or hidden."""

        def __init__(self, fold: Fold):
            super().__init__()
            self.fold = fold

    def __init__(self, title: str, help: str, *, id: str | None = None):
        super().__init__(markup=False, id=id)
        self.title, self.help = title, help
        self.open = False
        self.count = 0  # fields of the group that were set
        self.wrong = False

    def render(self) -> Text:
        mark = ("v" if self.open else ">") if self.ascii else ("▾" if self.open else "▸")
        text = self.assemble((f"{mark} ", "key"), (f"{self.title:<14}", "strong"), (self.help, "muted"))
        if self.count or self.wrong:
            room = max(20, (self.content_size.width or 40) - 14)
            text.truncate(room, overflow="ellipsis")
            text.append_text(self.assemble(("  to mend", "bad") if self.wrong else (f"  {self.count} set", "accent")))
        else:
            text.truncate(self.content_size.width or 40, overflow="ellipsis")
        return text

    def say(self, count: int, *, wrong: bool) -> None:
        if (count, wrong) != (self.count, self.wrong):
            self.count, self.wrong = count, wrong
            self.refresh()

    def action_unfold(self) -> None:
        self.open = not self.open
        self.refresh()
        self.post_message(self.Toggled(self))

    def on_click(self, event: events.Click) -> None:
        self.action_unfold()


class StartButton(Field, Painted, Static, can_focus=True):
    """What Enter starts, and beside it what stands in the way."""

    app: WorkbenchApp
    BINDINGS = [*actions.bindings("field"), ("enter,space", "app.perform('form.start')", "Start")]
    DEFAULT_CSS = "StartButton { height: auto; min-height: 1; margin: 1 0; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.sentence, self.style_name = "", "muted"

    def say(self, sentence: str, style: str) -> None:
        """Why it can or cannot be started."""
        if (sentence, style) != (self.sentence, self.style_name):
            self.sentence, self.style_name = sentence, style
            self.refresh(layout=True)

    def render(self) -> Text:
        text = self.assemble(("[ Start ]", "key"), "  ", (safe.line(self.sentence), self.style_name))
        if self.has_focus:
            text.stylize(Style(reverse=True), 0, len("[ Start ]"))
        text.no_wrap = False
        return text

    def on_click(self, event: events.Click) -> None:
        self.app.perform(actions.BY_ACTION["form.start"])
