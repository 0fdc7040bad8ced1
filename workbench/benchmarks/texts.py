"""Plain text as items of a perplexity task: pages of WikiText, passages of anything else.

Perplexity is that of the whole text either way; pieces give it an error bar, and pair two models piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator

PASSAGE_BYTES = 16 << 10  # some windows of most contexts; windows do not see each other in any case


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
    """Text cut at line ends into passages of at least `PASSAGE_BYTES`; joined they are the text."""
    found = list(_passages(text))
    if len(found) > 1 and len(found[-1].encode()) < PASSAGE_BYTES:
        found[-2:] = [found[-2] + found[-1]]
    return found


def _passages(text: str) -> Iterator[str]:
    passage: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        passage.append(line)
        size += len(line.encode())
        if size >= PASSAGE_BYTES:
            yield "".join(passage)
            passage, size = [], 0
    if passage:
        yield "".join(passage)
