"""What stands where there is nothing yet: what it would be, and what to do next."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from workbench.tui.widgets.painted import Painted


class Empty(Painted, Static):
    """A sentence, and lines of (key or command, what it does)."""

    DEFAULT_CSS = """
    Empty { width: 1fr; height: 1fr; content-align: center middle; padding: 1 2; }
    """

    def __init__(self, sentence: str, *steps: tuple[str, str], id: str | None = None):
        super().__init__(markup=False, id=id)
        self.sentence, self.steps = sentence, steps

    def say(self, sentence: str, *steps: tuple[str, str]) -> None:
        self.sentence, self.steps = sentence, steps
        self.refresh()

    def render(self) -> Text:
        lines = [self.assemble((self.sentence, "text"))]
        if self.steps:
            wide = max(len(step[0]) for step in self.steps)
            lines += [
                Text(),
                *(self.assemble((key.ljust(wide), "key"), "  ", (what, "muted")) for key, what in self.steps),
            ]
        text = self.joined(lines)
        text.no_wrap = False
        return text
