"""Conversations packed into batches: nothing lost, nothing twice, and the same whenever it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.corpus.chats.packing import RowOrder, TrainingRows, pack, padded
from workbench.corpus.chats.split import held_out, held_out_rows, prompt_key
from workbench.corpus.chats.tokens import Encoded
from workbench.errors import WorkbenchError


def row(length: int, number: int = 0, trained: int = 1) -> Encoded:
    """`length` tokens of which the last `trained` are trained on; the ids say which row it is."""
    ids_L = np.arange(length, dtype=np.int32) + 1000 * number
    trained_L = np.arange(length) >= length - trained
    return Encoded(ids_L, trained_L, np.zeros(length, np.int16), np.zeros((length, 2), np.int32), "")


def epoch_rows(rows: TrainingRows, epoch: int, steps: int) -> list[int]:
    return [
        number
        for step in range(epoch * steps, (epoch + 1) * steps)
        for sequence in rows.batch(step).sequences
        for number in sequence.rows
    ]


@given(st.lists(st.integers(1, 130), min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_packing_keeps_every_row_once_and_fits(lengths):
    bins = pack(lengths, 100)
    assert sorted(place for rows in bins for place in rows) == list(range(len(lengths)))
    capped = [min(length, 100) for length in lengths]
    fills = [sum(capped[place] for place in rows) for rows in bins]
    assert max(fills) <= 100
    # Best-fit decreasing needs at most 11/9 of the fewest possible, and one more (Johnson 1974).
    assert len(bins) <= 11 / 9 * max(1, -(-sum(capped) // 100)) + 4
    assert bins == pack(lengths, 100)
    assert all(
        fills[a] + capped[bins[b][0]] > 100  # else it would not have opened a bin
        for a in range(len(bins))
        for b in range(a + 1, len(bins))
    )


def test_packing_fills_uneven_lengths():
    lengths = np.random.default_rng(0).integers(10, 400, 5000)
    assert len(pack(lengths, 1024)) <= 1.005 * lengths.sum() / 1024


def test_an_epoch_has_every_row_once_in_another_order():
    rows = TrainingRows([row(5 + n % 7, n) for n in range(97)], max_length=32, batch_size=1, packing=False, seed=3)
    first, second = (epoch_rows(rows, epoch, rows.steps_per_epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(97))
    assert first != second


def test_packed_epochs_have_every_row_once_and_other_company():
    rows = TrainingRows([row(5 + n % 3, n) for n in range(96)], max_length=24, batch_size=1, seed=3)
    steps = rows.steps_per_epoch
    together = [
        {frozenset(rows.batch(epoch * steps + step).sequences[0].rows) for step in range(steps)} for epoch in (0, 1)
    ]
    assert sorted(n for group in together[0] for n in group) == list(range(96))
    assert together[0] != together[1]
    assert rows.fill == pytest.approx(sum(5 + n % 3 for n in range(96)) / (24 * steps))


def test_a_batch_is_a_function_of_seed_and_step():
    def made(seed: int) -> TrainingRows:
        return TrainingRows([row(3 + n % 11, n) for n in range(50)], max_length=16, batch_size=4, seed=seed)

    one, other = made(7), made(7)
    wanted = [one.batch(step) for step in range(40)]
    for step in (39, 0, 21, 5):  # in whatever order
        again = other.batch(step)
        assert [item.rows for item in again.sequences] == [item.rows for item in wanted[step].sequences]
        assert all(
            np.array_equal(a.ids_L, b.ids_L) for a, b in zip(again.sequences, wanted[step].sequences, strict=True)
        )
    assert [item.rows for item in made(8).batch(0).sequences] != [item.rows for item in wanted[0].sequences]


def test_sequences_hold_their_rows_one_after_another():
    encoded = [row(3 + n, n, trained=2) for n in range(6)]
    rows = TrainingRows(encoded, max_length=16, batch_size=2)
    for sequence in rows.all_sequences():
        for start, number in zip(sequence.starts, sequence.rows, strict=True):
            length = 3 + number
            assert sequence.ids_L[start : start + length].tolist() == encoded[number].ids_L.tolist()
            assert sequence.trained_L[start : start + length].tolist() == encoded[number].trained_L.tolist()
            assert sequence.position_ids_L[start : start + length].tolist() == list(range(length))


def test_what_is_too_long_is_cut_and_counted():
    encoded = [row(10, 0, trained=8), row(30, 1, trained=25), row(30, 2, trained=1), row(4, 3, trained=0)]
    rows = TrainingRows(encoded, max_length=16, batch_size=1)
    assert (rows.rows, rows.cut, rows.cut_tokens, rows.untrained) == (2, 2, 28, 2)
    cut = {n: c for sequence in rows.all_sequences() for n, c in zip(sequence.rows, sequence.cut, strict=True)}
    assert cut == {0: False, 1: True}
    with pytest.raises(WorkbenchError, match="None of the 1 rows has a token to train on within 16 tokens"):
        TrainingRows([encoded[2]], max_length=16, batch_size=1)


def test_shares_decide_what_an_epoch_is_made_of():
    small, large = [row(5, n) for n in range(20)], [row(5, n) for n in range(20, 200)]
    rows = TrainingRows([small, large], max_length=5, batch_size=1, packing=False, shares=[0.5, 0.5])
    first, second = (epoch_rows(rows, epoch, 200) for epoch in (0, 1))
    assert sum(n < 20 for n in first) == sum(n < 20 for n in second) == 100
    assert {first.count(n) for n in range(20)} == {5}
    # The large set goes on where it was: nothing comes again before all has come.
    assert sorted({n for n in first + second if n >= 20}) == list(range(20, 200))


def test_a_set_of_short_rows_has_less_than_its_share_of_the_tokens():
    sets = [[row(4, n) for n in range(20)], [row(12, n, trained=5) for n in range(20, 60)]]
    rows = TrainingRows(sets, max_length=16, batch_size=1, shares=[3, 1])
    short, long = (int(rows[0].trained_L.sum()) for rows in sets)
    expected = 0.75 * short / (0.75 * short + 0.25 * long)
    assert rows.set_shares == pytest.approx([expected, 1 - expected])
    assert expected < 0.75
    assert TrainingRows(sets[0], max_length=16, batch_size=1).set_shares == []


def test_padding_stands_behind():
    sequences = [row(3, 0), row(5, 1)]
    batch = padded(TrainingRows(sequences, max_length=8, batch_size=2, packing=False).all_sequences(), pad_id=9)
    assert batch.ids_BL.tolist() == [[0, 1, 2, 9, 9], [1000, 1001, 1002, 1003, 1004]]
    assert batch.real_BL.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert not batch.trained_BL[0, 3:].any()
    assert batch.position_ids_BL.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]]


def test_unpacked_rows_are_visited_once_an_epoch():
    order = RowOrder(10, batch_size=4, seed=1)
    seen = [number for step in range(5) for number in order.batch(step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert order.steps_per_epoch == 3


def test_the_split_is_by_question_and_near_its_share():
    keys = [f"question {n}" for n in range(2000)]
    chosen = held_out_rows(keys, 0.1, seed=0)
    assert 160 <= chosen.sum() <= 240
    assert chosen.tolist() == [held_out(key, 0.1, 0) for key in keys]
    assert chosen.tolist() != held_out_rows(keys, 0.1, seed=1).tolist()
    assert held_out_rows(["a", "b"], 0.001, seed=0).sum() == 1
    assert held_out_rows(["a", "b"], 0.899, seed=0).sum() == 1
    question = {"role": "user", "content": "q"}
    answers = [[question, {"role": "assistant", "content": text}] for text in "xy"]
    assert prompt_key(answers[0]) == prompt_key(answers[1]) == prompt_key([*answers[0], question])
    assert prompt_key([question]) != prompt_key([{"role": "system", "content": "s"}, question])
