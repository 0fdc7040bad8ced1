"""The colours that widgets paint with: one set of styles, from the theme."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.theme import Theme

if TYPE_CHECKING:
    from textual.widget import Widget as Mixin
else:
    Mixin = object

# Name of a style -> variable of the theme, and whether it is bold.
PALETTE = {
    "text": ("foreground", False),
    "muted": ("muted", False),
    "strong": ("foreground", True),
    "busy": ("primary", False),
    "good": ("success", False),
    "warn": ("warning", False),
    "bad": ("error", False),
    "accent": ("accent", False),
    "line": ("line", False),
    "key": ("primary", True),
}
GROUNDS = {"cursor": "cursor", "cursor-blurred": "cursor-blurred"}


class Painted(Mixin):
    """A widget that draws Rich `Text` in the theme's colours: `paint("good")` is the style of success.

    It stands before the widget that it is mixed into; as a widget itself it would hide that one's styles.
    """

    @property
    def ascii(self) -> bool:
        return getattr(self.app, "ascii", False)

    def paint(self, name: str) -> Style:
        """The colour of the text alone: what lies under it keeps its background."""
        return styles(self.app.current_theme)[name]

    def ground(self, name: str) -> Style:
        """The background of a row under the cursor."""
        return styles(self.app.current_theme)[name]

    def under_cursor(self, line: Text, *, focused: bool) -> Text:
        """The line with the cursor on it. Turned about, colours would be grounds, and what is dim hard to read."""
        ground = self.ground("cursor" if focused else "cursor-blurred")
        if ground.reverse:
            line = Text(line.plain, no_wrap=True, end="")
        line.stylize_before(ground)
        return line

    def assemble(self, *parts: str | tuple[str, str], **options: Any) -> Text:
        """`Text` of plain strings and (string, style name) pairs; never parsed as markup."""
        text = Text(no_wrap=True, end="", **options)
        for part in parts:
            if isinstance(part, str):
                text.append(part, self.paint("text"))
            else:
                text.append(part[0], self.paint(part[1]))
        return text

    def joined(self, lines: Iterable[Text]) -> Text:
        return Text("\n", end="").join(list(lines))


_made: dict[str, dict[str, Style]] = {}


def styles(theme: Theme) -> dict[str, Style]:
    """The styles of a theme by their names, made once. Component classes would cost 12 style look-ups a widget."""
    if theme.name not in _made:
        _made[theme.name] = {
            **{style: _text(theme, variable, bold) for style, (variable, bold) in PALETTE.items()},
            **{style: _ground(theme, variable, style) for style, variable in GROUNDS.items()},
        }
    return _made[theme.name]


def _text(theme: Theme, variable: str, bold: bool) -> Style:
    # The terminal's own palette has no grey that is legible on every background: dim is.
    dim = theme.ansi and variable in ("muted", "line")
    return Style(color=_colour(theme, variable), bold=bold, dim=dim)


def _ground(theme: Theme, variable: str, style: str) -> Style:
    if theme.ansi:
        return Style(reverse=True) if style == "cursor" else Style(underline=True)
    return Style(bgcolor=_colour(theme, variable))


def _colour(theme: Theme, variable: str) -> Any:
    value = getattr(theme, variable, None) or theme.variables[variable]
    return Color.parse(value).rich_color
