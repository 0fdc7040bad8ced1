"""From documents' tokens to training sequences. Numpy only, so that every engine draws the same batches.

A corpus is one stream of tokens, each document `<|bos|> text <|eos|>`. Some of it is held out for
validation; windows of `length + 1` tokens are cut from the rest, shuffled anew every epoch. `Batches` (in
`workbench.corpus.mixture`) draws them, from one corpus or several.
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

    @property
    def document_keys(self) -> np.ndarray:
        """The hashes of the documents' texts, uint64."""

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

    `documents`: whole documents whose hash, taken with the seed, is among the lowest `fraction`; one that is longer
    than all that is to be held out never is. So a document that is held out stays held out in a larger corpus, and
    with another tokenizer. `tail`: the end of the stream. `auto`: documents if there are at least 100 of them, and
    the hash chose at least a quarter of what is wanted.

    Raises `WorkbenchError` if too little would be held out, or no document is short enough.
    """
    ends = np.asarray(shards.document_ends).astype(np.int64)
    total = int(shards.tokens)
    wanted = int(total * fraction)
    if wanted < MIN_VALIDATION_TOKENS:
        raise WorkbenchError(
            f"The corpus has {total:,} tokens; {fraction:.1%} of them are {wanted:,}, too few to measure a validation "
            f"loss on (at least {MIN_VALIDATION_TOKENS}).",
            f"Import more text: {math.ceil(MIN_VALIDATION_TOKENS / fraction):,} tokens would do."
            if total < 4 * MIN_VALIDATION_TOKENS  # holding out more would leave nothing to train on
            else "Import more text, or raise --validation-fraction.",
        )
    lengths = np.diff(ends, prepend=0)
    held_out = (_hash(shards.document_keys, seed) < np.uint64(fraction * 2**64)) & (lengths <= wanted)
    chosen = int(lengths[held_out].sum())
    if method == "auto":
        method = "documents" if len(ends) >= AUTO_DOCUMENTS and 4 * chosen >= wanted else "tail"
    if method == "tail":
        cut = np.array([total - wanted])
        train = TokenStream(shards, np.array([0]), cut)
        validation = TokenStream(shards, cut, np.array([total]))
    elif chosen < MIN_VALIDATION_TOKENS:
        raise WorkbenchError(
            f"Of the {len(lengths):,} documents {chosen:,} tokens are held out, too few to measure a validation loss "
            f"on: {wanted:,} are wanted, in documents that are no longer than that.",
            "Set --validation-split tail, or raise --validation-fraction.",
        )
    else:
        train = TokenStream(shards, (ends - lengths)[~held_out], ends[~held_out])
        validation = TokenStream(shards, (ends - lengths)[held_out], ends[held_out])
    return Split(train=train, validation=validation, method=method)


def _hash(values: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64 (Steele et al. 2014) of uint64 values: the same on every platform and numpy version."""
    golden = 0x9E3779B97F4A7C15
    x = values + np.uint64((seed + 1) * golden % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Windows:
    """A stream's windows, one epoch after another without end: a pure function of the seed and the place.

    An epoch cuts the stream into windows at a random offset and visits them in a random order; the
    last target of a window is the first token of the next.
    """

    def __init__(self, stream: TokenStream, *, length: int, seed: int, number: int = 0):
        """`number` tells the streams of a mixture apart. Raises `WorkbenchError` if `stream` is under one window."""
        if stream.tokens < length + 1:
            raise WorkbenchError(
                f"The corpus leaves {stream.tokens:,} tokens to train on, fewer than one sequence of {length:,} + 1.",
                "Import more text." if stream.tokens < 16 else "Import more text, or lower --max-length.",
            )
        self._stream, self._seed, self._number = stream, seed, number
        self.length = length
        self.count = max(1, (stream.tokens - length) // length)  # in an epoch
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)  # a batch may span two

    def read(self, place: int) -> np.ndarray:
        """Tokens of the window at `place`, int64 [length + 1]."""
        epoch, place = divmod(place, self.count)
        offset, order = self._epoch(epoch)
        start = offset + int(order[place]) * self.length
        return self._stream.read(start, start + self.length + 1)

    def _draw_epoch(self, epoch: int) -> tuple[int, np.ndarray]:
        generator = np.random.Generator(np.random.PCG64((self._seed, epoch, self._number)))
        spare = self._stream.tokens - 1 - self.count * self.length
        offset = int(generator.integers(0, min(spare, self.length - 1) + 1))
        return offset, generator.permutation(np.arange(self.count, dtype=np.uint32))


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
