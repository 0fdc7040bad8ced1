"""A line that says what goes on."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from workbench.tui.widgets.painted import Painted


class Status(Painted, Static):
    """The line between what was said and what is being written. A line of its own: a figure in the pane's border
    would repaint the whole pane, 10 KB at 120x36 instead of 300 bytes."""

    DEFAULT_CSS = "Status { height: 1; text-align: right; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.sentence = ""

    def say(self, sentence: str) -> None:
        if sentence != self.sentence:
            self.sentence = sentence
            self.refresh()

    def render(self) -> Text:
        return self.assemble((self.sentence, "muted"))
