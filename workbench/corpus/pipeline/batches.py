"""The stream of raw documents, cut into parts. The cuts depend on the sources alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import xxhash

from workbench.corpus.pipeline.parts import MAX_ROWS
from workbench.corpus.reading import Raw, Reject

FIRST_BYTES = 64 << 10  # the first part is small, so that there is something to see at once; each next one doubles
BATCH_BYTES = 8 << 20


@dataclass(slots=True)
class Batch:
    """What becomes part `number`. `consumed`: bytes of sources read since the last batch."""

    number: int
    items: list[Raw | Reject] = field(default_factory=list)
    size: int = 0
    consumed: int = 0
    digest: str = ""  # of everything in it

    def name(self) -> str:
        """Where its documents stand, for people."""
        first, last = self.items[0].source, self.items[-1].source
        return first if first == last else f"{first} to {last}"


class Consumed:
    """Bytes that reading says it has passed, taken by the batch that they belong to.

    `check` is called on the way: it raises to end a reading that would go on for long without a batch.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.bytes = 0
        self._check = check

    def add(self, amount: int) -> None:
        self.bytes += amount
        self._check()

    def take(self) -> int:
        amount, self.bytes = self.bytes, 0
        return amount


def batches(items: Iterable[Raw | Reject], consumed: Consumed) -> Iterator[Batch]:
    """`items` in batches of about 8 MiB; the last may hold nothing but what was consumed."""
    batch = Batch(0)
    for item in items:
        batch.items.append(item)
        batch.size += _size(item)
        if batch.size >= min(FIRST_BYTES << batch.number, BATCH_BYTES) or len(batch.items) >= MAX_ROWS:
            yield _sealed(batch, consumed)
            batch = Batch(batch.number + 1)
    if batch.items or consumed.bytes:
        yield _sealed(batch, consumed)


def _sealed(batch: Batch, consumed: Consumed) -> Batch:
    batch.consumed = consumed.take()
    digest = xxhash.xxh3_128()
    for item in batch.items:
        content = item.content if isinstance(item, Raw) else item.excerpt
        digest.update(f"{len(content)}:{item.source}:{item.position}:".encode(errors="surrogatepass"))
        digest.update(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    batch.digest = digest.hexdigest()
    return batch


def _size(item: Raw | Reject) -> int:
    return len(item.content) if isinstance(item, Raw) else len(item.excerpt)
