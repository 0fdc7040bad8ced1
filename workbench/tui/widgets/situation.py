"""The line below what is being judged: how far it is on the right, what has just happened on the left."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from workbench.tui.widgets.painted import Painted


class Situation(Painted, Static):
    """A sentence has the line for itself where both do not fit."""

    DEFAULT_CSS = "Situation { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.sentence: tuple[str, str] = ("", "muted")
        self.standing = ""

    def say(self, sentence: str, style: str = "muted") -> None:
        if (sentence, style) != self.sentence:
            self.sentence = sentence, style
            self.refresh()

    def stand(self, standing: str) -> None:
        if standing != self.standing:
            self.standing = standing
            self.refresh()

    def render(self) -> Text:
        width = self.content_size.width
        text, right = self.assemble(self.sentence), self.assemble((self.standing, "muted"))
        if text.cell_len + right.cell_len + 2 <= width or not text:
            text.append(" " * max(0, width - text.cell_len - right.cell_len))
            text.append_text(right)
        text.truncate(width, overflow="ellipsis")
        return text
