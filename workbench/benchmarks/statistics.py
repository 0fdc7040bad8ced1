"""How sure a score is, and a difference of two scores.

All metrics are treated in one way: a metric is a function of sums over items. Accuracy is the sum of the hits through
the number of items; bits per byte the sum of the bits through the sum of the bytes; Matthews' correlation a function
of the four counts of right and wrong. An item is then a row of addends (`addends_NK`: N items, K sums), and what was
drawn anew by a bootstrap is a weighted sum of rows.

The module imports numpy: whoever must start at once imports it where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from workbench.benchmarks.results import Figure, Item

CONFIDENCE = 0.95
NORMAL = NormalDist()
Z = NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
FEWEST = 5  # units that a bootstrap needs: what it draws from fewer never reaches as far as the truth may lie
SMALL = 200  # units (items, or clusters of them) up to which Student's t is told from the normal distribution
RESAMPLES = 10_000
SEED = 0
DRAWN_AT_ONCE = 4_000_000  # numbers in memory: 32 MB
MCNEMAR, BOOTSTRAP = "McNemar's exact test", "paired bootstrap"
CLUSTER = "cluster"  # in `Item.more`: items with the same value are not independent, as questions on one passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A score with its standard error and 95% interval; those are None where they cannot be known."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Second minus first, over the same `n` items; `p` is two-sided.

    Fewer than `FEWEST` scores have no interval, and show nothing: their p is 1.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    test: str  # MCNEMAR or BOOTSTRAP
    n: int


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as a function of sums.

    `addends` gives an item's row, or None if the item lacks what the metric needs. `of_sums` takes sums of rows, of
    shape (..., K), to values of shape (...).
    """

    addends: Callable[[Item], tuple[float, ...] | None]
    of_sums: Callable[[np.ndarray], np.ndarray]


