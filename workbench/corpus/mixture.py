"""Batches drawn from one corpus or a mixture of several. Numpy only, so that every engine draws the same ones.

A batch is a pure function of the seed and the step: nothing has to be remembered to resume, and any number of
processes draw slices of the same global batch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workbench.corpus.packing import Windows

BLOCK = 4096  # windows in which each source has its exact share, to one window
DRAWS = 1  # sets these random numbers apart from those of the windows' order


@dataclass(frozen=True, slots=True)
class Phase:
    """From `first_step` on, counted from 0, windows come from the sources in these shares, whose sum is 1."""

    first_step: int
    shares: Sequence[float]


class Batches:
    """The training batches over `sources`, all cut into windows of one length.

    Windows are drawn in blocks of 4,096 that hold of each source what its share comes to, at least one window.
    Within a block every source is spread evenly: it has one window, at a random place, in each stretch of as many as
    its share allows (stratified sampling). Each source is gone through in its own epochs, over all phases.
    """

    def __init__(self, sources: Sequence[Windows], phases: Sequence[Phase], *, batch_size: int, seed: int):
        """`phases` are in order, the first from step 0 on."""
        self._sources, self._seed = sources, seed
        self.batch_size, self.length = batch_size, sources[0].length
        self._begins = [phase.first_step * batch_size for phase in phases]  # in windows
        self._counts = [_counts(phase.shares) for phase in phases]
        self._block = lru_cache(maxsize=2)(self._draw_block)
        self._before = [np.zeros(len(sources), np.int64)]  # windows of each source in front of each phase
        for number in range(1, len(phases)):
            self._before.append(self._drawn(number - 1, self._begins[number] - self._begins[number - 1]))

    def global_batch(self, step: int) -> np.ndarray:
        """Tokens of optimizer step `step` (from 0) over all processes: int64 [batch, length + 1]."""
        return np.stack([self._sources[source].read(place) for source, place in self._windows(step)])

    def sources_of(self, step: int) -> list[int]:
        """Which source each row of the step's batch comes from."""
        return [source for source, _ in self._windows(step)]

    def drawn(self, steps: int) -> np.ndarray:
        """Windows of each source in the first `steps` steps, int64 [sources]."""
        windows = steps * self.batch_size
        number = self._phase(max(0, windows - 1))
        return self._drawn(number, windows - self._begins[number])

    def _windows(self, step: int) -> list[tuple[int, int]]:
        """(source, place in its epochs) of each row."""
        found = []
        for place in range(step * self.batch_size, (step + 1) * self.batch_size):
            number = self._phase(place)
            block, inside = divmod(place - self._begins[number], BLOCK)
            labels, ranks = self._block(number, block)
            source = int(labels[inside])
            before = self._before[number][source] + block * self._counts[number][source]
            found.append((source, int(before + ranks[inside])))
        return found

    def _phase(self, place: int) -> int:
        return bisect_right(self._begins, place) - 1

    def _drawn(self, number: int, windows: int) -> np.ndarray:
        """Windows of each source before the one that is `windows` behind the beginning of a phase."""
        block, inside = divmod(windows, BLOCK)
        labels, _ = self._block(number, block)
        some = np.bincount(labels[:inside], minlength=len(self._sources))
        return self._before[number] + block * self._counts[number] + some

    def _draw_block(self, number: int, block: int) -> tuple[np.ndarray, np.ndarray]:
        """(source [4096], how many of it stand before [4096]) of a block's windows."""
        generator = np.random.Generator(np.random.PCG64((self._seed, number, block, DRAWS)))
        counts = self._counts[number]
        ranks = np.concatenate([np.arange(count) for count in counts])
        places = np.concatenate([(np.arange(count) + generator.random(count)) / count for count in counts if count])
        order = np.argsort(places, kind="stable")
        return np.repeat(np.arange(len(counts)), counts)[order], ranks[order]


def _counts(shares: Sequence[float]) -> np.ndarray:
    """Windows of each source in a block, by largest remainder; at least one where there is a share."""
    exact = np.asarray(shares, float) * BLOCK
    counts = np.floor(exact).astype(np.int64)
    missing = BLOCK - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    for source in np.flatnonzero((counts == 0) & (exact > 0)):
        counts[source] = 1
        counts[np.argmax(counts)] -= 1
    return counts
