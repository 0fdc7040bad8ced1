"""Exact duplicates, by a 128-bit hash of the normalised text."""

from __future__ import annotations

import xxhash


class Duplicates:
    """Remembers every text it was asked about, at about 100 bytes each.

    Two different texts are taken for the same with probability n² / 2^129 among n of them.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_new(self, text: str) -> bool:
        """Whether `text` was not asked about before."""
        before = len(self._seen)
        self._seen.add(xxhash.xxh3_128_intdigest(text.encode()))
        return len(self._seen) > before
