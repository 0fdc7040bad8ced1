"""From documents' tokens to training sequences. Numpy only, so that every engine draws the same batches.

A corpus is one stream of tokens, each document `<|bos|> text <|eos|>`. Some of it is held out for
validation; windows of `length + 1` tokens are cut from the rest, shuffled anew every epoch, and a
batch is a pure function of the seed and the step: nothing has to be remembered to resume, and any
number of processes draw slices of the same global batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

from workbench.errors import WorkbenchError

AUTO_DOCUMENTS = 100  # documents from which `auto` holds out whole ones
MIN_VALIDATION_TOKENS = 64  # fewer say nothing about a model

SplitMethod = Literal["auto", "documents", "tail"]


class Shards(Protocol):
    """What packing needs of `workbench.corpus.shards.Shards`."""

    @property
    def tokens(self) -> int: ...
    @property
    def document_ends(self) -> np.ndarray:
        """Cumulative ends in tokens, over all documents, uint64."""

    def read(self, start: int, stop: int) -> np.ndarray: ...


class TokenStream:
    """Spans of shards seen as one sequence of tokens."""

    def __init__(self, shards: Shards, starts: np.ndarray, stops: np.ndarray):
        """`starts` and `stops` are ascending token positions in `shards`; touching spans become one."""
        starts, stops = starts.astype(np.int64), stops.astype(np.int64)
        joined = np.flatnonzero(starts[1:] == stops[:-1])
        self._shards = shards
        self._starts = np.delete(starts, joined + 1)
        stops = np.delete(stops, joined)
        self._ends = np.cumsum(stops - self._starts)  # in the stream
        self.tokens = int(self._ends[-1]) if len(self._ends) else 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens `start` to `stop` of the stream, int64."""
        tokens = np.empty(stop - start, dtype=np.int64)
        span = int(np.searchsorted(self._ends, start, side="right"))
        done = 0
        while start + done < stop:
            span_begin = int(self._ends[span - 1]) if span else 0
            source = int(self._starts[span]) + start + done - span_begin
            count = min(stop, int(self._ends[span])) - start - done
            tokens[done : done + count] = self._shards.read(source, source + count)
            done += count
            span += 1
        return tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The stream that is trained on, and the one that is held out."""

    train: TokenStream
    validation: TokenStream
    method: str  # "documents" or "tail"


def split(shards: Shards, *, method: SplitMethod, fraction: float, seed: int) -> Split:
    """Hold out `fraction` of the tokens for validation.

    `documents`: whole documents in the order of a seeded hash until the fraction is reached; one that
    is longer than all that is to be held out is never chosen. `tail`: the end of the stream.
    `auto`: documents if there are at least 100 of them.

    Raises `WorkbenchError` if too little would be held out, or no document is short enough.
    """
    ends = np.asarray(shards.document_ends).astype(np.int64)
    total = int(shards.tokens)
    chosen_method = ("documents" if len(ends) >= AUTO_DOCUMENTS else "tail") if method == "auto" else method
    wanted = int(total * fraction)
    if wanted < MIN_VALIDATION_TOKENS:
        raise WorkbenchError(
            f"The corpus has {total:,} tokens; {fraction:.1%} of them are {wanted:,}, too few to measure a validation "
            f"loss on (at least {MIN_VALIDATION_TOKENS}).",
            f"Import more text: {math.ceil(MIN_VALIDATION_TOKENS / fraction):,} tokens would do."
            if total < 4 * MIN_VALIDATION_TOKENS  # holding out more would leave nothing to train on
            else "Import more text, or raise --validation-fraction.",
        )
    if chosen_method == "tail":
        cut = np.array([total - wanted])
        train = TokenStream(shards, np.array([0]), cut)
        validation = TokenStream(shards, cut, np.array([total]))
    else:
        starts = np.concatenate(([0], ends[:-1]))
        held_out = _held_out_documents(ends - starts, wanted, seed)
        train = TokenStream(shards, starts[~held_out], ends[~held_out])
        validation = TokenStream(shards, starts[held_out], ends[held_out])
    return Split(train=train, validation=validation, method=chosen_method)


def _held_out_documents(lengths: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Which documents to hold out, as booleans."""
    order = np.argsort(_hash(np.arange(len(lengths), dtype=np.uint64), seed), kind="stable")
    order = order[lengths[order] <= wanted]
    sums = np.cumsum(lengths[order])
    if not len(sums) or sums[-1] < MIN_VALIDATION_TOKENS:
        raise WorkbenchError(
            f"None of the {len(lengths):,} documents is short enough to be held out: {wanted:,} tokens are wanted.",
            "Set --validation-split tail, or raise --validation-fraction.",
        )
    chosen = np.zeros(len(lengths), dtype=bool)
    chosen[order[: int(np.searchsorted(sums, wanted)) + 1]] = True
    return chosen


