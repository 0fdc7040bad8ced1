"""What people said of the same answers, in the arena, beside what the judge says."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workbench.benchmarks.judging.outcomes import Outcome
from workbench.contract import Message
from workbench.preferences.agreement import cohens_kappa
from workbench.preferences.candidates import Candidates
from workbench.preferences.judgements import Book
from workbench.preferences.sets import CandidateSet, candidate_sets
from workbench.preferences.win_rates import clustered_share
from workbench.store.catalog import Catalog
from workbench.store.project import Project

Place = tuple[str, frozenset[str]]  # the question, and the texts of two answers


def agreement(project: Project, catalog: Catalog, outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """How often the judge says what people said; None where they judged none of the pairs.

    `share` and `kappa` (Cohen) count ties as a verdict of their own; `decided` leaves out pairs on which either has
    a tie, as the second setup of MT-Bench does (Zheng et al. 2023, table 5).
    """
    said = _said(project, catalog)
    compared = [
        (item.question, item.score, _score(item, better))
        for item in outcomes
        if item.score is not None
        for better in said.get(_place(item), ())
    ]
    share = clustered_share([(question, float(judge == person)) for question, judge, person in compared])
    if share is None:
        return None
    both = [(question, float(judge == person)) for question, judge, person in compared if 0.5 not in (judge, person)]
    decided = clustered_share(both)
    return {
        "judgements": len(compared),
        "share": asdict(share),
        "kappa": cohens_kappa([(judge, person) for _, judge, person in compared]),
        "decided": decided and asdict(decided),
    }


def _said(project: Project, catalog: Catalog) -> Mapping[Place | None, list[str]]:
    """Two answers -> the better one's text as each person said, "" where neither was better."""
    found: dict[Place | None, list[str]] = defaultdict(list)
    for item in candidate_sets(project, catalog):
        if item.judgements.exists() or item.evaluations.exists():
            for place, winner in _of_set(item):
                found[place].append(winner)
    return found


def _of_set(item: CandidateSet) -> Iterator[tuple[Place, str]]:
    prompts = Candidates(item.candidates).prompts
    for book in (Book(item.judgements), Book(item.evaluations)):
        flagged = {said.prompt for said in book.judgements.values() if said.kind == "flag"}
        for said in book.pairs():
            prompt = prompts.get(said.prompt)
            if prompt is None or said.repeat_of or said.prompt in flagged:
                continue
            texts = {answer.id: answer.text.strip() for answer in prompt.answers}
            if said.pair <= texts.keys():
                pair = frozenset((texts[said.left], texts[said.right]))
                yield (_question(prompt.messages), pair), texts[said.winner] if said.winner else ""


def _place(item: Outcome) -> Place | None:
    """Where people may have judged the same: in the first turn, as candidates hold no second."""
    if item.turn > 1 or item.alike:
        return None
    return _question(item.verdicts[0].prompt), frozenset(text.strip() for text in item.answers)


def _score(item: Outcome, better: str) -> float:
    """What the first model got from a person who said which text is better."""
    return 0.5 if not better else float(better == item.answers[0].strip())


def _question(messages: Sequence[Message]) -> str:
    return json.dumps([[item["role"], item["content"]] for item in messages], ensure_ascii=False)
