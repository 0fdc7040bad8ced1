"""The line below what is being judged: how far it is on the right, what has just happened on the left."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

from workbench.tui.widgets.painted import Painted


class Situation(Painted, Static):
    """Where both do not fit, the standing is said in fewer words; its fewest always stand."""

    DEFAULT_CSS = "Situation { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.sentence: tuple[str, str] = ("", "muted")
        self.standings: Sequence[str] = ("",)

    def say(self, sentence: str, style: str = "muted") -> None:
        if (sentence, style) != self.sentence:
            self.sentence = sentence, style
            self.refresh()

    def stand(self, *standings: str) -> None:
        """The standing in ever fewer words."""
        if standings != self.standings:
            self.standings = standings
            self.refresh()

    def render(self) -> Text:
        width = self.content_size.width
        text, gap = self.assemble(self.sentence), 2 if self.sentence[0] else 0
        said = next((item for item in self.standings if text.cell_len + gap + cell_len(item) <= width), None)
        right = self.assemble((self.standings[-1] if said is None else said, "muted"))
        text.truncate(max(0, width - gap - right.cell_len), overflow="ellipsis")
        text.append(" " * (width - text.cell_len - right.cell_len))
        text.append_text(right)
        text.truncate(width, overflow="ellipsis")
        return text
