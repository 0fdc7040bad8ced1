"""Which pair comes next: one that tells something, and now and then one that tells how sure the rater is."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workbench.preferences.candidates import Candidates, Prompt
from workbench.preferences.judgements import Book, Judgement

MIN_DISTANCE = 10  # judgements between a pair and its hidden repeat
REPEAT_TRIES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers as they are to be shown; which side is which was drawn at random."""

    prompt: Prompt
    left: str
    right: str
    repeat_of: str = ""

    @property
    def answers(self) -> frozenset[str]:
        return frozenset((self.left, self.right))


class Choice:
    """Draws pairs of one set of candidates for one rater.

    `scores` (answer -> a reward model's score), where there are any, put those pairs first on which the model is
    least sure. `repeat` and `overlap` are shares: of own pairs shown again with the sides swapped, and of pairs
    that others judged before. `between_models` leaves out pairs of one model's answers.
    """

    def __init__(
        self,
        candidates: Candidates,
        book: Book,
        rater: str,
        *,
        repeat: float = 0.05,
        overlap: float = 0.1,
        scores: Mapping[str, float] | None = None,
        between_models: bool = False,
        seed: int | None = None,
    ):
        self.candidates, self.book, self.rater = candidates, book, rater
        self.repeat, self.overlap = repeat, overlap
        self.scores = scores or {}
        self.between_models = between_models
        self._random = random.Random(seed)
        self._prompt_of: dict[frozenset[str], Prompt] = {}
        self._waiting: dict[frozenset[str], None] = {}  # judged by nobody; in the order in which they come
        self._judged_by: dict[frozenset[str], set[str]] = {}
        self._of_others: dict[frozenset[str], None] = {}  # judged by others, but not by this rater
        self._own: list[Judgement] = []  # of pairs, by this rater, without repeats
        self._repeated: set[str] = set()  # which of them came again
        self._flagged: set[str] = set()
        self._decided: set[frozenset[str]] = set()  # by anybody
        self._voted: set[frozenset[str]] = set()  # by this rater, as are the next two
        self._skipped: set[frozenset[str]] = set()
        self.votes = 0  # comparisons, with repeats and with those that rankings imply
        self.add(candidates.prompts.values())
        self._counted = len(book.history)
        self._recount()

    def add(self, prompts: Iterable[Prompt]) -> None:
        """Take in the pairs of further prompts."""
        new = []
        for prompt in prompts:
            for left, right in itertools.combinations(prompt.answers, 2):
                if left.text.strip() == right.text.strip():
                    continue  # nothing to choose between
                if self.between_models and left.model == right.model:
                    continue
                pair = frozenset((left.id, right.id))
                self._prompt_of[pair] = prompt
                new.append(pair)
        self._random.shuffle(new)
        if self.scores:
            new.sort(key=self._certainty)
        self._waiting.update(dict.fromkeys(new))

    def use_scores(self, scores: Mapping[str, float]) -> None:
        """Go on with other scores."""
        self.scores = dict(scores)
        self._recount()

    def refresh(self) -> None:
        """Take in what was written and judged meanwhile, here and elsewhere."""
        self.add(self.candidates.refresh())
        self.book.refresh()
        changes = self.book.history[self._counted :]
        self._counted = len(self.book.history)
        if any(change.kind == "retract" for change in changes):
            self._recount()
        else:
            for change in changes:
                self._count(change)

    def next(self, taken: Iterable[frozenset[str]] = ()) -> Pair | None:
        """The next pair to show, None when all are judged. `taken` are shown to others at this moment."""
        busy = set(taken)
        draw = self._random.random()
        if draw < self.repeat and len(self._repeated) < self.repeat * len(self._own) and (again := self._repeat(busy)):
            return again
        if draw < self.repeat + self.overlap and (pair := self._first(self._of_others, busy)):
            return self._sided(pair)
        pair = self._first(self._waiting, busy) or (self._first(self._of_others, busy) if self.overlap else None)
        return self._sided(pair) if pair else None

    def next_set(self, taken: Iterable[frozenset[str]] = ()) -> Prompt | None:
        """The next prompt for a full ranking: one of which nobody has judged a pair, or now and then another's."""
        busy = set(taken)
        raters: dict[str, set[str]] = {}
        for pair, judged_by in self._judged_by.items():
            raters.setdefault(self._prompt_of[pair].id, set()).update(judged_by)
        open_to_us = [
            prompt
            for prompt in self.candidates.prompts.values()
            if len(prompt.answers) > 1
            and prompt.id not in self._flagged
            and self.rater not in raters.get(prompt.id, ())
            and frozenset(answer.id for answer in prompt.answers) not in busy
        ]
        fresh = next((prompt for prompt in open_to_us if prompt.id not in raters), None)
        others = next((prompt for prompt in open_to_us if prompt.id in raters), None) if self.overlap else None
        return others or fresh if self._random.random() < self.overlap else fresh or others

    @property
    def left(self) -> int:
        """Pairs that nobody has judged."""
        if not self._flagged:
            return len(self._waiting)
        return sum(1 for pair in self._waiting if self._prompt_of[pair].id not in self._flagged)

    @property
    def to_go(self) -> int:
        """Pairs that this rater is still to be asked about; without overlap, only those that nobody has judged."""
        if not self.overlap:
            return self.left
        if not self._flagged:
            return self.left + len(self._of_others)
        return self.left + sum(1 for pair in self._of_others if self._prompt_of[pair].id not in self._flagged)

    @property
    def total(self) -> int:
        return len(self._prompt_of)

    @property
    def decided(self) -> int:
        """Pairs with a verdict of anybody's."""
        return len(self._decided)

    @property
    def set_aside(self) -> int:
        """Pairs without a verdict of this rater's that are not asked about: skipped, or of a flagged prompt."""
        skipped = self._skipped - self._voted
        if not self._flagged:
            return len(skipped)
        return sum(
            1
            for pair, prompt in self._prompt_of.items()
            if pair not in self._voted and (pair in skipped or prompt.id in self._flagged)
        )

    def gain(self, ahead: int = 100) -> tuple[float, float] | None:
        """Bits that a judgement should tell the reward model: of the next `ahead` pairs, and of pairs at random.

        It is the entropy of its own forecast. None without scores, or without pairs.
        """
        waiting = [pair for pair in self._waiting if pair <= self.scores.keys()]
        if not waiting:
            return None
        bits = [_entropy(self._forecast(pair)) for pair in waiting]
        return sum(bits[:ahead]) / len(bits[:ahead]), sum(bits) / len(bits)

    def _forecast(self, pair: frozenset[str]) -> float:
        """The probability that a Bradley-Terry model gives one of the two."""
        first, second = pair
        difference = self.scores[first] - self.scores[second]
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, difference))))

    def _certainty(self, pair: frozenset[str]) -> float:
        """How sure the reward model is; pairs that it has not scored come last."""
        return abs(self._forecast(pair) - 0.5) if pair <= self.scores.keys() else 1.0

    def _first(self, pairs: Iterable[frozenset[str]], busy: set[frozenset[str]]) -> frozenset[str] | None:
        return next(
            (pair for pair in pairs if pair not in busy and self._prompt_of[pair].id not in self._flagged), None
        )

    def _repeat(self, busy: set[frozenset[str]]) -> Pair | None:
        """An own pair of some time ago, the sides swapped, that was not repeated yet, nor is just now elsewhere."""
        old = len(self._own) - MIN_DISTANCE
        for _ in range(REPEAT_TRIES if old > 0 else 0):  # by trial: a look at all would be felt with 10,000 of them
            chosen = self._own[self._random.randrange(old)]
            if chosen.id not in self._repeated and chosen.prompt not in self._flagged and chosen.pair not in busy:
                prompt = self._prompt_of[chosen.pair]
                return Pair(prompt=prompt, left=chosen.right, right=chosen.left, repeat_of=chosen.id)
        return None

    def _sided(self, pair: frozenset[str]) -> Pair:
        left, right = self._random.sample(sorted(pair), 2)
        return Pair(prompt=self._prompt_of[pair], left=left, right=right)

    def _count(self, judgement: Judgement) -> None:
        if judgement.kind == "flag":
            self._flagged.add(judgement.prompt)
            return
        pairs = [judgement.pair] if judgement.kind in ("pair", "skip") else []
        if judgement.order:
            pairs = [frozenset(two) for two in itertools.combinations(itertools.chain(*judgement.order), 2)]
        own = judgement.rater == self.rater
        if own and judgement.kind != "skip":
            self.votes += len(pairs)
        for pair in pairs:
            if pair in self._prompt_of:
                judged_by = self._judged_by.setdefault(pair, set())
                judged_by.add(judgement.rater)
                if judgement.kind != "skip":
                    self._decided.add(pair)
                if own:
                    (self._skipped if judgement.kind == "skip" else self._voted).add(pair)
                self._waiting.pop(pair, None)
                if self.rater in judged_by:
                    self._of_others.pop(pair, None)
                else:
                    self._of_others[pair] = None
        if judgement.kind == "pair" and own and judgement.pair in self._prompt_of:
            if judgement.repeat_of:
                self._repeated.add(judgement.repeat_of)
            else:
                self._own.append(judgement)

    def _recount(self) -> None:
        for found in (self._judged_by, self._of_others, self._own, self._repeated):
            found.clear()
        for known in (self._flagged, self._decided, self._voted, self._skipped):
            known.clear()
        self.votes = 0
        waiting = dict.fromkeys(self._prompt_of)
        if self.scores:
            waiting = dict.fromkeys(sorted(waiting, key=self._certainty))
        else:  # keep the order in which they wait
            waiting = {**dict.fromkeys(pair for pair in self._waiting), **waiting}
        self._waiting = waiting
        for judgement in self.book.judgements.values():
            self._count(judgement)


def _entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
