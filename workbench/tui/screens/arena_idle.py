"""Why there is nothing to judge, and what can be done instead."""

from __future__ import annotations

from workbench.preferences.arena import Arena
from workbench.preferences.ranking import Ranking
from workbench.preferences.sets import CandidateSet
from workbench.tui import safe
from workbench.tui.live import Live

STANDING = ("i", "what the judgements have come to")
UNDO = ("z", "take the last one back")


def nothing_to_judge(
    item: CandidateSet, ranking: Ranking, arena: Arena, live: Live | None
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A sentence, and what can be done: (key or command, what it does)."""
    name, left = safe.line(item.name), arena.choice.to_go
    run = live.runs.get(item.run) if live and item.run else None
    if run is not None and run.active:
        done = f": {run.step} of {run.total_steps} prompts" if run.total_steps else ""
        sentence = f"{safe.line(run.id)} is still writing answers{done}. The next ones show by themselves."
        return sentence, (("g r", "watch the run"), STANDING, UNDO)
    if not arena.candidates.prompts:
        return "There are no answers in this set.", (("Esc", "back to the other sets"),)
    if left and not ranking.whole_sets:
        return f"The last {left:,} pairs are before others at this moment.", (STANDING, UNDO)
    if ranking.evaluation:
        sentence = f"All pairs of different models are judged. How often each wins: workbench preferences stats {name}."
        return sentence, (STANDING, UNDO, ("Esc", "to the other sets"))
    sentence = (
        f"All {'sets' if ranking.whole_sets else 'pairs'} are judged. Train a reward model on them, or a model at "
        f"once: workbench reward --base MODEL --preferences {name}, or dpo in its place."
    )
    forms = (":reward", "its form"), (":dpo", "the form for training at once")
    return sentence, (*forms, STANDING, UNDO, ("Esc", "to the other sets"))
