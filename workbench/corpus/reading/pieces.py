"""Blocks of bytes as lines, or as pieces that end at line ends, in memory that their limit bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

START_BYTES = 1024


@dataclass(frozen=True, slots=True)
class LongLine:
    start: bytes  # of a line that is over the limit: the rest was dropped


def pieces(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | LongLine]:
    """The blocks joined, and cut after the last line end that keeps a piece within `max_bytes`.

    A line that is longer is dropped, in bounded memory, and told of by its start.
    """
    buffer = bytearray()
    dropping = False
    for block in blocks:
        buffer += block
        while dropping or len(buffer) > max_bytes:
            if dropping:
                end = buffer.find(b"\n") + 1
                del buffer[: end or len(buffer)]
                if not end:
                    break
                dropping = False
            elif end := buffer.rfind(b"\n", 0, max_bytes) + 1:
                yield bytes(buffer[:end])
                del buffer[:end]
            else:
                yield LongLine(bytes(buffer[:START_BYTES]))
                dropping = True
    if buffer:
        yield bytes(buffer)


def lines(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | LongLine]:
    """Lines without their ends; of one longer than `max_bytes` only the start."""
    buffer = bytearray()  # the start of a line that goes on in the next block
    dropping = False
    for block in blocks:
        first, *others = block.split(b"\n")
        if not dropping:
            buffer += first
            if len(buffer) > max_bytes:
                yield LongLine(bytes(buffer[:START_BYTES]))
                dropping = True
                buffer.clear()
        if not others:
            continue
        if not dropping:
            yield bytes(buffer)
        *ended, rest = others
        for line in ended:
            yield line if len(line) <= max_bytes else LongLine(line[:START_BYTES])
        buffer = bytearray(rest)
        dropping = len(rest) > max_bytes
        if dropping:
            yield LongLine(rest[:START_BYTES])
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def too_long(max_bytes: int) -> str:
    """The reason that a line over `max_bytes` is counted under."""
    return f"line over {max_bytes / (1 << 20):g} MiB"
