"""Text from outside (data, models, logs, names of files) on its way to the terminal.

Everything of that kind goes through `safe` or `line`, and is handed to widgets as Rich `Text` or with
`markup=False`: neither an escape sequence nor a `[bracket]` in it is ever obeyed.
"""

from __future__ import annotations

import re

# Whole sequences first (OSC and its kin up to their end, CSI, two-character ones), then single control
# characters, and the marks that turn the direction of the text after them.
_SEQUENCE = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def safe(value: object) -> str:
    """`value` as text with nothing in it that a terminal obeys; line ends and tabs stay."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")


def line(value: object) -> str:
    """`safe`, on one line: line ends and tabs become spaces; what a lone carriage return overwrote is dropped."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    text = text.rstrip("\r\n").rpartition("\r")[2] or text
    return safe(text).expandtabs(4).replace("\n", " ")
