"""What is known of one run beyond its row: curves, checkpoints, samples, what it said. No Textual here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import figures
from workbench.store import events
from workbench.store.catalog import Catalog
from workbench.store.project import Project
from workbench.tui import run_metrics, safe
from workbench.tui.live import RunRow

CONTINUES = ("pretrain", "continue")  # stages whose samples go on from their prompt, instead of answering it
EVENTS_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """`curve` and `validation` are (step, value) pairs of the chosen metric, the latter on held-out data."""

    run: str
    stage: str
    metric: str
    metrics: tuple[str, ...] = ()  # that can be chosen
    curve: Sequence[tuple[float, float]] = ()
    validation: Sequence[tuple[float, float]] = ()
    newest: Mapping[str, float] = field(default_factory=dict)  # the last value of each metric
    estimate: Mapping[str, Any] = field(default_factory=dict)
    device: str = ""
    said: Sequence[Mapping[str, Any]] = ()  # events: time, kind, data
    recipe: str = ""

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        return [event for event in self.said if event["kind"] == kind]


def read_detail(project: Project, run: str, metric: str, buckets: int, catalog: Catalog) -> Detail:
    """Everything for the run's panes; a curve has at most `buckets` points."""
    stages = catalog.rows("SELECT stage FROM runs WHERE id = ?", (run,))
    stage = stages[0]["stage"] if stages else ""
    measured = events.metric_names(catalog, run)
    names = run_metrics.choices(stage, measured)
    chosen = metric if metric in names or not names else names[0]
    held_out = f"{run_metrics.EVAL}{chosen}"
    said = events.logged(catalog, run, newest=EVENTS_SHOWN)
    estimates = [event["data"] for event in said if event["kind"] == "Estimated"]
    if not estimates:  # early in a long run's events
        estimates = [event["data"] for event in events.logged(catalog, run, "Estimated", newest=1)]
    started = [event["data"] for event in said if event["kind"] == "Started"]
    try:
        recipe = (project.runs / run / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        recipe = ""
    return Detail(
        run=run,
        stage=stage,
        metric=chosen,
        metrics=tuple(names),
        curve=events.series(catalog, run, chosen, buckets=buckets) if chosen in measured else (),
        validation=events.series(catalog, run, held_out, buckets=buckets) if held_out in measured else (),
        newest=_newest(catalog, run),
        estimate=estimates[-1] if estimates else {},
        device=str(started[-1].get("device", "")) if started else "",
        said=said,
        recipe=recipe,
    )


def _newest(catalog: Catalog, run: str) -> dict[str, float]:
    """The last value of each metric, by the end of its range in the index."""
    found: dict[str, float] = {}
    for name in events.metric_names(catalog, run):
        rows = catalog.rows(
            "SELECT value FROM metrics WHERE run = ? AND name = ? ORDER BY step DESC LIMIT 1", (run, name)
        )
        if rows and rows[0]["value"] is not None:
            found[name] = rows[0]["value"]
    return found


def facts(run: RunRow, detail: Detail | None, now: float) -> list[tuple[str, str]]:
    """(what, value), the most telling first; only what is known."""
    found: list[tuple[str, str | None]] = []
    newest = detail.newest if detail else {}
    estimate = detail.estimate if detail else {}
    unit = safe.line(run.unit or "")
    if run.total_steps:
        name = "step" if unit == "steps" else unit
        found.append((name, f"{figures.count(run.step or 0)} of {figures.count(run.total_steps)}"))
    elif run.step:
        found.append((unit or "done", figures.count(run.step)))
    if run.phase:
        found.append(("phase", safe.line(run.phase)))
    left = run.remaining_seconds()
    says = run.stage not in run_metrics.ONLINE  # of those the loss tells nothing, the reward all
    found += [
        ("time left", figures.duration(left) if left is not None else None),
        ("loss", figures.loss(run.loss) if run.loss is not None and says else None),
        ("validation", figures.loss(run.eval_loss) if run.eval_loss is not None and says else None),
        *run_metrics.of_sources(newest),
        *run_metrics.header(run.stage, newest),
        ("bits/byte", figures.loss(newest["eval_bits_per_byte"]) if "eval_bits_per_byte" in newest else None),
        ("tokens/s", figures.count(run.tokens_per_second) if run.tokens_per_second else None),
        ("tokens", figures.count(run.tokens) if run.tokens else None),
        ("memory", figures.size(newest["peak_memory_bytes"]) if "peak_memory_bytes" in newest else None),
    ]
    if (seconds := run.seconds(now)) is not None:
        found.append(("took" if run.ended else "so far", figures.duration(seconds)))
    if estimate:
        found += [
            ("parameters", figures.count(estimate.get("parameters"))),
            ("tok/param", figures.rate(estimate.get("tokens_per_parameter"))),
            ("epochs", _epochs(estimate.get("epochs") or {})),
            ("est. memory", figures.size(estimate.get("memory_bytes"))),
            ("est. time", figures.duration(estimate["seconds"]) if estimate.get("seconds") else None),
        ]
    found += [
        ("device", safe.line(detail.device) if detail and detail.device else None),
        ("engine", safe.line(run.engine)),
        ("made", f"{run.produces}/{safe.line(run.artifact)}" if run.artifact else None),
    ]
    return [(name, value) for name, value in found if value]


def _epochs(passes: Mapping[str, float]) -> str:
    """How often each corpus is gone through."""
    if len(passes) == 1:
        return f"{next(iter(passes.values())):.3g}"
    return ", ".join(f"{safe.line(name)} {each:.3g}" for name, each in passes.items())


def clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def sample_lines(detail: Detail) -> list[str]:
    """The texts that the model wrote, newest first."""
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for event in detail.of_kind("Sample"):
        by_step.setdefault(event["data"].get("step", 0), []).append(event["data"])
    lines: list[str] = []
    for step in reversed(by_step):
        lines.append(f"step {step:,}")
        for data in by_step[step]:
            prompt, text = safe.safe(data.get("prompt", "")), safe.safe(data.get("text", ""))
            if detail.stage in CONTINUES:
                lines += [f"  {line}" for line in f"{prompt}{text}".splitlines()]
            else:
                lines += [f"  > {line}" for line in prompt.splitlines()]
                lines += [f"    {line}" for line in text.splitlines() or ["(it said nothing)"]]
        lines.append("")
    return lines


def checkpoint_lines(detail: Detail, kept: Sequence[Path]) -> list[str]:
    """What can be resumed from, newest first; those that were rotated away are left out."""
    there = {path.name for path in kept}
    lines = []
    for event in reversed(detail.of_kind("CheckpointSaved")):
        data = event["data"]
        if Path(str(data.get("path", ""))).name not in there:
            continue
        measured = f"  validation {figures.loss(data['eval_loss'])}" if data.get("eval_loss") is not None else ""
        best = "  best so far" if data.get("best") else ""
        lines.append(f"{clock(event['time'])}  step {data.get('step', 0):,}{measured}{best}")
    return lines


def event_lines(detail: Detail) -> list[str]:
    """What happened, newest first, in words."""
    lines = []
    for event in reversed(detail.said):
        text = _in_words(event["kind"], event["data"])
        if text:
            lines.append(f"{clock(event['time'])}  {text}")
    return lines


def _in_words(kind: str, data: Mapping[str, Any]) -> str:
    match kind:
        case "Started":
            return f"started on {data.get('device', '')}" + (f" at step {data['step']:,}" if data.get("step") else "")
        case "Warned":
            return f"warning: {data.get('message', '')}"
        case "Acknowledged":
            detail = f": {data['detail']}" if data.get("detail") else ""
            return f"{data.get('request', '')}{detail}"
        case "CheckpointSaved":
            return f"checkpoint at step {data.get('step', 0):,}"
        case "Stopped":
            return "stopped" + (f" at step {data['step']:,}" if data.get("step") else "")
        case "Failed":
            return f"failed: {data.get('reason', '')} {data.get('remedy', '')}".strip()
        case "Finished":
            return "finished"
        case _:
            return ""
