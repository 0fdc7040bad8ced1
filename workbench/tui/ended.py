"""What is said when runs end. No Textual here."""

from __future__ import annotations

from collections.abc import Sequence

from workbench import figures
from workbench.tui import safe
from workbench.tui.live import RunRow

GRAVE = ("failed", "lost", "stopped")
NAMED = 2  # as much as is read in passing


def in_words(runs: Sequence[RunRow]) -> tuple[str, str]:
    """A sentence for each run that ended, what needs attention first; and Textual's name of how grave it is."""
    ranked = sorted(runs, key=lambda run: GRAVE.index(run.state) if run.state in GRAVE else len(GRAVE))
    sentences = [_sentence(run) for run in ranked[:NAMED]]
    if len(ranked) > NAMED:
        sentences.append(f"{len(ranked) - NAMED} more ended.")
    worst = ranked[0].state
    severity = {"finished": "information", "stopped": "information"}.get(worst, "error")
    return "\n".join(sentences), severity


def _sentence(run: RunRow) -> str:
    name, what = safe.line(run.id), f"{run.produces} {safe.line(run.artifact or run.name)}"
    match run.state:
        case "finished":
            took = f" in {figures.duration(run.ended - run.started)}" if run.ended and run.started else ""
            return f"{name} made the {what}{took}."
        case "stopped":
            at = f" at {figures.count(run.step)} {safe.line(run.unit or 'steps')}" if run.step else ""
            return f"{name} stopped{at}. r on the screen Runs resumes it."
        case _:
            return f"{name} {run.state}. {safe.line(run.reason)} {safe.line(run.remedy)}".strip()
