"""What verdicts come to: who won how often, how sure that is, and how far the judge can be trusted."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workbench.benchmarks.judging.answers import NO_ROOM, Answers
from workbench.benchmarks.judging.verdicts import Verdict
from workbench.preferences.agreement import Share
from workbench.preferences.win_rates import Estimate, clustered_mean, clustered_share, win_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one pair of answers, asked in both orders. The names stand in the order of the recipe."""

    question: str
    turn: int
    category: str
    models: tuple[str, str]
    verdicts: tuple[Verdict, Verdict]  # the first model shown first, then the second
    score: float | None  # what the first got: 1, 0, or 0.5 for a tie; None without a verdict in either order

    @property
    def answers(self) -> tuple[str, str]:
        """The texts that were judged."""
        first, second = self.verdicts[0].answers
        return first[-1], second[-1]

    @property
    def alike(self) -> bool:
        """Whether both answered the same, so that nobody was asked."""
        return same(*self.verdicts[0].answers)

    @property
    def turned(self) -> bool:
        """Whether the verdict was another in the other order."""
        there, back = self.verdicts
        return self.score is not None and _score(there, self.models[0]) != _score(back, self.models[0])

    @property
    def log_odds(self) -> float | None:
        """Of the first against the second, the mean of both orders: it has no liking for a place in it."""
        there, back = self.verdicts
        return None if there.log_odds is None or back.log_odds is None else (there.log_odds - back.log_odds) / 2


