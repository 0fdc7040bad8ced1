"""The texts of a run, one at a time: its log, samples, checkpoints, events, recipe."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from workbench.store.project import Project
from workbench.tui import run_detail
from workbench.tui.live import RunRow
from workbench.tui.run_detail import Detail
from workbench.tui.widgets.log_tail import LogTail

TEXTS = ("log", "samples", "checkpoints", "events", "recipe")
LOG = "log.txt"


class RunTexts(Vertical):
    """Its title names all of them, with the digits that choose."""

    def __init__(self) -> None:
        super().__init__(id="text-pane", classes="pane")
        self.chosen = ""  # by a person; without that, the first that has something to show
        self._text = "log"
        self._run = ""

    def compose(self) -> ComposeResult:
        yield LogTail()

    def on_mount(self) -> None:
        self._title()

    def follow(self, project: Project | None, run: RunRow | None, detail: Detail | None) -> None:
        """Show the chosen text of `run`; all but the log stand in its `detail`."""
        tail = self.query_one(LogTail)
        if run is None or project is None:
            self._title()
            tail.follow(None)
            return
        folder = project.runs / run.id
        known = detail if detail is not None and detail.run == run.id else None
        if self.chosen:
            self._text = self.chosen
        elif self._run != run.id or (self._text == "log" and not _has_text(folder / LOG)) or self._text == "events":
            self._text = _with_something(folder, known)
        self._run = run.id
        self._title()
        if self._text == "log":
            tail.empty = "Its process has printed nothing."
            tail.follow(folder / LOG)
            return
        if known is None:
            tail.show_lines([])
            return
        detail = known
        match self._text:
            case "samples":
                tail.empty, lines = "No sample was written yet.", run_detail.sample_lines(detail)
            case "checkpoints":
                kept = list(folder.glob("checkpoints/step-*"))
                tail.empty, lines = "No checkpoint is kept.", run_detail.checkpoint_lines(detail, kept)
            case "events":
                tail.empty, lines = "Nothing happened yet.", run_detail.event_lines(detail)
            case _:
                tail.empty, lines = "The recipe is missing.", detail.recipe.splitlines()
        if lines != tail.lines:
            tail.show_lines(lines)

    def _title(self) -> None:
        parts = [
            (f"[{number} {name.title()}]", "bold") if name == self._text else (f" {number} {name.title()} ", "")
            for number, name in enumerate(TEXTS, 1)
        ]
        title = Content.assemble(*parts)
        if self.border_title != title.markup:
            self.border_title = title  # type: ignore[assignment]


def _has_text(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _with_something(folder: Path, detail: Detail | None) -> str:
    """What of the run in `folder` is worth showing first."""
    if detail is None or _has_text(folder / LOG):
        return "log"
    return "samples" if detail.of_kind("Sample") else "events" if detail.said else "log"
