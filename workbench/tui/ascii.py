"""The last thing before a terminal without Unicode: every character that is not ASCII becomes one that is."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

# Where the nearest letter is not what is meant; scrollbars are drawn with eighths of blocks.
NEAREST = {
    "…": "~", "→": ">", "←": "<", "↑": "^", "↓": "v", "▶": ">", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"',
    "”": '"', "•": "*", "·": ".", "●": "*", "│": "|", "─": "-", "┃": "|", "━": "-",
    "╺": "-", "╸": "-", "┊": ":", "−": "-", "±": "~", "≈": "~", "▲": "^", "▼": "v", "◆": "#",
    "✓": "+", "✗": "x",
}  # fmt: skip
BLOCKS = range(0x2580, 0x25A0)


@lru_cache(maxsize=4096)
def plain(character: str) -> str:
    """ASCII of the same width: é is e, a block is #, what has no likeness is ?."""
    if character in NEAREST:
        return NEAREST[character]
    width = cell_len(character)
    if ord(character) in BLOCKS:
        return "#" * width
    letters = "".join(
        part for part in unicodedata.normalize("NFKD", character) if part.isascii() and part.isprintable()
    )
    return letters if len(letters) == width else "?" * width


class AsciiFilter(LineFilter):
    """Applied to every line that is drawn, whoever drew it."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment("".join(map(plain, segment.text)), segment.style, segment.control)
            for segment in segments
        ]
