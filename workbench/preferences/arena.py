"""One rater at work on one set of candidates: what to show, what was said, and what it has come to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.preferences import agreement
from workbench.preferences.candidates import Candidates, Prompt
from workbench.preferences.choice import Choice, Pair
from workbench.preferences.judgements import Book, Judgement, Verdict
from workbench.preferences.sessions import Sessions
from workbench.preferences.strengths import Strength, games_to_go, strengths

LONG_SECONDS = 300.0  # a pair that was looked at for longer was left on the screen
INTERVAL_WIDTH = 0.5  # of a model's log odds; 0.5 tells 50% from 56%

# The scale from 1 to 5: who is better, and by how much.
SCALE: Mapping[int, tuple[Verdict, int]] = {
    1: ("left", 2),
    2: ("left", 1),
    3: ("tie", 0),
    4: ("right", 1),
    5: ("right", 2),
}


class Arena:
    """A session of ranking. Every verb that says something returns once it is on disk."""

    def __init__(
        self,
        candidates: Path,
        judgements: Path,
        rater: str,
        *,
        repeat: float = 0.05,
        overlap: float = 0.1,
        scores: Mapping[str, float] | None = None,
        between_models: bool = False,
        seed: int | None = None,
    ):
        """`candidates` and `judgements` are the two files; neither need exist yet. The rest as for `Choice`."""
        self.rater = rater
        self.candidates = Candidates(candidates)
        self.book = Book(judgements)
        judgements.parent.mkdir(parents=True, exist_ok=True)
        self.sessions = Sessions(judgements.parent)
        self.choice = Choice(
            self.candidates, self.book, rater, repeat=repeat, overlap=overlap, scores=scores,
            between_models=between_models, seed=seed,
        )  # fmt: skip
        self.pair: Pair | None = None
        self.prompt: Prompt | None = None  # whose answers are being put in order
        self._shown = time.monotonic()

    # ------------------------------------------------------------------ pairs

    def next(self) -> Pair | None:
        """Draw the next pair, which no other session shows; None when there is none to judge now."""
        with self.sessions.choosing() as taken:
            self.choice.refresh()
            self.pair, self.prompt = self.choice.next(taken), None
            self.sessions.show(self.pair.answers if self.pair else frozenset())
        self._shown = time.monotonic()
        return self.pair

    def next_set(self) -> Prompt | None:
        """Draw the next prompt whose answers are to be put in order; None when there is none now."""
        with self.sessions.choosing() as taken:
            self.choice.refresh()
            self.pair, self.prompt = None, self.choice.next_set(taken)
            self._show_set()
        self._shown = time.monotonic()
        return self.prompt

    def judge(self, verdict: Verdict, strength: int = 0, *, tags: Sequence[str] = (), note: str = "") -> Judgement:
        """Say which of the pair that is shown is better."""
        pair = self._pair()
        said = Judgement(
            kind="pair", rater=self.rater, session=self.sessions.id, prompt=pair.prompt.id, left=pair.left,
            right=pair.right, verdict=verdict, strength=strength, seconds=self.seconds(), repeat_of=pair.repeat_of,
            tags=tuple(tags), note=note,
        )  # fmt: skip
        self.book.append(said)
        return said

    def rank(self, order: Sequence[Sequence[str]], *, tags: Sequence[str] = (), note: str = "") -> None:
        """The answers of the set that is shown, in groups, best first; those of a group are equal."""
        self._say(
            kind="ranking", prompt=self._set().id, order=tuple(tuple(group) for group in order),
            seconds=self.seconds(), tags=tuple(tags), note=note,
        )  # fmt: skip

    def skip(self) -> None:
        """Not to be asked about what is shown."""
        self._say(kind="skip", **self._place())

    def flag(self, note: str = "") -> None:
        """The prompt is no good: none of its pairs comes again."""
        self._say(kind="flag", note=note, **self._place())

    def edit(self, prompt: Prompt, answer: str, text: str) -> None:
        """A better wording of an answer: a row to imitate, and better than what it was."""
        self._say(kind="edit", prompt=prompt.id, left=answer, text=text)

    def undo(self) -> Judgement | None:
        """Take back the newest judgement of this rater, of whichever session; what it was about is shown again."""
        last = self.book.undo(self.rater, self.sessions.id)
        self.choice.refresh()
        prompt = self.candidates.prompts.get(last.prompt) if last is not None else None
        if last is None or prompt is None or last.kind == "edit":
            return last
        with self.sessions.choosing():
            if last.left:
                self.pair, self.prompt = _pair_of(last, prompt), None
                self.sessions.show(self.pair.answers)
            else:
                self.pair, self.prompt = None, prompt
                self._show_set()
        self._shown = time.monotonic()
        return last

    def seconds(self) -> float | None:
        """Since the pair was shown; None if so long that nobody sat there."""
        passed = time.monotonic() - self._shown
        return round(passed, 3) if passed < LONG_SECONDS else None

    def close(self) -> None:
        self.sessions.close()

    def _pair(self) -> Pair:
        assert self.pair is not None
        return self.pair

    def _set(self) -> Prompt:
        assert self.prompt is not None
        return self.prompt

    def _place(self) -> dict[str, Any]:
        """Where a judgement belongs that is about all that is shown."""
        if self.pair is not None:
            return {"prompt": self.pair.prompt.id, "left": self.pair.left, "right": self.pair.right}
        return {"prompt": self._set().id, "order": (tuple(answer.id for answer in self._set().answers),)}

    def _show_set(self) -> None:
        self.sessions.show(frozenset(answer.id for answer in self.prompt.answers) if self.prompt else frozenset())

    def _say(self, **what: Any) -> None:
        self.book.append(Judgement(rater=self.rater, session=self.sessions.id, **what))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the judgements on a set have come to."""

    judged: int  # comparisons, with those that rankings imply
    by_rater: Mapping[str, int]
    left_over: int  # pairs that nobody has judged
    seconds: float | None  # median of a judgement
    self_agreement: tuple[float | None, int]  # (Cohen's kappa, hidden repeats)
    rater_agreement: tuple[float | None, int]  # (Krippendorff's alpha, pairs of several raters)
    left_won: agreement.Share
    longer_won: agreement.Share
    models: Sequence[Strength]
    to_go: int | None  # comparisons until the models' intervals are narrow
    edits: int
    flags: int


