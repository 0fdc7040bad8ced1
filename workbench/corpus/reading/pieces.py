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

    A line that is longer is dropped, in bounded memory, and told of by its start once all of it was read.
    """
    buffer = bytearray()
    long = b""  # the start of a line that is being dropped
    for block in blocks:
        buffer += block
        while long or len(buffer) > max_bytes:
            if long:
                end = buffer.find(b"\n") + 1
                del buffer[: end or len(buffer)]
                if not end:
                    break
                yield LongLine(long)
                long = b""
            elif end := buffer.rfind(b"\n", 0, max_bytes) + 1:
                yield bytes(buffer[:end])
                del buffer[:end]
            else:
                long = bytes(buffer[:START_BYTES])
    if long:
        yield LongLine(long)
    elif buffer:
        yield bytes(buffer)


def lines(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | LongLine]:
    """Lines without their ends; of one longer than `max_bytes` only the start, once all of it was read."""

    def line(data: bytes | bytearray) -> bytes | LongLine:
        return bytes(data) if len(data) <= max_bytes else LongLine(bytes(data[:START_BYTES]))

    buffer = bytearray()  # the start of a line that goes on in the next block
    for block in blocks:
        first, *others = block.split(b"\n")
        if len(buffer) <= max_bytes:  # or the rest of it is dropped
            buffer += first
        if others:
            yield line(buffer)
            yield from map(line, others[:-1])
            buffer = bytearray(others[-1])
    if buffer:
        yield line(buffer)


def too_long(max_bytes: int) -> str:
    """The reason that a line over `max_bytes` is counted under."""
    return f"line over {max_bytes / (1 << 20):g} MiB"
