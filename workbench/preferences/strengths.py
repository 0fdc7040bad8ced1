"""How strong the models are that were compared: Bradley and Terry's model (1952), with intervals."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

ITERATIONS = 200
PRIOR = 0.5  # of a win each way against every other: finite strengths for who never lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """`log_odds` above the average of all; `low` and `high` bound it with 95% confidence."""

    name: str
    log_odds: float
    low: float
    high: float
    wins: float  # ties count half
    games: int


def strengths(games: Iterable[tuple[str, str, float]], prompts: Sequence[Hashable] | None = None) -> list[Strength]:
    """The strengths, best first, from games (first, second, score of the first: 1, 0, or 0.5 for a tie).

    Fitted by the minorisation of Hunter (2004); intervals from the inverse of the information matrix. Games on one of
    the `prompts`, one a game, are alike: there the error is the sandwich estimator's, clustered by prompt (Liang and
    Zeger 1986), where that is the larger one. Games of a model with itself do not count.
    """
    games = list(games)
    kept = [number for number, (first, second, _) in enumerate(games) if first != second]
    played = [games[number] for number in kept]
    clusters = [prompts[number] for number in kept] if prompts is not None else range(len(kept))
    names = sorted({name for first, second, _ in played for name in (first, second)})
    if len(names) < 2:
        return []
    number = {name: place for place, name in enumerate(names)}
    n = len(names)
    won = [[0.0 if i == j else PRIOR for j in range(n)] for i in range(n)]
    for first, second, score in played:
        won[number[first]][number[second]] += score
        won[number[second]][number[first]] += 1 - score
    skill = [1.0] * n
    for _ in range(ITERATIONS):
        for i in range(n):
            met = sum((won[i][j] + won[j][i]) / (skill[i] + skill[j]) for j in range(n) if j != i)
            skill[i] = sum(won[i]) / met
        mean = math.exp(sum(map(math.log, skill)) / n)
        skill = [value / mean for value in skill]
    errors = _standard_errors(won, skill, [(number[a], number[b], score) for a, b, score in played], clusters)
    result = []
    for i, name in enumerate(names):
        log_odds = math.log(skill[i])
        own = [(second if first == name else first) for first, second, _ in played if name in (first, second)]
        wins = sum(score if first == name else 1 - score for first, second, score in played if name in (first, second))
        result.append(
            Strength(
                name=name,
                log_odds=log_odds,
                low=log_odds - 1.96 * errors[i],
                high=log_odds + 1.96 * errors[i],
                wins=wins,
                games=len(own),
            )
        )
    return sorted(result, key=lambda item: -item.log_odds)


def games_to_go(found: list[Strength], width: float) -> int | None:
    """About how many more games until every interval is at most `width` wide; 0: it is there, None: unknown.

    An interval shrinks with the root of the number of games.
    """
    if not found:
        return None
    games = sum(item.games for item in found) / 2
    widest = max(item.high - item.low for item in found)
    return max(0, math.ceil(games * ((widest / width) ** 2 - 1)))


def win_probability(found: Mapping[str, float], first: str, second: str) -> float:
    """That `first` beats `second`, by their log odds."""
    return 1 / (1 + math.exp(found[second] - found[first]))


def _standard_errors(
    won: list[list[float]],
    skill: list[float],
    played: Sequence[tuple[int, int, float]],
    clusters: Sequence[Hashable],
) -> list[float]:
    """Of the log odds, which sum to 0: roots of the diagonal of I^-1 = (information + 1/n)^-1 - 1/n, or of
    I^-1 S I^-1, S summed over the clusters' scores, whichever is larger."""
    n = len(skill)
    scores: dict[Hashable, list[float]] = {}
    for (i, j, score), cluster in zip(played, clusters, strict=True):
        surprise = score - skill[i] / (skill[i] + skill[j])
        summed = scores.setdefault(cluster, [0.0] * n)
        summed[i] += surprise
        summed[j] -= surprise
    matrix = [[1.0 / n] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            if i != j:
                p = skill[i] / (skill[i] + skill[j])
                weight = (won[i][j] + won[j][i]) * p * (1 - p)
                matrix[i][j] -= weight
                matrix[i][i] += weight
    inverse = _inverse(matrix)
    few = len(scores) / max(1, len(scores) - 1)
    return [
        math.sqrt(
            max(
                0.0,
                inverse[i][i] - 1.0 / n,
                few
                * sum(sum(a * s for a, s in zip(inverse[i], summed, strict=True)) ** 2 for summed in scores.values()),
            )
        )
        for i in range(n)
    ]


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """Gauss and Jordan, with pivoting; numpy would load slower than this runs for a handful of models."""
    n = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = max(range(column, n), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = rows[column][column]
        rows[column] = [value / scale for value in rows[column]]
        for row in range(n):
            if row != column and (factor := rows[row][column]):
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [row[n:] for row in rows]
