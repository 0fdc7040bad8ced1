"""From encoded conversations to training batches. Numpy only, so that every engine draws the same ones.

A batch is a pure function of the seed and the step: nothing has to be remembered to resume, and what the
inspector shows is what the trainer gets.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workbench.corpus.chats.tokens import Encoded
from workbench.errors import WorkbenchError


def pack(lengths: Sequence[int] | np.ndarray, max_length: int) -> list[list[int]]:
    """Which rows go into a sequence together: best-fit decreasing (Johnson 1974), within 11/9 of the fewest possible.

    Every row is in one bin, and a bin's lengths sum to at most `max_length`; longer rows count as that long.
    Equal lengths keep their order, so the result depends on nothing but `lengths`.
    """
    capped = np.minimum(np.asarray(lengths, np.int64), max_length)
    bins: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # room left -> bins, last in first out
    rooms: list[int] = []  # the keys of it, ascending
    for row in np.argsort(-capped, kind="stable").tolist():
        length = int(capped[row])
        place = bisect_left(rooms, length)
        if place < len(rooms):
            room = rooms[place]
            number = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        else:
            room, number = max_length, len(bins)
            bins.append([])
        bins[number].append(row)
        left = room - length
        if left:
            if left not in with_room:
                insort(rooms, left)
            with_room.setdefault(left, []).append(number)
    return bins


@dataclass(frozen=True, slots=True)
class PackedSequence:
    """One row of a batch: L tokens of one or several documents, one after another."""

    ids_L: np.ndarray  # int32
    trained_L: np.ndarray  # bool
    position_ids_L: np.ndarray  # int32: places within the document; 0 is where attention stops
    starts: tuple[int, ...]  # where the documents begin
    rows: tuple[int, ...]  # which of the encoded rows they are
    cut: tuple[bool, ...]  # whether each was cut at the end


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch of B sequences, padded on the right to the longest, L."""

    ids_BL: np.ndarray  # int64
    trained_BL: np.ndarray  # bool, false in the padding
    position_ids_BL: np.ndarray  # int64, 0, 1, 2, … in the padding too
    real_BL: np.ndarray  # bool, false in the padding


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimizer step is trained on, over all processes and micro-batches."""

    step: int
    epoch: int  # of its first sequence
    sequences: tuple[PackedSequence, ...]

    @property
    def tokens(self) -> int:
        return sum(len(item.ids_L) for item in self.sequences)

    @property
    def trained(self) -> int:
        """How many tokens count in the loss."""
        return sum(int(item.trained_L.sum()) for item in self.sequences)


def padded(sequences: Sequence[PackedSequence], pad_id: int) -> Padded:
    """The sequences side by side."""
    longest = max(len(item.ids_L) for item in sequences)
    shape = (len(sequences), longest)
    result = Padded(
        ids_BL=np.full(shape, pad_id, np.int64),
        trained_BL=np.zeros(shape, bool),
        position_ids_BL=np.zeros(shape, np.int64),
        real_BL=np.zeros(shape, bool),
    )
    for row, item in enumerate(sequences):
        length = len(item.ids_L)
        result.ids_BL[row, :length] = item.ids_L
        result.trained_BL[row, :length] = item.trained_L
        result.position_ids_BL[row, :length] = item.position_ids_L
        result.position_ids_BL[row, length:] = np.arange(longest - length)
        result.real_BL[row, :length] = True
    return result


class TrainingRows:
    """Encoded conversations as training batches.

    An epoch visits every row once, in an order drawn from the seed and its number. With `shares`, one a set of
    rows, an epoch of the same size takes that share of its rows from each set: a small set comes several times,
    of a large one each epoch takes the next part.

    Rows longer than `max_length` are cut at the end; those with nothing left to train on are left out. `cut`,
    `cut_tokens` and `untrained` count them.
    """

    def __init__(
        self,
        encoded: Iterable[Encoded] | Sequence[Iterable[Encoded]],
        *,
        max_length: int,
        batch_size: int,
        packing: bool = True,
        seed: int = 0,
        shares: Sequence[float] | None = None,
    ):
        """`encoded` are rows, or with `shares` as many sets of rows.

        Raises `WorkbenchError` if a set has no row with something to train on.
        """
        self.max_length, self.batch_size, self.packing, self.seed = max_length, batch_size, packing, seed
        self.cut = self.cut_tokens = self.untrained = 0
        sets: list[Iterable[Encoded]] = [encoded] if shares is None else list(encoded)  # type: ignore[list-item, arg-type]
        self._shares = None if shares is None else np.asarray(shares, float) / float(sum(shares))
        self._sets: list[np.ndarray] = []  # of places in the arrays below
        self._source: list[int] = []  # the row, counted over all sets, left-out ones too
        self._was_cut: list[bool] = []
        ids: list[np.ndarray] = []
        trained: list[np.ndarray] = []
        source = 0
        for rows in sets:
            first = len(ids)
            for row in rows:
                kept_L = row.trained_L[:max_length]
                long = len(row.ids_L) > max_length
                self.cut += long
                self.cut_tokens += max(len(row.ids_L) - max_length, 0)
                if kept_L.any():
                    ids.append(row.ids_L[:max_length])
                    trained.append(kept_L)
                    self._source.append(source)
                    self._was_cut.append(long)
                else:
                    self.untrained += 1
                source += 1
            if len(ids) == first:
                raise WorkbenchError(
                    f"None of the {source:,} rows has a token to train on within {max_length:,} tokens.",
                    "Raise --max-length, or give rows with answers: workbench inspect shows them.",
                )
            self._sets.append(np.arange(first, len(ids)))
        self.rows = len(ids)
        self._ends = np.cumsum([len(item) for item in ids])
        self._ids = np.concatenate(ids).astype(np.int32, copy=False)
        self._trained = np.concatenate(trained)
        self._epochs: dict[int, list[np.ndarray]] = {}
        self._before = [0]  # sequences before each epoch

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [rows], after cutting."""
        return np.diff(self._ends, prepend=0)

    @property
    def trained_share(self) -> float:
        """Trained tokens of all tokens, over the rows as they are."""
        return float(self._trained.mean())

    @property
    def set_shares(self) -> list[float]:
        """Of each set, its share of the tokens that an epoch trains on: a set of short answers has less than its share
        of the rows. Empty without `shares`."""
        if self._shares is None:
            return []
        sums = np.diff(np.cumsum(self._trained)[self._ends - 1], prepend=0)  # trained tokens of each row
        weights = [float(share * sums[rows].mean()) for rows, share in zip(self._sets, self._shares, strict=True)]
        return [weight / sum(weights) for weight in weights]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that pass over the rows once, the last perhaps with sequences of the next epoch."""
        return -(-len(self._epoch(0)) // self.batch_size)

    @property
    def fill(self) -> float:
        """How full the first epoch's sequences are, of `max_length` each."""
        sequences = self._epoch(0)
        return float(sum(int(self.lengths[rows].sum()) for rows in sequences)) / (len(sequences) * self.max_length)

    def batch(self, step: int) -> Batch:
        """The global batch of optimizer step `step`, from 0."""
        first = step * self.batch_size
        epoch = self._epoch_of(first)
        return Batch(step, epoch, tuple(self._sequence(first + n) for n in range(self.batch_size)))

    def all_sequences(self) -> list[PackedSequence]:
        """Every row once, in order, packed if these are: what evaluation runs over."""
        bins = pack(self.lengths, self.max_length) if self.packing else [[row] for row in range(self.rows)]
        return [self._joined(np.array(rows)) for rows in bins]

    def _sequence(self, place: int) -> PackedSequence:
        epoch = self._epoch_of(place)
        return self._joined(self._epoch(epoch)[place - self._before[epoch]])

    def _epoch_of(self, place: int) -> int:
        epoch = 0
        while True:
            if len(self._before) < epoch + 2:
                self._before.append(self._before[epoch] + len(self._epoch(epoch)))
            if place < self._before[epoch + 1]:
                return epoch
            epoch += 1

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        """The epoch's sequences, each as the rows that it holds."""
        found = self._epochs.get(epoch)
        if found is None:
            generator = np.random.Generator(np.random.PCG64((self.seed, epoch)))
            rows = generator.permutation(self._drawn(epoch))
            if self.packing:
                # Rows of one length change places with each other: which meet in a sequence differs by epoch.
                bins = [rows[places] for places in pack(self.lengths[rows], self.max_length)]
                found = [bins[place] for place in generator.permutation(len(bins)).tolist()]
            else:
                found = [rows[place : place + 1] for place in range(len(rows))]
            for old in [number for number in self._epochs if number < epoch - 1]:
                del self._epochs[old]
            self._epochs[epoch] = found
        return found

    def _drawn(self, epoch: int) -> np.ndarray:
        """The rows that an epoch visits."""
        if self._shares is None:
            return np.arange(self.rows)
        drawn = []
        for number, (rows, share) in enumerate(zip(self._sets, self._shares, strict=True)):
            count = max(1, round(share * self.rows))
            # One endless list of shuffled passes over the set; an epoch takes the next `count` of it.
            first, stop = epoch * count, (epoch + 1) * count
            passes = [self._shuffled(number, turn) for turn in range(first // len(rows), -(-stop // len(rows)))]
            start = first - first // len(rows) * len(rows)
            drawn.append(np.concatenate(passes)[start : start + count])
        return np.concatenate(drawn)

    def _shuffled(self, number: int, turn: int) -> np.ndarray:
        return np.random.Generator(np.random.PCG64((self.seed, number, turn))).permutation(self._sets[number])

    def _joined(self, rows: np.ndarray) -> PackedSequence:
        numbers = rows.tolist()
        stops = self._ends[rows]
        lengths = self.lengths[rows]
        spans = [slice(stop - length, stop) for stop, length in zip(stops.tolist(), lengths.tolist(), strict=True)]
        starts = np.cumsum(lengths) - lengths
        return PackedSequence(
            ids_L=np.concatenate([self._ids[span] for span in spans]),
            trained_L=np.concatenate([self._trained[span] for span in spans]),
            position_ids_L=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
            starts=tuple(starts.tolist()),
            rows=tuple(self._source[number] for number in numbers),
            cut=tuple(self._was_cut[number] for number in numbers),
        )


class RowOrder:
    """The order in which rows that are not packed (pairs, marks) are visited: every row once an epoch."""

    def __init__(self, rows: int, *, batch_size: int, seed: int = 0):
        self.rows, self.batch_size, self.seed = rows, batch_size, seed

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.rows // self.batch_size)

    def batch(self, step: int) -> list[int]:
        """The rows of optimizer step `step`, from 0: `batch_size` of them, perhaps over the end of an epoch."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {epoch: self._epoch(epoch) for epoch in {place // self.rows for place in places}}
        return [int(orders[place // self.rows][place % self.rows]) for place in places]

    def _epoch(self, epoch: int) -> np.ndarray:
        return np.random.Generator(np.random.PCG64((self.seed, epoch))).permutation(self.rows)