def share(hits: int, n: int) -> Estimate:
    """`hits` of `n`, with the interval of Wilson (1927), which holds near 0 and 1 and for few items, too.

    The standard error is that of lm-eval: sqrt(p (1 - p) / (n - 1)). Raises `ValueError` unless 0 <= hits <= n, n > 0.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} of {n}")
    p = hits / n
    centre, spread = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Estimate(
        value=p,
        stderr=math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else None,
        low=max(0.0, (centre - spread) / (1 + Z * Z / n)),
        high=min(1.0, (centre + spread) / (1 + Z * Z / n)),
        n=n,
    )


def mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """The mean of `values` (N), with Student's interval: mean ± t(0.975; N - 1) s / sqrt(N).

    With `clusters` (N, the group of each value), the standard error is that of Liang and Zeger (1986) in the form of
    Miller (2024, "Adding Error Bars to Evals"): sqrt(sum over groups of (sum of its deviations)^2) / N, times
    sqrt(G / (G - 1)) for G groups, and t has G - 1 degrees of freedom. Raises `ValueError` without values.
    """
    found = np.asarray(values, dtype=float)
    n = len(found)
    if n == 0:
        raise ValueError("the mean of nothing")
    deviations = found - found.mean()
    if clusters is not None:
        deviations = _summed_by_cluster(deviations[:, None], clusters)[:, 0]
    units = len(deviations)
    if units < 2:
        return Estimate(value=float(found.mean()), stderr=None, low=None, high=None, n=n)
    stderr = math.sqrt(float(deviations @ deviations) * units / (units - 1)) / n
    reach = t_quantile((1 + CONFIDENCE) / 2, units - 1) * stderr
    value = float(found.mean())
    return Estimate(value=value, stderr=stderr, low=value - reach, high=value + reach, n=n)


def aggregate(metric: str, items: Sequence[Item], *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate | None:
    """A metric over all `items`; None if there are none or some lack what it needs.

    A share of independent items gets Wilson's interval, another mean Student's. Any other metric, as perplexity, gets
    the interval of a bootstrap over items, or over clusters of them (`percentiles`), and the standard deviation of what
    was drawn as standard error (Efron and Tibshirani 1993, ch. 6).
    """
    found = _tabulated(metric, items)
    if found is None:
        return None
    rows_NK, of_sums = found
    clusters = clusters_of(items)
    if of_sums is _ratio:
        values = rows_NK[:, 0]
        if clusters is None and _right_or_wrong(values):
            return share(int(values.sum()), len(values))
        return mean(values.tolist(), clusters)
    value, n = float(of_sums(rows_NK.sum(axis=0))), len(items)
    units_MK = rows_NK if clusters is None else _summed_by_cluster(rows_NK, clusters)
    if len(units_MK) < FEWEST:
        return Estimate(value=value, stderr=None, low=None, high=None, n=n)
    drawn_B = of_sums(resampled_sums(units_MK, resamples, seed))
    if not np.isfinite(drawn_B).all():  # perplexities beyond floating point
        return Estimate(value=value, stderr=None, low=None, high=None, n=n)
    low, high = percentiles(drawn_B, len(units_MK))
    return Estimate(value=value, stderr=float(drawn_B.std(ddof=1)), low=low, high=high, n=n)


def figure(metric: str, items: Sequence[Item], *, higher_is_better: bool) -> Figure | None:
    """`aggregate` in the form in which results keep it."""
    found = aggregate(metric, items)
    if found is None:
        return None
    return Figure(
        value=found.value, stderr=found.stderr, low=found.low, high=found.high, n=found.n,
        higher_is_better=higher_is_better,
    )  # fmt: skip


def difference(
    metric: str, first: Sequence[Item], second: Sequence[Item], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Difference | None:
    """How `second` differs from `first`, item by item the same questions.

    None if some lack what the metric needs, or the difference is no number.

    The interval is that of a paired bootstrap (`percentiles`): items (or clusters) are drawn with replacement, the same
    for both (Koehn 2004); where no item flipped, that of `nothing_flipped`. `p` is that of McNemar's exact test for
    right and wrong, else that of the bootstrap.
    """
    before, after = _tabulated(metric, first), _tabulated(metric, second)
    if before is None or after is None or len(first) != len(second) or before[1] is not after[1]:
        return None
    of_sums, columns = before[1], before[0].shape[1]
    rows_NL = np.concatenate([before[0], after[0]], axis=1)

    def gap(sums: np.ndarray) -> np.ndarray:
        return of_sums(sums[..., columns:]) - of_sums(sums[..., :columns])

    clusters = clusters_of(first)
    units_ML = rows_NL if clusters is None else _summed_by_cluster(rows_NL, clusters)
    value, n = float(gap(rows_NL.sum(axis=0))), len(first)
    low, high, p, test = None, None, 1.0, BOOTSTRAP
    if not math.isfinite(value):  # perplexities beyond floating point
        return None
    drawn_B = gap(resampled_sums(units_ML, resamples, seed))
    if len(units_ML) >= FEWEST and np.isfinite(drawn_B).all():
        low, high = percentiles(drawn_B, len(units_ML))
        p = two_sided(drawn_B, len(units_ML))
    if of_sums is _ratio and clusters is None and _right_or_wrong(rows_NL):
        changes = after[0][:, 0] - before[0][:, 0]
        p, test = mcnemar(int((changes > 0).sum()), int((changes < 0).sum())), MCNEMAR
    if low is not None and of_sums is _ratio and _right_or_wrong(rows_NL) and (before[0] == after[0]).all():
        high = nothing_flipped(len(units_ML))
        low = -high
    return Difference(value=value, low=low, high=high, p=p, test=test, n=n)


def nothing_flipped(n: int) -> float:
    """How far a difference of shares may be from 0, with 95% confidence, where none of `n` items (or clusters) flipped:
    what is drawn from them never flips either. The adjusted Wald interval of Bonett and Price (2012), which counts one
    item more that was gained, and one that was lost: 1.96 sqrt(2) / (n + 2)."""
    return NORMAL.inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(2) / (n + 2)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test (1947): whether items flip either way with the same chance.

    min(1, 2 P(X <= min(gained, lost))) with X binomial of gained + lost and 1/2; 1 where nothing flipped.
    """
    n, fewer = gained + lost, min(gained, lost)
    term = tail = 1  # whole numbers: exact, and too large for floating point
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n)


