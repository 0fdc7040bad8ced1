"""Batches of one corpus and of several, on hand-made streams whose tokens say where they are from."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.corpus.mixture import BLOCK, Batches, Phase
from workbench.corpus.packing import TokenStream, Windows
from workbench.errors import WorkbenchError
from workbench.recipes.mixture import mixture, phase, whole_shares

LENGTH = 16
FIRST = 1_000_000  # tokens of source n begin at n times this


class Plain:
    def __init__(self, tokens: int, first: int = 0):
        self.tokens, self.first = tokens, first
        self.document_ends = np.array([tokens], np.uint64)
        self.document_keys = np.zeros(1, np.uint64)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop) + self.first


def windows(tokens: int, seed: int = 1, number: int = 0) -> Windows:
    stream = TokenStream(Plain(tokens, number * FIRST), np.array([0]), np.array([tokens]))
    return Windows(stream, length=LENGTH, seed=seed, number=number)


def alone(tokens: int, *, batch_size: int, seed: int = 1) -> Batches:
    return Batches([windows(tokens, seed)], [Phase(0, [1.0])], batch_size=batch_size, seed=seed)


def mixed(phases: list[Phase], *sizes: int, batch_size: int = 8, seed: int = 1) -> Batches:
    sources = [windows(size, seed, number) for number, size in enumerate(sizes)]
    return Batches(sources, phases, batch_size=batch_size, seed=seed)


def counts(batches: Batches, steps: range, sources: int = 2) -> np.ndarray:
    return np.bincount([source for step in steps for source in batches.sources_of(step)], minlength=sources)


def test_an_epoch_shows_nearly_every_token_once() -> None:
    batches = alone(1810, batch_size=3, seed=5)
    drawn = [batches.global_batch(step) for step in range(windows(1810).count // 3)]
    targets = np.concatenate([batch[:, 1:].ravel() for batch in drawn])
    assert len(set(targets.tolist())) == len(targets)
    assert len(targets) > 1810 - 6 * LENGTH
    for batch in drawn:
        assert batch.shape == (3, LENGTH + 1)
        assert (np.diff(batch, axis=1) == 1).all()  # the stream's own order within a window
    starts = np.concatenate([batch[:, 0] for batch in drawn])
    assert (np.diff(starts) < 0).any()  # but windows in a random order


def test_batches_depend_on_seed_and_step_alone() -> None:
    phases = [Phase(0, [0.7, 0.3]), Phase(60, [0.2, 0.8])]
    one, two = (mixed(phases, 2000, 900) for _ in range(2))
    forwards = [one.global_batch(step) for step in range(700)]  # over a block's end
    for step in reversed(range(700)):
        assert np.array_equal(forwards[step], two.global_batch(step))
    other = mixed(phases, 2000, 900, seed=2)
    assert not np.array_equal(forwards[0], other.global_batch(0))
    single = alone(2000, batch_size=4)
    epoch = windows(2000).count // 4 + 1
    assert sorted(single.global_batch(0)[:, 0]) != sorted(single.global_batch(epoch)[:, 0])  # another order and offset


def test_fewer_windows_than_a_batch_repeat() -> None:
    assert windows(52).count == 2
    assert len(alone(52, batch_size=8).global_batch(0)) == 8


def test_shares_are_exact_over_a_block_and_even_within_it() -> None:
    batches = mixed([Phase(0, [0.7, 0.29, 0.0099, 0.0001])], 5000, 400, 100, 100)
    steps = BLOCK // batches.batch_size
    block = counts(batches, range(steps), 4)
    assert block.tolist() == [2866, 1188, 41, 1]  # 4,096 times the shares, and the last is not lost
    assert counts(batches, range(steps, 2 * steps), 4).tolist() == block.tolist()
    seen = np.cumsum([np.array(batches.sources_of(step)) == 0 for step in range(steps)], axis=1)[:, -1].cumsum()
    expected = np.arange(1, steps + 1) * 8 * 0.7
    assert np.abs(seen - expected).max() < 3  # windows: at no time further away
    assert np.array_equal(batches.drawn(steps * 2 + 3), counts(batches, range(steps * 2 + 3), 4))


def test_each_source_goes_through_its_own_epochs_over_phases() -> None:
    batches = mixed([Phase(0, [0.9, 0.1]), Phase(50, [0.1, 0.9]), Phase(80, [0.0, 1.0])], 3000, 1500)
    starts: dict[int, list[int]] = {0: [], 1: []}
    for step in range(100):
        sources = batches.sources_of(step)
        for row, source in zip(batches.global_batch(step), sources, strict=True):
            assert (row // FIRST == source).all()
            starts[source].append(int(row[0]))
        assert step < 80 or sources == [1] * 8
    assert counts(batches, range(50))[0] == pytest.approx(360, abs=1)
    assert counts(batches, range(50, 80))[0] == pytest.approx(24, abs=1)
    for number, tokens in ((0, 3000), (1, 1500)):
        own = starts[number]
        epoch = windows(tokens).count
        assert len(own) >= epoch
        for begin in range(0, len(own) - epoch, epoch):  # each window once before one comes again
            assert len(set(own[begin : begin + epoch])) == epoch
        assert own == [int(windows(tokens, number=number).read(place)[0]) for place in range(len(own))]


def test_any_number_of_processes_draws_slices_of_one_batch() -> None:
    whole = mixed([Phase(0, [0.5, 0.5])], 2000, 2000, batch_size=12)
    pieces = [mixed([Phase(0, [0.5, 0.5])], 2000, 2000, batch_size=12) for _ in range(3)]
    for step in (0, 7, 400):
        parts = [piece.global_batch(step)[rank::3] for rank, piece in enumerate(pieces)]
        joined = np.empty_like(whole.global_batch(step))
        for rank, part in enumerate(parts):
            joined[rank::3] = part
        assert np.array_equal(joined, whole.global_batch(step))


def test_the_draw_is_the_same_on_every_machine() -> None:
    batches = mixed([Phase(0, [0.6, 0.4])], 2000, 900, seed=7)
    assert batches.sources_of(0) == [1, 0, 0, 0, 1, 0, 1, 0]
    assert batches.global_batch(3)[:, 0].tolist() == [1295, 319, 1000363, 799, 335, 1000539, 1055, 1855]


def test_mixtures_in_words() -> None:
    assert mixture(["web=0.7", "code=0.3"]).weights == (0.7, 0.3)
    assert mixture(["web=7", "code=3"]).shares(["web", "code"], [1, 1]) == [0.7, 0.3]
    assert mixture(["web", "code"]).shares(["web", "code"], [300, 100]) == [0.75, 0.25]
    later = phase("0.9: good=0.8, web=0.2")
    assert (later.at, later.names, later.weights) == (0.9, ("good", "web"), (0.8, 0.2))
    assert later.shares(["web", "code", "good"], [5, 5, 5]) == [0.2, 0.0, 0.8]
    whole = whole_shares([mixture(["web=0.7", "code=0.3"]), later], ["web", "code", "good"], [5, 5, 5])
    assert whole == pytest.approx([0.65, 0.27, 0.08])
    for text in ("0.9", "good=1", "1.5: good", "0: good", "0.9:", "x: good"):
        with pytest.raises(WorkbenchError, match="is no phase"):
            phase(text)
    with pytest.raises(WorkbenchError, match="'web' is named twice"):
        mixture(["web=0.5", "web=0.5"])
