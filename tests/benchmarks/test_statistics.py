"""Intervals and tests, against scipy's, lm-eval's aggregation, and simulations in which the truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from workbench.benchmarks import statistics
from workbench.benchmarks.results import Item

stats = pytest.importorskip("scipy.stats")


def item(number: int, *, metrics: dict[str, float] | None = None, **more: object) -> Item:
    values = {"task": "t", "item": str(number), "hash": str(number), "prompt": "", "target": "", **more}
    return Item(metrics=metrics or {}, **values)  # type: ignore[arg-type]


def marked(values: Sequence[float], metric: str = "acc") -> list[Item]:
    return [item(number, metrics={metric: float(value)}) for number, value in enumerate(values)]


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 1), (37, 200), (7000, 14042)])
def test_wilson_is_scipys(hits: int, n: int) -> None:
    found = statistics.share(hits, n)
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.value == hits / n


def test_a_mean_has_students_interval() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=17)
    found = statistics.mean(values.tolist())
    expected = stats.t.interval(0.95, 16, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-10)
    assert found.stderr == pytest.approx(stats.sem(values), rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 29, 30, 199, 200, 201, 1000, 10**6])
def test_quantiles_of_t(freedom: int) -> None:
    for probability in (0.9, 0.975, 0.995):
        assert statistics.t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-8)


def test_a_share_of_independent_items_is_wilsons_and_its_error_lm_evals() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    values = [1.0] * 30 + [0.0] * 70
    found = statistics.aggregate("acc", marked(values))
    assert found == statistics.share(30, 100)
    assert found.stderr == pytest.approx(metrics.mean_stderr(values), rel=1e-12)


def test_clusters_of_one_change_nothing_and_copies_are_seen_through() -> None:
    values = np.random.default_rng(2).normal(size=40).tolist()
    alone = statistics.mean(values)
    single = statistics.mean(values, list(range(40)))
    assert (single.low, single.high) == pytest.approx((alone.low, alone.high), rel=1e-12)
    twice = statistics.mean(values * 2, list(range(40)) * 2)
    assert twice.stderr == pytest.approx(alone.stderr, rel=1e-12)  # no smaller for every item being there twice
    assert statistics.mean(values * 2).stderr < 0.72 * alone.stderr


def test_a_group_is_its_tasks_items_pooled_as_lm_eval_weights_it() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    tasks = {"a": [1, 0, 1, 1], "b": [0] * 9 + [1], "c": [1, 1, 0] * 5}
    pooled = [item(n, metrics={"acc": v}, task=task) for task, values in tasks.items() for n, v in enumerate(values)]
    found = statistics.aggregate("acc", pooled)
    means, sizes = [np.mean(values) for values in tasks.values()], [len(values) for values in tasks.values()]
    assert found is not None
    assert found.value == pytest.approx(metrics.aggregate_subtask_metrics(means, sizes), rel=1e-12)


def test_aggregates_are_lm_evals() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    draw = random.Random(3)
    texts = [(-draw.uniform(20, 200), draw.randint(10, 60), draw.randint(60, 300)) for _ in range(25)]
    items = [item(n, log_likelihoods=(ll,), more={"words": w, "bytes": b}) for n, (ll, w, b) in enumerate(texts)]
    for name, expected in {
        "perplexity": metrics.perplexity([ll / 40 for ll, _, _ in texts]),
        "word_perplexity": metrics.weighted_perplexity([(ll, w) for ll, w, _ in texts]),
        "byte_perplexity": metrics.weighted_perplexity([(ll, b) for ll, _, b in texts]),
        "bits_per_byte": metrics.bits_per_byte([(ll, b) for ll, _, b in texts]),
    }.items():
        if name == "perplexity":
            items_of = [item(n, log_likelihoods=(ll / 40,)) for n, (ll, _, _) in enumerate(texts)]
        else:
            items_of = items
        found = statistics.aggregate(name, items_of)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.value == pytest.approx(expected, rel=1e-12)
        assert found.low < found.value < found.high


def test_correlation_and_f1_are_lm_evals() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    pytest.importorskip("sklearn")
    draw = random.Random(4)
    items, pairs = [], []
    for number in range(80):
        gold, said = draw.randint(0, 1), draw.random()
        items.append(item(number, right=gold, log_likelihoods=(0.0, said - 0.4)))
        pairs.append((gold, int(said > 0.4)))
    mcc, f1 = statistics.aggregate("mcc", items), statistics.aggregate("f1", items)
    assert mcc is not None
    assert f1 is not None
    assert mcc.value == pytest.approx(metrics.matthews_corrcoef(pairs), rel=1e-12)
    assert f1.value == pytest.approx(metrics.f1_score(pairs), rel=1e-12)
    words = statistics.aggregate("f1", marked([0.25, 0.75], "f1"))  # of an answer's words: a mean
    assert words is not None
    assert words.value == 0.5


def test_a_metric_that_items_lack_has_no_interval() -> None:
    assert statistics.aggregate("acc_norm", marked([1, 0])) is None
    assert statistics.aggregate("bits_per_byte", [item(0, log_likelihoods=(-1.0,))]) is None
    assert statistics.aggregate("acc", []) is None
    assert statistics.figure("acc", [], higher_is_better=True) is None
    single = statistics.aggregate("score", marked([0.3], "score"))
    assert single is not None
    assert (single.value, single.stderr, single.low) == (0.3, None, None)


def test_the_bootstrap_is_scipys_within_its_own_noise() -> None:
    draw = np.random.default_rng(5)
    values = draw.gamma(2.0, size=60)
    items = marked(values.tolist(), "score")
    other = marked((values + draw.normal(0.2, 0.5, size=60)).tolist(), "score")
    found = statistics.difference("score", items, other)
    assert found is not None
    gaps = np.array([b.metrics["score"] - a.metrics["score"] for a, b in zip(items, other, strict=True)])
    expected = stats.bootstrap(
        (gaps,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(6)
    ).confidence_interval
    widened = stats.t.ppf(0.975, 59) * math.sqrt(60 / 59) / stats.norm.ppf(0.975)
    middle = gaps.mean()
    assert (found.low, found.high) == pytest.approx(
        (middle + widened * (expected.low - middle), middle + widened * (expected.high - middle)), abs=0.01
    )
    assert found.value == pytest.approx(gaps.mean(), rel=1e-12)
    assert found.test == "paired bootstrap"
    assert statistics.difference("score", items, other) == found  # seeded


def test_few_kinds_of_rows_are_drawn_as_rows_are() -> None:
    """The multinomial short cut has the distribution of drawing row by row: mean and spread of the sums agree."""
    rows = np.array([[1.0, 1.0]] * 30 + [[0.0, 1.0]] * 70)
    short = statistics.resampled_sums(rows, 40_000, seed=1)[:, 0]
    long = statistics.resampled_sums(np.c_[rows, np.arange(100)], 40_000, seed=1)[:, 0]  # 100 different rows
    for drawn in (short, long):
        assert drawn.mean() == pytest.approx(30, abs=0.1)
        assert drawn.std() == pytest.approx(math.sqrt(100 * 0.3 * 0.7), rel=0.02)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (12, 3), (0, 9), (620, 540), (3000, 3300)])
def test_mcnemar_is_the_binomial_test(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert statistics.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_no_flips_of_few_items_are_no_certainty() -> None:
    """Of 20 items none flipped: with 95% confidence the scores are within 12.6 points, not equal."""
    items = marked([number % 2 for number in range(20)])
    found = statistics.difference("acc", items, items)
    assert found is not None
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.high == pytest.approx(0.126, abs=5e-4)
    assert found.low == -found.high
    assert (1 - found.high) ** 20 < 0.07  # how often a model that flips so many shows none of them


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_paired_tests_see_what_unpaired_ones_do_not() -> None:
    """1,000 hard and easy questions of which ten more were answered: intervals overlap, the flips are telling."""
    before = [1.0] * 500 + [0.0] * 500
    after = [1.0] * 510 + [0.0] * 490
    found = statistics.difference("acc", marked(before), marked(after))
    first, second = statistics.aggregate("acc", marked(before)), statistics.aggregate("acc", marked(after))
    assert found is not None
    assert first is not None
    assert second is not None
    assert first.high > second.low
    assert found.test == "McNemar's exact test"
    assert found.p == pytest.approx(2 / 2**10)
    assert 0 < found.low < 0.01 < found.high


def test_the_interval_of_a_share_covers_the_truth() -> None:
    """Exactly, over all outcomes: between 93% and 97.5%, where whole numbers allow no closer 95%."""
    for truth, n in ((0.25, 50), (0.5, 200), (0.93, 100), (0.6, 1000)):
        outcomes = [statistics.share(hits, n) for hits in range(n + 1)]
        inside = [found.low <= truth <= found.high for found in outcomes]
        assert 0.93 <= stats.binom.pmf(np.arange(n + 1), n, truth)[inside].sum() <= 0.975


def test_the_interval_of_a_clustered_mean_covers_the_truth() -> None:
    """2,000 samples of 40 groups of 4: between 93.5% and 96.5%, 3.1 standard errors of 95%."""
    draw = np.random.default_rng(7)
    clusters = [number // 4 for number in range(160)]
    covered = blind = 0
    for _ in range(2000):
        values = (np.repeat(draw.normal(size=40), 4) + draw.normal(size=160)).tolist()
        found, plain = statistics.mean(values, clusters), statistics.mean(values)
        covered += found.low <= 0 <= found.high
        blind += plain.low <= 0 <= plain.high
    assert 0.935 <= covered / 2000 <= 0.965
    assert blind / 2000 < 0.85  # what it would be if the groups were not known


def test_the_bootstrap_covers_bits_per_byte() -> None:
    """500 samples of 60 documents of unlike length, 1,000 draws each: between 92% and 97%."""
    draw = np.random.default_rng(8)
    covered = 0
    for _ in range(500):
        lengths = draw.integers(50, 2000, size=60)
        nats = lengths * draw.gamma(20.0, 0.04, size=60)  # 0.8 nats a byte, independent of the length
        items = [
            item(n, log_likelihoods=(-float(ll),), more={"bytes": int(b)})
            for n, (ll, b) in enumerate(zip(nats, lengths, strict=True))
        ]
        found = statistics.aggregate("bits_per_byte", items, resamples=1000)
        assert found is not None
        covered += found.low <= 0.8 / math.log(2) <= found.high
    assert 0.92 <= covered / 500 <= 0.97


def test_equal_models_are_rarely_told_apart() -> None:
    """2,000 pairs of equally good models, right together half the time: false alarms at 5% stay between 2% and 5.5%
    by McNemar's test, which is careful, and between 3.5% and 6.5% by the bootstrap of scores."""
    draw = np.random.default_rng(9)
    alarms = 0
    for _ in range(2000):
        p_item = draw.beta(0.5, 0.5, size=200)
        before, after = draw.random(200) < p_item, draw.random(200) < p_item
        alarms += statistics.mcnemar(int((after & ~before).sum()), int((before & ~after).sum())) < 0.05
    assert 0.02 <= alarms / 2000 <= 0.055
    alarms = 0
    for number in range(1000):
        gaps = draw.normal(size=(100, 1))
        alarms += statistics.two_sided(statistics.resampled_sums(gaps, 1000, number)[:, 0], 100) < 0.05
    assert 0.035 <= alarms / 1000 <= 0.07


