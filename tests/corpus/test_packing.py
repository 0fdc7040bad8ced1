"""Held-out text and windows, on hand-made streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.corpus.packing import (
    TokenStream,
    Windows,
    document_positions,
    split,
    training_targets,
    validation_windows,
)
from workbench.corpus.shards import Shards, ShardWriter, document_key
from workbench.errors import WorkbenchError


def shards(folder: Path, lengths: list[int]) -> Shards:
    """Documents whose tokens are their places in the corpus."""
    folder.mkdir()
    place = 0
    with ShardWriter(folder, vocab_size=100_000, shard_tokens=1000) as writer:
        for number, length in enumerate(lengths):
            writer.extend(
                np.arange(place, place + length), np.array([length]), np.array([document_key(b"%d" % number)])
            )
            place += length
        writer.finish()
    return Shards(folder)


def everything(stream: TokenStream) -> np.ndarray:
    return stream.read(0, stream.tokens)


@pytest.mark.parametrize(
    ("tokens", "remedy"),
    [(4, "Import more text: 1,280 tokens would do."), (1000, "Import more text, or raise --validation-fraction.")],
)
def test_too_little_text_says_what_helps(tmp_path: Path, tokens: int, remedy: str) -> None:
    with pytest.raises(WorkbenchError, match="too few to measure") as caught:
        split(shards(tmp_path / "shards", [tokens]), method="auto", fraction=0.05, seed=0)
    assert caught.value.remedy == remedy


def test_documents_are_held_out_whole_and_by_the_seed(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 1000).tolist()
    corpus = shards(tmp_path / "s", lengths)
    ends = np.cumsum(lengths)
    parts = split(corpus, method="auto", fraction=0.1, seed=0)
    assert parts.method == "documents"
    train, validation = everything(parts.train), everything(parts.validation)
    assert sorted([*train, *validation]) == list(range(ends[-1]))
    owners = [set(np.searchsorted(ends, tokens, side="right").tolist()) for tokens in (train, validation)]
    assert not owners[0] & owners[1]
    assert 0.08 <= len(validation) / ends[-1] <= 0.12  # three standard deviations: 0.03
    again = split(corpus, method="documents", fraction=0.1, seed=0)
    other = split(corpus, method="documents", fraction=0.1, seed=1)
    assert np.array_equal(everything(again.validation), validation)
    assert not np.array_equal(everything(other.validation), validation)


def test_a_larger_corpus_holds_out_the_same_documents(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lengths = dict(enumerate(generator.integers(5, 60, 2000).tolist()))
    smaller = generator.permutation(1000).tolist()

    def held_out(name: str, numbers: list[int]) -> set[int]:
        """Numbers of the documents that are held out; each consists of its number."""
        (tmp_path / name).mkdir()
        with ShardWriter(tmp_path / name, vocab_size=100_000, shard_tokens=1000) as writer:
            for number in numbers:
                key = document_key(f"document {number}".encode())
                writer.extend(np.full(lengths[number], number), np.array([lengths[number]]), np.array([key], np.uint64))
            writer.finish()
        parts = split(Shards(tmp_path / name), method="documents", fraction=0.1, seed=3)
        return set(everything(parts.validation).tolist())

    before = held_out("before", smaller)
    after = held_out("after", generator.permutation(2000).tolist())
    assert 80 <= len(before) <= 120
    assert 170 <= len(after) <= 230
    assert before == after & set(smaller)


def test_a_document_that_is_too_long_is_not_held_out(tmp_path: Path) -> None:
    corpus = shards(tmp_path / "s", [*[20] * 1000, 5000])
    for seed in (36, 47):  # whose hash is low enough
        parts = split(corpus, method="documents", fraction=0.05, seed=seed)
        assert parts.validation.tokens < 5000


def test_the_split_is_the_same_on_every_machine(tmp_path: Path) -> None:
    parts = split(shards(tmp_path / "s", [100] * 120), method="documents", fraction=0.05, seed=7)
    assert (everything(parts.validation)[::100] // 100).tolist() == [4, 8, 17, 23, 27, 33, 63, 66, 79]


def test_few_documents_hold_out_the_tail(tmp_path: Path) -> None:
    parts = split(shards(tmp_path / "s", [1500, 500]), method="auto", fraction=0.1, seed=0)
    assert parts.method == "tail"
    assert everything(parts.validation).tolist() == list(range(1800, 2000))
    assert parts.train.tokens == 1800


def test_too_little_text_is_a_sentence_with_its_numbers(tmp_path: Path) -> None:
    corpus = shards(tmp_path / "s", [300])
    with pytest.raises(WorkbenchError, match=r"300 tokens; 5\.0% of them are 15"):
        split(corpus, method="auto", fraction=0.05, seed=0)
    with pytest.raises(WorkbenchError, match="Of the 1 documents 0 tokens are held out"):
        split(corpus, method="documents", fraction=0.5, seed=0)
    train = split(corpus, method="tail", fraction=0.5, seed=0).train
    with pytest.raises(WorkbenchError, match="leaves 150 tokens"):
        Windows(train, length=256, seed=0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.data())
def test_a_stream_reads_as_its_spans_joined(lengths: list[int], data: st.DataObject) -> None:
    class Plain:
        tokens = sum(lengths)
        document_ends = np.cumsum(lengths).astype(np.uint64)
        document_keys = document_ends

        def read(self, start: int, stop: int) -> np.ndarray:
            return np.arange(start, stop)

    chosen = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    keep = np.array(chosen)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    stream = TokenStream(Plain(), starts[keep], ends[keep])
    expected = [
        place for begin, end, kept in zip(starts, ends, chosen, strict=True) if kept for place in range(begin, end)
    ]
    assert stream.tokens == len(expected)
    first = data.draw(st.integers(0, len(expected)))
    last = data.draw(st.integers(first, len(expected)))
    assert stream.read(first, last).tolist() == expected[first:last]


def test_validation_windows_are_fixed_and_spread(tmp_path: Path) -> None:
    stream = split(shards(tmp_path / "s", [4000]), method="tail", fraction=0.5, seed=0).validation
    windows = validation_windows(stream, length=16, max_tokens=160)
    assert windows.shape == (10, 17)
    assert windows[0, 0] == 2000
    assert windows[-1, -1] > 3700
    whole = validation_windows(stream, length=16, max_tokens=10**9)
    assert whole[:, 1:].ravel().tolist() == list(range(2001, 2001 + len(whole) * 16))
    assert len(whole) == 1999 // 16
    short = validation_windows(stream, length=10_000, max_tokens=10**9)
    assert short.shape == (1, 2000)


def test_positions_restart_at_documents() -> None:
    tokens = np.array([[5, 5, 0, 5, 5, 0, 0, 5], [0, 5, 5, 5, 5, 5, 5, 5]])
    assert document_positions(tokens, bos=0).tolist() == [[0, 1, 0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert training_targets(tokens, bos=0)[0].tolist() == [5, -100, 5, 5, -100, -100, 5]