def same(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two models said the same in all turns."""
    return [text.strip() for text in first] == [text.strip() for text in second]


def outcomes(verdicts: Iterable[Verdict], models: Sequence[str]) -> list[Outcome]:
    """The pairs of which both orders were asked. `models` says who is first."""
    orders: dict[tuple[Any, ...], dict[str, Verdict]] = defaultdict(dict)
    for item in verdicts:
        if len(item.models) == 2:
            shown = sorted(zip(item.models, item.samples, strict=True))
            orders[item.question, item.turn, tuple(shown)][item.models[0]] = item
    found = []
    for order in orders.values():
        if len(order) < 2:
            continue
        first, second = sorted(order, key=list(models).index)
        there, back = order[first], order[second]
        scores = [_score(there, first), _score(back, first)]
        score = None if None in scores else scores[0] if scores[0] == scores[1] else 0.5
        found.append(
            Outcome(
                question=there.question,
                turn=there.turn,
                category=there.category,
                models=(first, second),
                verdicts=(there, back),
                score=score,
            )
        )
    return found


def pairwise_report(verdicts: Sequence[Verdict], models: Sequence[str]) -> dict[str, Any]:
    """The figures of comparisons."""
    found = outcomes(verdicts, models)
    judged = [(item, item.score) for item in found if item.score is not None]
    asked = [item for item, _ in judged if not item.alike]
    decided = [item for item, score in judged if score != 0.5]
    rate = win_rate(models[0], models[1], [(item.question, score) for item, score in judged])
    report: dict[str, Any] = {
        "comparisons": len(found),
        "win_rate": None,
        "ties": sum(score == 0.5 for _, score in judged),
        "turned": sum(item.turned for item in asked),
        "alike": sum(item.alike for item in found),
        "without_verdict": len(found) - len(judged),
        "same_in_both_orders": _share(Share(sum(not item.turned for item in asked), len(asked))),
        "first_shown_won": _share(_first_shown(verdicts)),
        "longer_won": _share(_longer(decided)),
        "by_turn": _by(judged, lambda item: str(item.turn)),
        "by_category": _by(judged, lambda item: item.category),
    }
    if rate is not None:
        report["win_rate"] = {
            "of": rate.first, "against": rate.second, **asdict(rate.share), "wins": rate.wins, "losses": rate.losses,
            "inside_noise": rate.share.low <= 0.5 <= rate.share.high,
        }  # fmt: skip
    by_odds = [(item.question, _sign(odds)) for item, _ in judged if (odds := item.log_odds) is not None]
    if odds_share := clustered_share(by_odds):
        report["win_rate_by_log_odds"] = asdict(odds_share)
    return report


def single_report(verdicts: Sequence[Verdict], models: Sequence[str]) -> dict[str, Any]:
    """The figures of grades, from 1 to 10."""
    graded = [(item, item.grade) for item in verdicts if item.grade is not None]
    grades: dict[str, Any] = {}
    for name in models:
        own = [(item, grade) for item, grade in graded if item.models[0] == name]
        grades[name] = {
            "grade": _estimate(clustered_mean([(item.question, grade) for item, grade in own])),
            "by_turn": _means(own, lambda item: str(item.turn)),
            "by_category": _means(own, lambda item: item.category),
        }
    report: dict[str, Any] = {
        "grades": grades,
        "without_verdict": len(verdicts) - len(graded),
        "length_correlation": _correlation([(len(item.answers[0][-1]), grade) for item, grade in graded]),
    }
    if len(models) == 2:
        of = {(item.question, item.turn, *item.models, *item.samples): grade for item, grade in graded}
        pairs = [
            (key[0], grade - other)
            for key, grade in of.items()
            if key[2] == models[0] and (other := of.get((*key[:2], models[1], key[3]))) is not None
        ]
        found = clustered_mean(pairs)
        report["difference"] = found and {
            "of": models[0], "against": models[1], **asdict(found), "inside_noise": found.low <= 0 <= found.high,
        }  # fmt: skip
    return report


def answers_report(answers: Sequence[Answers], models: Sequence[str]) -> dict[str, Any]:
    """Model -> how many answers, how long, and how many were cut off or had no room."""
    report = {}
    for name in models:
        of_model = [item for item in answers if item.model == name]
        own = [pair for item in of_model for pair in zip(item.texts, item.finishes, strict=True)]
        lengths = [len(text) for text, _ in own]
        report[name] = {
            "answers": len(own),
            "mean_characters": round(statistics.fmean(lengths), 1) if lengths else None,
            "cut_off": sum(how == "length" for _, how in own),
            "no_room": sum(how == NO_ROOM for _, how in own),
            "empty": sum(not text for text, how in own if how != NO_ROOM),
        }
    return report


def replies_report(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """What the judge replied: how often, without a verdict, only when asked again, and to what it saw in part."""
    asked = [item for item in verdicts if len(item.answers) == 1 or not same(*item.answers)]
    return {
        "replies": len(asked),
        "no_verdict": sum(item.none for item in asked),
        "asked_again": sum(bool(item.before) for item in asked),
        "truncated": sum(item.truncated for item in asked),
    }


def _score(verdict: Verdict, model: str) -> float | None:
    """What `model` got."""
    if verdict.better is None:
        return None
    if verdict.better == "tie":
        return 0.5
    return float((verdict.better == "first") == (verdict.models[0] == model))


def _first_shown(verdicts: Iterable[Verdict]) -> Share:
    decided = [item.better == "first" for item in verdicts if item.better in ("first", "second")]
    return Share(sum(decided), len(decided))


def _longer(decided: Iterable[Outcome]) -> Share:
    """How often the longer answer won, of those pairs in which one is longer."""
    found = []
    for item in decided:
        first, second = map(len, item.answers)
        if first != second:
            found.append((first > second) == (item.score == 1))
    return Share(sum(found), len(found))


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval()
    return {"share": share.value, "low": low, "high": high, "of": share.total}


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return asdict(found) if found else None


def _by(judged: Sequence[tuple[Outcome, float]], key: Callable[[Outcome], str]) -> dict[str, Any]:
    """Win rates of parts, where there are several."""
    parts: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for item, score in judged:
        parts[key(item)].append((item.question, score))
    return {name: _estimate(clustered_share(part)) for name, part in parts.items()} if len(parts) > 1 else {}


def _means(graded: Sequence[tuple[Verdict, float]], key: Callable[[Verdict], str]) -> dict[str, Any]:
    parts: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for item, grade in graded:
        parts[key(item)].append((item.question, grade))
    return {name: _estimate(clustered_mean(part)) for name, part in parts.items()} if len(parts) > 1 else {}


def _correlation(pairs: Sequence[tuple[int, float]]) -> float | None:
    """Pearson's, of the logarithm of an answer's length with its grade; None without spread."""
    lengths, grades = [math.log1p(length) for length, _ in pairs], [grade for _, grade in pairs]
    if len(set(lengths)) < 2 or len(set(grades)) < 2:
        return None
    return statistics.correlation(lengths, grades)


def _sign(value: float) -> float:
    return 0.5 if value == 0 else float(value > 0)