@pytest.mark.parametrize(("n", "most"), [(5, 0.055), (8, 0.06), (20, 0.065)])
def test_few_items_do_not_shout(n: int, most: float) -> None:
    """False alarms of 1,000 samples of few scores stay below `most`, where plain percentiles have 15%, 10% and 6.5%
    and more; the interval holds 0 where p says so."""
    draw = np.random.default_rng(12)
    alarms = plain = 0
    for number in range(1000):
        drawn = statistics.resampled_sums(draw.normal(size=(n, 1)), 1000, number)[:, 0]
        p, (low, high) = statistics.two_sided(drawn, n), statistics.percentiles(drawn, n)
        alarms += p < 0.05
        plain += not np.quantile(drawn, 0.025) <= 0 <= np.quantile(drawn, 0.975)
        assert (p < 0.05) == (not low <= 0 <= high) or abs(p - 0.05) < 0.02
    assert alarms / 1000 <= most
    assert plain / 1000 > {5: 0.15, 8: 0.1, 20: 0.065}[n]


def test_a_single_text_shows_nothing() -> None:
    found = statistics.difference(
        "bits_per_byte", *([item(0, log_likelihoods=(nats,), more={"bytes": 100})] for nats in (-80.0, -60.0))
    )
    assert found is not None
    assert (found.low, found.high, found.p) == (None, None, 1.0)
    assert found.value == pytest.approx(-0.2 / math.log(2))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_perplexities_beyond_floating_point_have_no_interval() -> None:
    fine = [item(number, log_likelihoods=(-3.0 - number,)) for number in range(10)]
    absurd = [item(number, log_likelihoods=(-1000.0 * number,)) for number in range(10)]
    found = statistics.aggregate("perplexity", absurd)
    assert found is not None
    assert (found.value, found.low, found.stderr) == (math.inf, None, None)
    assert statistics.difference("perplexity", fine, absurd) is None


