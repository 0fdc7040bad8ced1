"""How much archives may grow to when they are unpacked."""

from __future__ import annotations

from collections.abc import Callable

from workbench.corpus.reading.raw import ReadOptions, UnusableFile

FREE_BYTES = 64 << 20  # what any archive may grow to, however small it is


class Growth:
    """What an archive, or one member of it, has grown to so far; what is in it counts for what it is in, too.

    `packed` answers its size, or where that is not known, how much of it was read. Limits are those of the options.
    """

    def __init__(self, name: str, options: ReadOptions, packed: Callable[[], int], whole: Growth | None = None):
        self._name = name
        self._options = options
        self._packed = packed
        self._whole = whole
        self._bytes = 0

    def add(self, amount: int) -> None:
        """So many bytes more. Raises `UnusableFile` beyond the limits."""
        self._bytes += amount
        if self._bytes > self._options.max_expanded_bytes:
            much = f"over {self._options.max_expanded_bytes / (1 << 30):g} GiB"
        elif self._bytes > FREE_BYTES and self._bytes > self._options.max_ratio * max(self._packed(), 1):
            much = f"over {self._options.max_ratio} times its size"
        else:
            if self._whole is not None:
                self._whole.add(amount)
            return
        what = f"{self._name} grows to {much} when it is unpacked, as archives do that are made to do harm."
        remedy = "If you trust it, unpack it yourself and give the folder."
        raise UnusableFile("zip bomb", what, remedy, of=self._name)
