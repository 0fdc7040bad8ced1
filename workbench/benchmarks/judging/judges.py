"""Who judges: someone who writes a reason and a verdict, or a model asked which verdict it holds more likely."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from workbench.benchmarks.judging.answers import has_room
from workbench.benchmarks.judging.asking import (
    HIGHEST,
    LOWEST,
    better_of,
    grade_of,
    instruction,
    once_more,
    reason_of,
)
from workbench.benchmarks.judging.questions import Question
from workbench.benchmarks.judging.verdicts import Verdict
from workbench.contract import LanguageModel, Message, Sampling
from workbench.preferences.authors import EndpointAuthor, ModelAuthor, Refused
from workbench.preferences.judge import prefers

CHUNK = 8  # verdicts that a model of the project writes together

Write = Callable[[Sequence[Sequence[Message]]], Sequence[str]]  # the reply to each of several conversations


class Case(NamedTuple):
    """What is to be judged: a verdict that is still empty, and the question that it is about."""

    question: Question
    empty: Verdict


class Judge(Protocol):
    """Gives verdicts."""

    def verdicts(self, cases: Sequence[Case]) -> Iterator[Verdict]:
        """Of each case, in any order, as they come; who says nothing is asked a second time.

        Raises `Interrupted` once a stop was asked for, `WorkbenchError` if the judge is gone: after all that were
        given by then.
        """


@dataclass(frozen=True, slots=True)
class WrittenVerdicts:
    """A model of the project writes them, several at a time."""

    model: LanguageModel
    check: Callable[[], None]
    rubric: str
    sampling: Sampling

    def verdicts(self, cases: Sequence[Case]) -> Iterator[Verdict]:
        for start in range(0, len(cases), CHUNK):
            yield from _written(self._write, cases[start : start + CHUNK], self.rubric)

    def _write(self, prompts: Sequence[Sequence[Message]]) -> list[str]:
        """Nothing, where the context does not hold the question."""
        fit = [place for place, prompt in enumerate(prompts) if has_room(self.model, prompt)]
        author = ModelAuthor(self.model, self.check)
        written = author.write([prompts[place] for place in fit], self.sampling) if fit else []
        said = {place: item.text for place, item in zip(fit, written, strict=True)}
        return [said.get(place, "") for place in range(len(prompts))]


@dataclass(frozen=True, slots=True)
class EndpointVerdicts:
    """A server writes them, `parallel` at a time."""

    author: EndpointAuthor
    rubric: str
    sampling: Sampling
    parallel: int

    def verdicts(self, cases: Sequence[Case]) -> Iterator[Verdict]:
        over = threading.Event()

        def one(case: Case) -> Verdict | None:
            if over.is_set():
                return None
            try:
                return next(_written(self._write, [case], self.rubric))
            except BaseException:
                over.set()  # what is on its way may be paid for, so it is waited for; nothing else begins
                raise

        with ThreadPoolExecutor(self.parallel) as pool:
            asked = [pool.submit(one, case) for case in cases]
            error: BaseException | None = None
            for done in as_completed(asked):
                if (found := done.exception()) is not None:
                    error = error or found
                elif (verdict := done.result()) is not None:
                    yield verdict
        if error is not None:
            raise error

    def _write(self, prompts: Sequence[Sequence[Message]]) -> list[str]:
        """One that the server would not answer, as it is too long for it, is a reply without a verdict."""
        try:
            return [item.text for item in self.author.write(prompts, self.sampling)]
        except Refused as refused:
            return [refused.what for _ in prompts]


@dataclass(frozen=True, slots=True)
class LikelihoodVerdicts:
    """A model of the project scores them. There is no reason, and no reply that holds no verdict.

    A grade is the mean of 1 to 10 under the judge's own probabilities (Liu et al. 2023, G-Eval, section 2).
    """

    model: LanguageModel
    check: Callable[[], None]
    rubric: str

    def verdicts(self, cases: Sequence[Case]) -> Iterator[Verdict]:
        for question, empty in cases:
            self.check()
            asked = instruction(question, empty.answers, self.rubric, written=False)
            given = replace(empty, truncated=not has_room(self.model, [{"role": "user", "content": asked}]))
            if len(empty.models) == 2:
                odds = prefers(self.model, asked)
                yield replace(given, log_odds=odds, better="tie" if odds == 0 else "first" if odds > 0 else "second")
            else:
                yield replace(given, grade=self._grade(asked))

    def _grade(self, asked: str) -> float:
        context = self.model.render([{"role": "user", "content": asked}])
        space = "" if self.model.chat_template else " "
        grades = range(LOWEST, HIGHEST + 1)
        # The closing brackets tell 1 from 10.
        scores = self.model.score([(context, f"{space}[[{grade}]]") for grade in grades])
        most = max(score.log_likelihood for score in scores)
        weights = [math.exp(score.log_likelihood - most) for score in scores]
        return sum(grade * weight for grade, weight in zip(grades, weights, strict=True)) / sum(weights)


def _written(write: Write, cases: Sequence[Case], rubric: str) -> Iterator[Verdict]:
    asked = [instruction(question, empty.answers, rubric, written=True) for question, empty in cases]
    found = [
        _read(empty, said)
        for (_, empty), said in zip(cases, write([[{"role": "user", "content": text}] for text in asked]), strict=True)
    ]
    silent = [place for place, verdict in enumerate(found) if verdict.none]
    if silent:
        again = [once_more(asked[place], found[place].said, compared=len(found[place].models) == 2) for place in silent]
        for place, said in zip(silent, write(again), strict=True):
            first = found[place].said
            second = replace(_read(cases[place].empty, said), before=first)
            # Asked again it gives the verdict alone: the reason is what it said at first.
            found[place] = replace(second, reason=second.reason or first.strip())
    yield from found


def _read(empty: Verdict, said: str) -> Verdict:
    if len(empty.models) == 2:
        better = better_of(said)
        return replace(empty, said=said, reason=reason_of(said), better=better)
    return replace(empty, said=said, reason=reason_of(said), grade=grade_of(said))
