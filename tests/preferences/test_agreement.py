"""Agreement, bias and strengths against figures worked out by hand or printed in the papers."""

from __future__ import annotations

import math
import random

import pytest

from workbench.preferences.agreement import (
    Share,
    cohens_kappa,
    krippendorffs_alpha,
    left_share,
    longer_share,
    rater_agreement,
    self_agreement,
)
from workbench.preferences.judgements import Judgement
from workbench.preferences.strengths import games_to_go, strengths


def test_cohens_kappa_of_a_table() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.70, expected 0.50.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([(1, 1), (1, 1)]) is None
    assert cohens_kappa([]) is None


def test_krippendorffs_alpha_of_the_published_example() -> None:
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: 12 units, 4 observers.
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    rows = [line.split() for line in observers]
    units = [{str(who): float(row[unit]) for who, row in enumerate(rows) if row[unit] != "."} for unit in range(12)]
    assert krippendorffs_alpha(units, lambda a, b: float(a != b)) == pytest.approx(0.743, abs=0.001)
    assert krippendorffs_alpha(units) == pytest.approx(0.849, abs=0.001)


def pair(left: str, right: str, verdict: str, rater: str = "ann", **more: object) -> Judgement:
    strength = 0 if verdict in ("tie", "both_bad") else 1
    return Judgement(
        kind="pair", rater=rater, prompt="p", left=left, right=right, verdict=verdict, strength=strength, **more
    )  # type: ignore[arg-type]


def test_a_repeat_with_swapped_sides_agrees_by_answer_not_by_side() -> None:
    first = [pair(f"a{n}", f"b{n}", "left" if n % 2 else "right") for n in range(8)]
    same = [
        pair(item.right, item.left, "right" if item.verdict == "left" else "left", repeat_of=item.id) for item in first
    ]
    assert self_agreement([*first, *same]) == (pytest.approx(1.0), 8)
    by_side = [pair(item.right, item.left, item.verdict or "tie", repeat_of=item.id) for item in first]
    kappa, count = self_agreement([*first, *by_side])
    assert count == 8
    assert kappa == pytest.approx(-1.0)


def test_raters_who_agree_and_who_do_not() -> None:
    ann = [pair(f"a{n}", f"b{n}", "left" if n % 2 else "right") for n in range(10)]
    bob = [pair(item.left, item.right, item.verdict or "", "bob") for item in ann]
    assert rater_agreement([*ann, *bob]) == (pytest.approx(1.0), 10)
    contrary = [pair(item.right, item.left, item.verdict or "", "bob") for item in ann]
    alpha, _ = rater_agreement([*ann, *contrary])
    assert alpha is not None
    assert alpha < -0.5
    assert rater_agreement(ann) == (None, 0)


def test_biases() -> None:
    said = [pair("x", "y", "left")] * 30 + [pair("x", "y", "right")] * 10 + [pair("x", "y", "tie")] * 5
    assert left_share(said) == Share(30, 40)
    low, high = left_share(said).interval()
    assert (low, high) == (pytest.approx(0.598, abs=0.001), pytest.approx(0.858, abs=0.001))
    assert longer_share(said, {"x": 10, "y": 200}) == Share(10, 40)
    assert longer_share(said, {"x": 10, "y": 10}) == Share(0, 0)


def test_pairs_of_one_prompt_are_no_independent_games() -> None:
    """25 of 40 prompts go to one model, with all 9 pairs of each: the interval is that of 40 games, not of 360."""
    draw = random.Random(1)
    winners = [1.0] * 25 + [0.0] * 15
    draw.shuffle(winners)
    games = [("a", "b", score) for score in winners for _ in range(9)]
    clustered = strengths(games, [number // 9 for number in range(len(games))])
    alone = strengths(games)
    single = strengths([("a", "b", score) for score in winners])
    width = [found[0].high - found[0].low for found in (clustered, alone, single)]
    assert width[0] == pytest.approx(3 * width[1], rel=0.03)
    assert width[0] == pytest.approx(width[2], rel=0.05)
    assert clustered[0].log_odds == alone[0].log_odds


def test_strengths_are_found_again() -> None:
    rng = random.Random(1)
    true = {"weak": -1.0, "middle": 0.0, "strong": 1.0}
    games = []
    for _ in range(3000):
        first, second = rng.sample(sorted(true), 2)
        p = 1 / (1 + math.exp(true[second] - true[first]))
        games.append((first, second, float(rng.random() < p)))
    found = strengths(games)
    assert [item.name for item in found] == ["strong", "middle", "weak"]
    for item in found:
        assert item.low < true[item.name] < item.high
        assert item.high - item.low < 0.25
    assert sum(item.log_odds for item in found) == pytest.approx(0, abs=1e-9)
    assert games_to_go(found, 1.0) == 0
    few = strengths(games[:30])
    more = games_to_go(few, 0.25)
    assert more is not None
    assert 500 < more < 6000


def test_a_model_that_never_lost_has_a_finite_strength() -> None:
    found = strengths([("a", "b", 1.0)] * 5)
    assert found[0].name == "a"
    assert 0 < found[0].log_odds < 5
    assert strengths([("a", "a", 1.0)]) == []
