"""Text from models, data and file names, made safe to show in a terminal. Standard library only.

A terminal obeys control sequences wherever they come from: OSC 52 sets the clipboard, others move the
cursor, answer as if typed, or hide what follows; bidirectional overrides show text in another order
than it has (ECMA-48 for the grammar of sequences; UAX #9 for the overrides).
"""

from __future__ import annotations

import re

# C0 but tab and line feed, DEL, C1, line and paragraph separators, embeddings, overrides and isolates, the byte
# order mark; and surrogates, which no terminal's encoding has: file names that are not UTF-8 hold them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_ESCAPE = "\x1b"
_STRING_BEGINNINGS = "]PX^_"  # after ESC: OSC, DCS, SOS, PM, APC
_STRING_C1 = "\x90\x98\x9d\x9e\x9f"
_STRING_ENDS = "\x07\x18\x1a\x9c\n"  # a line feed too: an unfinished string must not hide the rest of an answer


def strip_controls(text: str) -> str:
    """`text` without control sequences and control characters other than tab and line feed."""
    return Stripper().feed(text)


class Stripper:
    """Strips a stream: a sequence may begin in one piece and end in a later one."""

    def __init__(self) -> None:
        self._state = "text"

    def feed(self, piece: str) -> str:
        """What of the next piece may be shown."""
        if self._state == "text" and not _UNSAFE.search(piece):
            return piece
        kept = "".join([character for character in piece if self._keep(character)])
        return _SURROGATE.sub("\ufffd", kept)

    def _keep(self, character: str) -> bool:
        """Advance over one character; whether it is text."""
        state = self._state
        if character == _ESCAPE:  # begins anew within anything; as `ESC \\` it ends a string
            self._state = "escape"
            return False
        if state == "string":
            if character in _STRING_ENDS:
                self._state = "text"
            return character == "\n"
        if (state == "escape" and character in _STRING_BEGINNINGS) or character in _STRING_C1:
            self._state = "string"
            return False
        if (state == "escape" and character == "[") or character == "\x9b":
            self._state = "csi"
            return False
        if state == "csi" and " " <= character <= "?":  # parameters and intermediates
            return False
        if state in ("escape", "designation") and " " <= character <= "/":
            self._state = "designation"  # such as `ESC ( B`
            return False
        self._state = "text"
        if (state == "csi" and "@" <= character <= "~") or (
            state in ("escape", "designation") and "0" <= character <= "~"
        ):
            return False  # the sequence's last character
        return character in "\t\n" or not _UNSAFE.match(character) or bool(_SURROGATE.match(character))
