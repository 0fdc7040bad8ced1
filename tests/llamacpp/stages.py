"""Running the export stage on a folder, as a run does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.llamacpp import LlamaCppEngine
from workbench.contract import Event, Finished, Job, Warned


@dataclass
class Recorder:
    """A reporter that remembers; it asks to stop once `stop_after` events were emitted."""

    events: list[Event] = field(default_factory=list)
    stop_after: int | None = None

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def should_stop(self) -> bool:
        return self.stop_after is not None and len(self.events) >= self.stop_after

    def checkpoint_requested(self) -> bool:
        return False

    @property
    def report(self) -> dict[str, Any]:
        last = self.events[-1]
        assert isinstance(last, Finished), last
        return dict(last.report)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def export_job(model: Path, folder: Path, quantization: str, **recipe: Any) -> Job:
    output = folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    plain = {"stage": "export", "model": "tiny", "name": "tiny-export", "quantization": quantization}
    return Job(
        run="run-1",
        stage="export",
        recipe={**plain, "check_tokens": 96, **recipe},
        inputs={"model": model},
        output=output,
        directory=folder,
    )


def run_export(model: Path, folder: Path, quantization: str, **recipe: Any) -> Recorder:
    recorder = Recorder()
    LlamaCppEngine().run(export_job(model, folder, quantization, **recipe), recorder)
    return recorder