def percentiles(drawn_B: np.ndarray, units: int) -> tuple[float, float]:
    """The ends of the 95% interval from what a bootstrap over `units` (items or clusters) has drawn.

    For up to 200 units the expanded percentiles of Hesterberg (2015, "What Teachers Should Know About the Bootstrap"):
    plain ones are too narrow by what Student's t is wider than the normal distribution.
    """
    level = (1 - CONFIDENCE) / 2
    if units <= SMALL:
        level = NORMAL.cdf(-t_quantile(1 - level, units - 1) * math.sqrt(units / (units - 1)))
    low, high = np.quantile(drawn_B, [level, 1 - level])
    return float(low), float(high)


def two_sided(drawn_B: np.ndarray, units: int) -> float:
    """p of a difference from what a bootstrap over `units` (items or clusters) has drawn.

    It is below 0.05 where 0 lies outside the interval of `percentiles`; both are widened alike. Of many units it is
    2 min(#{<= 0} + 1, #{>= 0} + 1) / (B + 1), at most 1: one is added as by Davison and Hinkley (1997, ch. 4), for no
    finite number of draws shows a p of 0.
    """
    fewer = min(int((drawn_B <= 0).sum()), int((drawn_B >= 0).sum()))
    tail = (fewer + 1) / (len(drawn_B) + 1)
    if tail >= 0.5:
        return 1.0
    if units > SMALL:
        return 2 * tail
    t = -NORMAL.inv_cdf(tail) * math.sqrt((units - 1) / units)
    return 1 - _t_within(math.atan(t / math.sqrt(units - 1)), units - 1)


def holm(ps: Sequence[float]) -> list[float]:
    """The ps of several tests, adjusted by Holm (1979): below 0.05 means so with at most 5% for any false alarm."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


def clusters_of(items: Sequence[Item]) -> list[Hashable] | None:
    """The group of each item, where they come in groups: those without one stand alone."""
    if not any(CLUSTER in item.more for item in items):
        return None
    return [(item.task, item.more.get(CLUSTER, ("alone", place))) for place, item in enumerate(items)]


def resampled_sums(units_MK: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sums (B, K) of M rows drawn with replacement, B times.

    Where few rows differ, as with right and wrong, how often each kind is drawn is multinomial: the same
    distribution, without drawing row by row.
    """
    draw = np.random.default_rng(seed)
    m = len(units_MK)
    kinds_UK, counts_U = np.unique(units_MK, axis=0, return_counts=True)
    if len(kinds_UK) <= 64:
        return draw.multinomial(m, counts_U / m, size=resamples) @ kinds_UK
    sums_BK = np.empty((resamples, units_MK.shape[1]))
    step = max(1, DRAWN_AT_ONCE // m)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        taken = draw.integers(0, m, size=(rows, m), dtype=np.int32)
        for column in range(units_MK.shape[1]):
            sums_BK[start : start + rows, column] = units_MK[:, column][taken].sum(axis=1)
    return sums_BK


def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t for whole degrees of freedom and a probability above one half.

    Bisection on the closed form of the distribution (Abramowitz and Stegun 26.7.3 and 26.7.4); above 200 degrees the
    expansion of Cornish and Fisher (26.7.5), which is then right to 1e-8.
    """
    if freedom > SMALL:
        z = NORMAL.inv_cdf(probability)
        return (
            z
            + (z**3 + z) / (4 * freedom)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        )
    low, high = 0.0, math.pi / 2  # of the angle atan(t / sqrt(freedom)), so that no t is too large
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if (1 + _t_within(angle, freedom)) / 2 < probability else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def _t_within(angle: float, freedom: int) -> float:
    """P(|T| <= t) for angle = atan(t / sqrt(freedom))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom == 1:
        return 2 * angle / math.pi
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _tabulated(metric: str, items: Sequence[Item]) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]] | None:
    """The items' rows (N, K) and the function of their sums; None if there are none or one lacks what is needed."""
    forms = [METRICS[metric]] if metric in METRICS else []
    if metric == "f1" or not forms:
        forms.append(_mean_of(metric))
    for form in forms:
        rows = [form.addends(item) for item in items]
        if rows and all(row is not None for row in rows):
            return np.asarray(rows, dtype=float), form.of_sums
    return None


