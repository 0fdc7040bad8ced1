"""The colours that widgets paint with, as component classes: one set, from the theme."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.style import Style
from rich.text import Text
from textual.widget import Widget

STYLES = ("text", "muted", "strong", "busy", "good", "warn", "bad", "accent", "line", "key", "cursor", "cursor-blurred")


class Painted(Widget):
    """A widget that draws Rich `Text` in the theme's colours: `paint("good")` is the style of success."""

    COMPONENT_CLASSES = {f"paint--{name}" for name in STYLES}

    DEFAULT_CSS = """
    Painted {
        & > .paint--text { color: $foreground; }
        & > .paint--muted { color: $muted; }
        & > .paint--strong { color: $foreground; text-style: bold; }
        & > .paint--busy { color: $primary; }
        & > .paint--good { color: $success; }
        & > .paint--warn { color: $warning; }
        & > .paint--bad { color: $error; }
        & > .paint--accent { color: $accent; }
        & > .paint--line { color: $line; }
        & > .paint--key { color: $primary; text-style: bold; }
        & > .paint--cursor { background: $cursor; }
        & > .paint--cursor-blurred { background: $cursor-blurred; }
        &:ansi > .paint--muted { text-style: dim; }
        &:ansi > .paint--line { text-style: dim; }
        &:ansi > .paint--cursor { text-style: reverse; }
        &:ansi > .paint--cursor-blurred { text-style: underline; }
    }
    """

    @property
    def ascii(self) -> bool:
        return getattr(self.app, "ascii", False)

    def paint(self, name: str) -> Style:
        """The colour of the text alone: what lies under it keeps its background."""
        style = self.get_component_rich_style(f"paint--{name}", partial=True)
        return style.without_color + Style(color=style.color)

    def ground(self, name: str) -> Style:
        """The style with its background, for a row under the cursor."""
        return self.get_component_rich_style(f"paint--{name}", partial=True)

    def assemble(self, *parts: str | tuple[str, str], **options: Any) -> Text:
        """`Text` of plain strings and (string, style name) pairs; never parsed as markup."""
        text = Text(no_wrap=True, end="", **options)
        for part in parts:
            if isinstance(part, str):
                text.append(part)
            else:
                text.append(part[0], self.paint(part[1]))
        return text

    def joined(self, lines: Iterable[Text]) -> Text:
        return Text("\n", end="").join(list(lines))
