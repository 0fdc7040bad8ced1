"""Near duplicates: recall and precision on planted pairs, and who is kept."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.corpus.cleaning.whole_corpus import clean, write_keys
from workbench.corpus.cleaning.near_duplicates import NearDuplicates, bands
from workbench.corpus.cleaning.sketches import BYTES, similarity, sketch
from workbench.corpus.shingles import PIECE, shingles

VOCABULARY = [f"w{n}" for n in range(5000)]


def jaccard(one: list[str], other: list[str], run: int = 5) -> float:
    """The definition, by Python's sets."""
    left, right = ({tuple(words[n : n + run]) for n in range(len(words) - run + 1)} for words in (one, other))
    return len(left & right) / len(left | right)


def planted(count: int, lowest: float, seed: int) -> list[tuple[list[str], list[str]]]:
    """Pairs whose similarity is about evenly spread above `lowest`; words changed here and there, or a block."""
    draw = random.Random(seed)
    pairs = []
    for _ in range(count):
        size = draw.choice([80, 200, 500, 1200])
        one = [draw.choice(VOCABULARY) for _ in range(size)]
        other, goal = list(one), draw.uniform(lowest, 1)
        share = (1 - goal) / (1 + goal)
        if draw.random() < 0.5:
            for _ in range(round(size * share / 5)):
                other[draw.randrange(size)] = draw.choice(VOCABULARY)
        else:
            first = draw.randrange(size - int(size * share) + 1)
            for place in range(first, first + int(size * share)):
                other[place] = draw.choice(VOCABULARY)
        pairs.append((one, other))
    return pairs


