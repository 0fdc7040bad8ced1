"""Plain text as items of a perplexity task: pages of WikiText, passages of anything else.

Perplexity is that of the whole text either way; pieces give it an error bar, and pair two models piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PASSAGE_BYTES = 16 << 10  # some windows of most contexts; windows do not see each other in any case
LEAST_BYTES = 2 << 10  # of a passage: a window of a short context
PASSAGES = 20  # that a short text is cut into, so that its score has an interval


def pages(text: str) -> list[str]:
    """WikiText by its articles, as the hub's document-level data set cuts it: before each heading `= Title =`."""
    found: list[str] = []
    page: list[str] = []
    for line in text.split("\n"):
        # Headings below an article's own have two or more signs on each side.
        flat = line.replace("= = =", "===").replace("= =", "==").strip()
        if flat.startswith("= ") and flat.endswith(" ="):
            found.append("\n".join(page))
            page = []
        page.append(line)
    return [page for page in [*found, "\n".join(page)] if page.strip()]


def passages(text: str) -> list[str]:
    """Text cut at line ends, else between words, into passages of `PASSAGE_BYTES` or a little more; joined they are
    the text. A text that would have few of them is cut into `PASSAGES`, of at least `LEAST_BYTES`."""
    least = min(PASSAGE_BYTES, max(LEAST_BYTES, len(text.encode()) // PASSAGES))
    found = list(_passages(text, least))
    if len(found) > 1 and len(found[-1].encode()) < least:
        found[-2:] = [found[-2] + found[-1]]
    return found


def _passages(text: str, least: int) -> Iterator[str]:
    passage: list[str] = []
    size = 0
    for piece in _pieces(text):
        passage.append(piece)
        size += len(piece.encode())
        if size >= least:
            yield "".join(passage)
            passage, size = [], 0
    if passage:
        yield "".join(passage)


def _pieces(text: str) -> Iterator[str]:
    """Lines; those that are longer than a passage may be, by their words."""
    for line in text.splitlines(keepends=True):
        if len(line) <= LEAST_BYTES:
            yield line
        else:
            yield from re.findall(r"\s*\S+|\s+", line)
