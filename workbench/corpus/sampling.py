"""A part of a corpus, drawn evenly along it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from workbench.corpus import documents

PIECE_CHARACTERS = 1 << 16


class Share:
    """Says yes to a share (0 to 1) of a stream of sizes, evenly along it."""

    def __init__(self, share: float):
        self.share = share
        self.seen = 0
        self.taken = 0

    def take(self, size: int) -> bool:
        self.seen += size
        if self.taken >= self.seen * self.share:
            return False
        self.taken += size
        return True


def draw(
    corpus: Path, limit: int, *, piece_characters: int = PIECE_CHARACTERS, advance: Callable[[int], None] | None = None
) -> Iterator[str]:
    """Pieces of the documents in folder `corpus`, about `limit` bytes in all; everything if there is no more.

    `advance` hears of all bytes passed, drawn or not.
    """
    share = Share(min(1.0, limit / max(documents.text_bytes(corpus), 1)))
    for batch in documents.iterate_documents(corpus):
        for text in batch.column("text").to_pylist():
            for piece in pieces(text, piece_characters):
                size = len(piece.encode())
                if advance is not None:
                    advance(size)
                if share.take(size):
                    yield piece


def pieces(text: str, characters: int) -> Iterator[str]:
    """`text` in pieces of at most `characters`, cut after line ends where there are any."""
    start = 0
    while start < len(text):
        stop = start + characters
        if stop < len(text):
            stop = text.rfind("\n", start, stop) + 1 or stop
        yield text[start:stop]
        start = stop
