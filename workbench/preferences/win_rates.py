"""How often one answers better than another, when several comparisons belong to one prompt."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from workbench.preferences.candidates import Candidates
from workbench.preferences.judgements import Book

Z = 1.96  # of a 95% interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its 95% interval. `n` values came from `clusters` prompts."""

    value: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """How often the answers of `first` were better than those of `second`; ties count half."""

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    share: Estimate


def clustered_mean(values: Sequence[tuple[Hashable, float]]) -> Estimate | None:
    """The mean of (cluster, value), with the interval of a mean whose values may be alike within a cluster
    (Miller 2024, "Adding error bars to evals", section 2.2). None without values."""
    if not values:
        return None
    mean, error, clusters = _mean_and_error(values)
    return Estimate(value=mean, low=mean - Z * error, high=mean + Z * error, n=len(values), clusters=clusters)


def clustered_share(values: Sequence[tuple[Hashable, float]]) -> Estimate | None:
    """The same for values from 0 to 1, with the interval of Wilson (1927) for as many independent values as would
    have the clustered error (Korn and Graubard 1998): it never leaves 0 to 1, nor vanishes when all are alike."""
    if not values:
        return None
    mean, error, clusters = _mean_and_error(values)
    spread = mean * (1 - mean)
    n = spread / error**2 if error > 1e-9 and spread > 1e-9 else float(clusters)
    centre = mean + Z * Z / (2 * n)
    reach = Z * math.sqrt(spread / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    low, high = max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
    return Estimate(value=mean, low=low, high=high, n=len(values), clusters=clusters)


def win_rate(first: str, second: str, scores: Sequence[tuple[Hashable, float]]) -> WinRate | None:
    """From (prompt, what `first` got: 1, 0, or 0.5 for a tie). None without any."""
    share = clustered_share(scores)
    if share is None:
        return None
    got = [score for _, score in scores]
    return WinRate(
        first=first, second=second, wins=got.count(1.0), ties=got.count(0.5), losses=got.count(0.0), share=share
    )


def win_rates(candidates: Candidates, book: Book) -> list[WinRate]:
    """Of every two models whose answers people compared; hidden repeats and flagged prompts do not count.

    Where both answers were bad, neither was better.
    """
    model = {answer.id: answer.model for prompt in candidates.prompts.values() for answer in prompt.answers}
    flagged = {item.prompt for item in book.judgements.values() if item.kind == "flag"}
    scores: dict[tuple[str, str], list[tuple[Hashable, float]]] = defaultdict(list)
    for item in book.pairs():
        if item.repeat_of or item.prompt in flagged or not item.pair <= model.keys():
            continue
        first, second = model[item.left], model[item.right]
        score = 0.5 if item.winner is None else float(item.winner == item.left)
        if first > second:
            first, second, score = second, first, 1 - score
        if first != second:
            scores[first, second].append((item.prompt, score))
    return _rates(sorted({name for names in scores for name in names}), scores)


def _rates(names: Iterable[str], scores: dict[tuple[str, str], list[tuple[Hashable, float]]]) -> list[WinRate]:
    found = (win_rate(*pair, scores.get(pair, ())) for pair in itertools.combinations(names, 2))
    return [rate for rate in found if rate is not None]


def _mean_and_error(values: Sequence[tuple[Hashable, float]]) -> tuple[float, float, int]:
    """(mean, its standard error, number of clusters); the error of a single cluster is 0, as nothing is known of it."""
    mean = sum(value for _, value in values) / len(values)
    rest: dict[Hashable, float] = defaultdict(float)
    for cluster, value in values:
        rest[cluster] += value - mean
    clusters = len(rest)
    if clusters < 2:
        return mean, 0.0, clusters
    variance = clusters / (clusters - 1) * sum(item * item for item in rest.values())
    return mean, math.sqrt(variance) / len(values), clusters