def test_a_real_difference_is_found() -> None:
    """70% against 80% on the same 500 items, half of the outcomes shared: found in at least 80% of 300 samples."""
    draw = np.random.default_rng(10)
    found = 0
    for _ in range(300):
        together = draw.random(500) < 0.5
        luck = draw.random(500)
        before, after = (np.where(together, luck, draw.random(500)) < p for p in (0.7, 0.8))
        found += statistics.mcnemar(int((after & ~before).sum()), int((before & ~after).sum())) < 0.05
    assert found / 300 >= 0.8


def test_clustered_differences_are_not_taken_for_sure() -> None:
    """Ten questions on each of eight passages flip together: eight events, not eighty."""
    before = [item(n, metrics={"acc": float(n // 10 % 2)}, more={"cluster": n // 10}) for n in range(80)]
    after = [item(n, metrics={"acc": float(n // 10 % 4 < 3)}, more={"cluster": n // 10}) for n in range(80)]
    found = statistics.difference("acc", before, after)
    alone = statistics.difference("acc", *(marked([one.metrics["acc"] for one in side]) for side in (before, after)))
    assert found is not None
    assert alone is not None
    assert found.test == "paired bootstrap"
    assert found.value == alone.value
    assert found.p > 10 * alone.p
    assert found.high - found.low > 2 * (alone.high - alone.low)