def test_recall_and_precision_at_08_on_planted_pairs(tmp_path: Path) -> None:
    """Of 1,500 pairs with a similarity spread evenly from 0.5 to 1: recall 0.998, precision 0.92 when written."""
    pairs = planted(1500, 0.5, seed=1)
    texts = [" ".join(one) for one, _ in pairs] + [" ".join(other) for _, other in pairs]
    verdicts, decisions = clean(NearDuplicates(), texts, tmp_path, a_part=400)
    truth = np.array([jaccard(one, other) for one, other in pairs])
    found = np.array([verdict.outcome == "rejected" for verdict in verdicts[len(pairs) :]])
    assert all(verdict.outcome == "kept" for verdict in verdicts[: len(pairs)])
    alike = truth >= 0.8
    assert alike.sum() > 400
    assert (~alike).sum() > 700
    assert (found & alike).sum() / alike.sum() >= 0.99
    assert (found & alike).sum() / found.sum() >= 0.9
    # Each is put to its own partner, and the similarity is near the true one.
    for number in np.flatnonzero(found).tolist():
        decision = decisions[len(pairs) + number]
        assert decision.cluster == (number // 400) << 24 | number % 400
        assert abs(decision.similarity - truth[number]) < 0.06
    errors = [decisions[len(pairs) + number].similarity - truth[number] for number in np.flatnonzero(found)]
    assert np.sqrt(np.mean(np.square(errors))) < 0.015


def test_the_estimate_is_without_bias_and_off_by_a_hundredth() -> None:
    pairs = planted(600, 0.1, seed=2)
    left, right = (
        np.stack([sketch(shingles(" ".join(pair[side]), 5)).view(np.uint8) for pair in pairs]) for side in (0, 1)
    )
    errors = similarity(left, right) - np.array([jaccard(*pair) for pair in pairs])
    assert left.shape == (600, BYTES)
    assert abs(errors.mean()) < 0.003
    assert np.sqrt(np.mean(errors**2)) < 0.015


def test_bands_find_99_of_100_pairs_at_the_limit_itself() -> None:
    for asked in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        count, rows = bands(asked)
        assert count * rows <= 112
        assert 1 - (1 - asked**rows) ** count >= 0.99
    assert bands(0.8) == (18, 6)


def test_shingles_are_the_runs_of_words() -> None:
    text = "The quick brown fox; jumps_over  the LAZY dog's tail.\n"
    words = ["the", "quick", "brown", "fox", "jumps_over", "the", "lazy", "dog", "s", "tail"]
    same = "the quick, brown FOX jumps_over the lazy (dog s) tail"
    assert len(shingles(text, 5)) == len(words) - 4
    assert shingles(text, 5).tolist() == shingles(same, 5).tolist()
    assert shingles(text, 5).tolist() == shingles(text + "’", 5).tolist()  # no ASCII any more
    swapped = "quick the brown fox jumps_over the lazy dog s tail"
    assert set(shingles(text, 5)) & set(shingles(swapped, 5)) == set(shingles(text, 5)[2:])
    assert len(shingles("two words", 5)) == 1
    assert len(shingles("--- !!! 。", 5)) == 0


def test_scripts_without_spaces_have_runs_of_characters() -> None:
    text = "今天天气很好，我们去公园散步。"
    assert len(shingles(text, 5)) == 13 - 4
    assert shingles(text, 5).tolist() == shingles("今天 天气很好 我们去公园散步", 5).tolist()
    assert len(shingles("สวัสดีครับ", 5)) == 10 - 4
    assert len(shingles("안녕 하세요 여러분 반갑 습니다", 5)) == 1  # Korean has spaces
    assert len(shingles("python 的 list 类型", 5)) == 1


def test_a_text_longer_than_a_piece_has_the_shingles_of_its_parts() -> None:
    draw = random.Random(3)
    words = [draw.choice(VOCABULARY) for _ in range(40_000)]
    text = " ".join(words)
    assert len(text) > 3 * PIECE
    whole = shingles(text, 5)
    assert len(whole) == len(words) - 4
    for start in (0, 11_111, 25_000):
        part = shingles(" ".join(words[start : start + 1000]), 5)
        assert whole[start : start + 996].tolist() == part.tolist()
    assert len(shingles("x" * 200_000, 5)) == 1


def test_the_first_or_the_longest_is_kept(tmp_path: Path) -> None:
    base = [VOCABULARY[n] for n in range(400)]
    texts = [" ".join(base), " ".join([*base, "and", "more"]), "unlike " * 5, " ".join(base[:390])]
    outcomes = {}
    for keep in ("first", "longest"):
        verdicts, decisions = clean(NearDuplicates(keep=keep), texts, tmp_path / keep)
        outcomes[keep] = [verdict.outcome for verdict in verdicts]
        assert {decision.cluster for decision in decisions.values()} == {0 if keep == "first" else 1}
        assert {n: decision.kept for n, decision in decisions.items()} == {
            0: keep == "first", 1: keep == "longest", 3: False
        }  # fmt: skip
    assert outcomes == {
        "first": ["kept", "rejected", "kept", "rejected"], "longest": ["rejected", "kept", "kept", "rejected"]
    }  # fmt: skip
    assert verdicts[0].reason == "near duplicate"
    assert verdicts[0].limit == 0.8
    assert verdicts[0].value is not None
    assert abs(verdicts[0].value - 396 / 398) < 0.03


def test_nothing_goes_for_the_sake_of_a_document_that_is_gone(tmp_path: Path) -> None:
    """A chain of which each is like the next: what is far from all that is kept, is kept."""
    draw = random.Random(4)
    chain = [[draw.choice(VOCABULARY) for _ in range(600)]]
    for _ in range(30):
        following = list(chain[-1])
        first = draw.randrange(560)
        following[first : first + 30] = [draw.choice(VOCABULARY) for _ in range(30)]
        chain.append(following)
    assert min(jaccard(*pair) for pair in pairwise(chain)) > 0.85
    assert jaccard(chain[0], chain[-1]) < 0.4
    verdicts, decisions = clean(NearDuplicates(), [" ".join(words) for words in chain], tmp_path, a_part=100)
    kept = [n for n, verdict in enumerate(verdicts) if verdict.outcome == "kept"]
    assert 2 < len(kept) < 20
    for n, decision in decisions.items():
        if not decision.kept:
            assert decision.cluster in kept
            assert jaccard(chain[decision.cluster], chain[n]) > 0.75
    for one in kept:
        for other in kept:
            assert one == other or jaccard(chain[one], chain[other]) < 0.82


def test_many_copies_of_one_page_leave_one(tmp_path: Path) -> None:
    draw = random.Random(5)
    page = [draw.choice(VOCABULARY) for _ in range(300)]
    texts = []
    for _ in range(400):
        copy = list(page)
        for _ in range(2):
            copy[draw.randrange(300)] = draw.choice(VOCABULARY)
        texts.append(" ".join(copy))
    verdicts, decisions = clean(NearDuplicates(), texts, tmp_path, a_part=64)
    kept = sum(verdict.outcome == "kept" for verdict in verdicts)
    assert kept == 1
    assert len(decisions) == 400


def test_short_and_empty_documents(tmp_path: Path) -> None:
    texts = ["", "...", "yes", "Yes!", "no", "", "..."]
    verdicts, _ = clean(NearDuplicates(), texts, tmp_path)
    assert [verdict.outcome for verdict in verdicts] == ["kept"] * 3 + ["rejected"] + ["kept"] * 3


def test_the_same_keys_give_the_same_bytes(tmp_path: Path) -> None:
    texts = [" ".join(words) for pair in planted(300, 0.7, seed=6) for words in pair]
    keys = write_keys(NearDuplicates(), texts, tmp_path, 100)
    for name, memory in (("once", 64 << 20), ("again", 2 << 30)):
        NearDuplicates().decide(keys, tmp_path / name, memory)
    once = {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}
    assert len(once) == 6
    assert once == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}


@pytest.mark.parametrize("keep", ["first", "longest"])
def test_code_in_another_layout_is_alike(keep: str, tmp_path: Path) -> None:
    code = (Path(__file__).parent / "whole_corpus.py").read_text(encoding="utf-8")
    other = code.replace("    ", "\t").replace('"', "'")
    verdicts, _ = clean(NearDuplicates(keep=keep), [code, other], tmp_path)
    assert sorted(verdict.outcome for verdict in verdicts) == ["kept", "rejected"]
