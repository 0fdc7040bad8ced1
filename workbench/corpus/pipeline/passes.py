"""Which steps go together: a corpus step is a barrier, at which all documents wait for each other.

A pass takes each part of the corpus through some local steps, and makes the keys by which the corpus steps after them
compare documents. The next pass begins with what those decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.corpus.cleaning.step import CorpusStep, Step

AnyStep = Step | CorpusStep


@dataclass(frozen=True, slots=True)
class Pass:
    """Places of steps in the recipe: decisions that are applied, steps that judge, keys that are made."""

    decided: tuple[int, ...] = ()
    judged: tuple[int, ...] = ()
    keyed: tuple[int, ...] = ()


def passes_of(steps: Sequence[AnyStep]) -> list[Pass]:
    """At least one pass; after the last there is nothing to do but to write the documents out, with its decisions.

    Corpus steps in a row share a pass of keys where those before the last only reject: their rejects' keys are left
    out when the next decides.
    """
    passes: list[Pass] = []
    decided: tuple[int, ...] = ()
    place = 0
    while True:
        judged = []
        while place < len(steps) and isinstance(steps[place], Step):
            judged.append(place)
            place += 1
        keyed: list[int] = []
        while place < len(steps) and isinstance(step := steps[place], CorpusStep):
            keyed.append(place)
            place += 1
            if step.edits:
                break
        passes.append(Pass(decided, tuple(judged), tuple(keyed)))
        decided = tuple(keyed)
        if place == len(steps):
            break
    if decided and any(_edits(steps[place]) for place in decided):
        passes.append(Pass(decided))
        decided = ()
    return [*passes, Pass(decided)]


def _edits(step: AnyStep) -> bool:
    return isinstance(step, CorpusStep) and step.edits
