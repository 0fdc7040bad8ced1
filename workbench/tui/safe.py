"""Text from outside (data, models, logs, names of files) on its way to the terminal.

Everything of that kind goes through `safe` or `line`, and is handed to widgets as Rich `Text`, as `Content` or with
`markup=False`: neither an escape sequence nor a `[bracket]` in it is ever obeyed.
"""

from __future__ import annotations

from workbench.safe_text import strip_controls


def safe(value: object) -> str:
    """`value` as text with nothing in it that a terminal obeys; line ends and tabs stay."""
    return strip_controls(str(value))


def line(value: object) -> str:
    """`safe`, on one line: line ends and tabs become spaces; what a lone carriage return overwrote is dropped."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    text = text.rstrip("\r\n").rpartition("\r")[2] or text
    return strip_controls(text).expandtabs(4).replace("\n", " ")
