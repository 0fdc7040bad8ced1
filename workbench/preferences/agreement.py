"""How far judgements can be trusted: a rater with themselves, raters with each other, and known biases."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from workbench.preferences.judgements import Judgement


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `total`, with the 95% interval of Wilson (1927)."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        if not self.total:
            return 0.0, 1.0
        n, p = self.total, self.hits / self.total
        centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Agreement of two codings beyond chance (Cohen 1960): 1 always, 0 as by chance. None without any spread."""
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[label] * second[label] for label in first) / (n * n)
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorffs_alpha(
    units: Iterable[Mapping[str, float]], distance: Callable[[float, float], float] = lambda a, b: (a - b) ** 2
) -> float | None:
    """Agreement of any number of raters, who need not all have judged all (Krippendorff 2011).

    `units`: rater -> value, one mapping a unit; the default distance is that of interval data.
    None if fewer than two values stand side by side, or all are equal.
    """
    rows = [list(unit.values()) for unit in units]
    rows = [row for row in rows if len(row) > 1]
    values = list(itertools.chain(*rows))
    n = len(values)
    if n < 2:
        return None
    observed = sum(
        sum(distance(a, b) for a, b in itertools.permutations(row, 2)) / (len(row) - 1) for row in rows
    ) / n  # fmt: skip
    counts = Counter(values)
    expected = sum(counts[a] * counts[b] * distance(a, b) for a in counts for b in counts) / (n * (n - 1))
    return None if not expected else 1 - observed / expected


def value_of(judgement: Judgement) -> float:
    """A comparison as a number from -2 to 2, positive for the answer whose id comes first in the alphabet."""
    winner = judgement.winner
    if winner is None:
        return 0.0
    size = float(max(1, judgement.strength))
    return size if winner == min(judgement.pair) else -size


def self_agreement(judgements: Iterable[Judgement]) -> tuple[float | None, int]:
    """(Cohen's kappa, number) of hidden repeats against the first time."""
    known = {item.id: item for item in judgements if item.kind == "pair"}
    twice = [(known[item.repeat_of], item) for item in known.values() if item.repeat_of in known]
    return cohens_kappa([(_sign(value_of(a)), _sign(value_of(b))) for a, b in twice]), len(twice)


def rater_agreement(judgements: Iterable[Judgement]) -> tuple[float | None, int]:
    """(Krippendorff's alpha, number of pairs) over pairs that several raters judged."""
    units: dict[frozenset[str], dict[str, float]] = defaultdict(dict)
    for item in judgements:
        if item.kind == "pair" and not item.repeat_of:
            units[item.pair].setdefault(item.rater, value_of(item))
    shared = [unit for unit in units.values() if len(unit) > 1]
    return krippendorffs_alpha(shared), len(shared)


def left_share(judgements: Iterable[Judgement]) -> Share:
    """How often the answer on the left won: 1/2 without a bias."""
    decided = [item for item in judgements if item.kind == "pair" and item.winner]
    return Share(sum(item.verdict == "left" for item in decided), len(decided))


def longer_share(judgements: Iterable[Judgement], length: Mapping[str, int]) -> Share:
    """How often the longer answer won, of those pairs in which one is longer."""
    decided = [
        (length.get(item.winner, 0), length.get(item.loser or "", 0))
        for item in judgements
        if item.kind == "pair" and item.winner
    ]
    decided = [(won, lost) for won, lost in decided if won != lost]
    return Share(sum(won > lost for won, lost in decided), len(decided))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
