"""Text from outside (data, models, logs, names of files) made harmless to a terminal. Standard library only."""

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

# A sequence that the text ends in the middle of.
_UNFINISHED = re.compile(
    r"(?:(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*\x1b?|(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b[ -/]*|\r)$"
)
LONGEST_SEQUENCE = 4096  # characters held back at most: an unfinished sequence may not swallow an answer


def strip_controls(text: str) -> str:
    """`text` with nothing in it that a terminal obeys; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")


class Stripper:
    """`strip_controls` for text that comes in pieces, where a sequence may be cut in two."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What of the text so far is safe to show now and was not shown before."""
        text = self._held + piece
        cut = _UNFINISHED.search(text)
        self._held = text[cut.start() :] if cut and len(text) - cut.start() <= LONGEST_SEQUENCE else ""
        return strip_controls(text[: len(text) - len(self._held)])

    def end(self) -> str:
        """What is left once no more pieces come."""
        rest, self._held = strip_controls(self._held), ""
        return rest