def _right_or_wrong(values: np.ndarray) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _summed_by_cluster(rows_NK: np.ndarray, clusters: Sequence[Hashable]) -> np.ndarray:
    """One row a cluster (M, K), the sum of its items' rows."""
    numbers: dict[Hashable, int] = {}
    places = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    sums_MK = np.zeros((len(numbers), rows_NK.shape[1]))
    np.add.at(sums_MK, places, rows_NK)
    return sums_MK


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def _mean_of(metric: str) -> Metric:
    return Metric(lambda item: (item.metrics[metric], 1.0) if metric in item.metrics else None, _ratio)


def _log_likelihood(weight: str) -> Callable[[Item], tuple[float, float] | None]:
    """An item's nats and how much text they are of: its `words` or `bytes`, or "" for one answer an item."""

    def addends_of(item: Item) -> tuple[float, float] | None:
        if len(item.log_likelihoods) != 1 or (weight and weight not in item.more):
            return None
        return -item.log_likelihoods[0], float(item.more[weight]) if weight else 1.0

    return addends_of


def _decision(item: Item) -> tuple[float, float, float, float] | None:
    """Of a choice between no (0) and yes (1): true positives, false positives, false negatives, true negatives."""
    if item.right not in (0, 1) or len(item.log_likelihoods) != 2:
        return None
    said = int(item.log_likelihoods[1] > item.log_likelihoods[0])
    return (
        float(said and item.right), float(said and not item.right),
        float(not said and item.right), float(not said and not item.right),
    )  # fmt: skip


def _matthews(sums: np.ndarray) -> np.ndarray:
    tp, fp, fn, tn = np.moveaxis(sums, -1, 0)
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.where(below > 0, (tp * tn - fp * fn) / np.where(below > 0, below, 1.0), 0.0)


def _f1(sums: np.ndarray) -> np.ndarray:
    tp, fp, fn, _ = np.moveaxis(sums, -1, 0)
    below = 2 * tp + fp + fn
    return np.where(below > 0, 2 * tp / np.where(below > 0, below, 1.0), 0.0)


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.exp(_ratio(sums))


def _per_token(name: str) -> Callable[[Item], tuple[float, float] | None]:
    """An item's sum over its tokens, and how many they are."""

    def addends_of(item: Item) -> tuple[float, float] | None:
        return (float(item.more[name]), float(item.more["tokens"])) if {name, "tokens"} <= item.more.keys() else None

    return addends_of


def _weighted(sums: np.ndarray) -> np.ndarray:
    """A mean over tokens: the items are no equal parts of it."""
    return _ratio(sums)


METRICS: dict[str, Metric] = {
    "perplexity": Metric(_log_likelihood(""), _perplexity),
    "word_perplexity": Metric(_log_likelihood("words"), _perplexity),
    "byte_perplexity": Metric(_log_likelihood("bytes"), _perplexity),
    "bits_per_byte": Metric(_log_likelihood("bytes"), lambda sums: _ratio(sums) / math.log(2)),
    "token_perplexity": Metric(_log_likelihood("tokens"), _perplexity),
    "kl_divergence": Metric(_per_token("kl"), _weighted),
    "top1_agreement": Metric(_per_token("agreed"), _weighted),
    "mcc": Metric(_decision, _matthews),
    "f1": Metric(_decision, _f1),
}
"""Metrics that are no mean over items, as lm-eval aggregates them. Any other is the mean of the items' values, and so
is F1 where it is not of a choice between no and yes, but of an answer's words."""