def standing(candidates: Candidates, book: Book, *, width: float = INTERVAL_WIDTH) -> Standing:
    """Sum up. `width` is the target for the intervals of the models' log odds."""
    judgements = list(book.judgements.values())
    pairs = list(book.pairs())
    answers = {answer.id: answer for prompt in candidates.prompts.values() for answer in prompt.answers}
    played = [
        item
        for item in pairs
        if {item.left, item.right} <= answers.keys() and item.verdict != "both_bad" and not item.repeat_of
    ]
    games = [(answers[item.left].model, answers[item.right].model, _score(item)) for item in played]
    models = strengths(games, [item.prompt for item in played])
    times = [item.seconds for item in judgements if item.seconds is not None]
    by_rater: dict[str, int] = {}
    for item in pairs:
        by_rater[item.rater] = by_rater.get(item.rater, 0) + 1
    return Standing(
        judged=len(pairs),
        by_rater=by_rater,
        left_over=Choice(candidates, book, "", seed=0).left,
        seconds=statistics.median(times) if times else None,
        self_agreement=agreement.self_agreement(judgements),
        rater_agreement=agreement.rater_agreement(pairs),
        left_won=agreement.left_share(judgements),
        longer_won=agreement.longer_share(pairs, {answer.id: len(answer.text) for answer in answers.values()}),
        models=models,
        to_go=games_to_go(models, width),
        edits=sum(item.kind == "edit" for item in judgements),
        flags=sum(item.kind == "flag" for item in judgements),
    )


def _score(item: Judgement) -> float:
    """What the answer on the left got: 1, 0, or 0.5 for a tie."""
    return 0.5 if item.winner is None else float(item.verdict == "left")


def _pair_of(item: Judgement, prompt: Prompt) -> Pair:
    return Pair(prompt=prompt, left=item.left, right=item.right, repeat_of=item.repeat_of)


def blind(prompt: Prompt) -> Prompt:
    """The prompt as a rater may see it: without saying who wrote what, and how."""
    return replace(
        prompt, answers=tuple(replace(answer, model="", kind="", temperature=0.0, seed=0) for answer in prompt.answers)
    )
