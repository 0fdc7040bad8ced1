"""A row of a form: a field with its name, its unit and, below, what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from workbench.errors import WorkbenchError
from workbench.recipes.fields import RecipeField
from workbench.tui import safe
from workbench.tui.draft import shown_value
from workbench.tui.widgets.fields import LineField, LinesField, Pick

Control = LineField | LinesField | Pick


def control(item: RecipeField, text: str, options: Sequence[tuple[str, str]], *, types: bool) -> Control:
    """What a field is typed or chosen with; `text` stands in it. `types`: also what is not among the options."""
    if not item.many and not types and (options or item.artifact or item.choices or item.type is bool):
        return Pick(item.name, options, text or shown_value(item.default))
    if item.many:
        return LinesField(text, placeholder=_hint(item))
    return LineField(text)


def _hint(item: RecipeField) -> str:
    if item.artifact:
        return "names, one a line; NAME=WEIGHT for a mixture" if item.path == "data" else "names, one a line"
    if item.path == "tasks":
        return "one a line; empty: those of the panel"
    return shown_value(item.default) or "paths of files and folders, or globs"


class Row(Vertical):
    """`control` is what stands between the name and the unit."""

    DEFAULT_CSS = """
    Row { height: auto; }
    Row > Horizontal { height: auto; }
    Row .name { width: 16; color: $foreground; }
    Row .unit { width: 12; padding: 0 1; color: $muted; }
    Row .control { width: 1fr; max-width: 60; }
    Row .wrong { display: none; color: $error; padding: 0 0 0 16; }
    Row.-wrong .wrong { display: block; }
    Row.-lines .control { max-width: 100; }
    Row.-lines .unit { display: none; }
    """

    def __init__(self, field: RecipeField, control: Control):
        super().__init__()
        self.field, self.control = field, control
        control.add_class("control")
        self.set_class(isinstance(control, LinesField), "-lines")

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(self.field.name, classes="name", markup=False)
            yield self.control
            yield Static(self.field.unit, classes="unit", markup=False)
        yield Static("", classes="wrong", markup=False)

    def say_wrong(self, error: WorkbenchError | None) -> None:
        self.set_class(error is not None, "-wrong")
        if error is not None:
            self.query_one(".wrong", Static).update(safe.line(error))