def _hash(values: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64 (Steele et al. 2014) of uint64 values: the same on every platform and numpy version."""
    golden = 0x9E3779B97F4A7C15
    x = values + np.uint64((seed + 1) * golden % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Batches:
    """The training batches: a pure function of the seed and the step.

    An epoch cuts the stream into windows at a random offset and visits them in a random order; the
    last target of a window is the first token of the next.
    """

    def __init__(self, stream: TokenStream, *, length: int, batch_size: int, seed: int):
        """Raises `WorkbenchError` if the stream is shorter than one window."""
        if stream.tokens < length + 1:
            raise WorkbenchError(
                f"The corpus leaves {stream.tokens:,} tokens to train on, fewer than one sequence of {length:,} + 1.",
                "Import more text." if stream.tokens < 16 else "Import more text, or lower --max-length.",
            )
        self._stream, self._length, self._seed = stream, length, seed
        self.batch_size = batch_size
        self.windows = max(1, (stream.tokens - length) // length)  # in an epoch
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)  # a batch may span two

    def global_batch(self, step: int) -> np.ndarray:
        """Tokens of optimizer step `step` (from 0) over all processes: int64 [batch, length + 1]."""
        length = self._length
        tokens_BL1 = np.empty((self.batch_size, length + 1), dtype=np.int64)
        for row in range(self.batch_size):
            epoch, place = divmod(step * self.batch_size + row, self.windows)
            offset, order = self._epoch(epoch)
            start = offset + int(order[place]) * length
            tokens_BL1[row] = self._stream.read(start, start + length + 1)
        return tokens_BL1

    def _draw_epoch(self, epoch: int) -> tuple[int, np.ndarray]:
        generator = np.random.Generator(np.random.PCG64((self._seed, epoch)))
        spare = self._stream.tokens - 1 - self.windows * self._length
        offset = int(generator.integers(0, min(spare, self._length - 1) + 1))
        return offset, generator.permutation(np.arange(self.windows, dtype=np.uint32))


def validation_windows(stream: TokenStream, *, length: int, max_tokens: int) -> np.ndarray:
    """A fixed set of held-out sequences: int64 [windows, length + 1], evenly spread over the stream.

    Neighbours share one token, so every token is a target at most once. A stream shorter than a
    window makes one short window.
    """
    length = min(length, stream.tokens - 1)
    available = (stream.tokens - 1) // length
    count = max(1, min(available, max_tokens // length))
    places = np.arange(count) * available // count
    return np.stack([stream.read(place * length, place * length + length + 1) for place in places.tolist()])


def document_positions(tokens_BL: np.ndarray, bos: int) -> np.ndarray:
    """Places within the document: they restart at each `<|bos|>`, and at the window's beginning.

    int64 [batch, length]; 0 marks where attention must not look further back.
    """
    places = np.arange(tokens_BL.shape[1])
    starts_BL = np.where(tokens_BL == bos, places, 0)
    return places - np.maximum.accumulate(starts_BL, axis=1)


def training_targets(tokens_BL1: np.ndarray, bos: int, ignored: int = -100) -> np.ndarray:
    """The next tokens, [batch, length]. A `<|bos|>` is not predicted: it says nothing about the text."""
    targets_BL = tokens_BL1[:, 1:].copy()
    targets_BL[targets_BL == bos] = ignored
    return targets_BL
