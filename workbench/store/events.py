"""A run's `events.jsonl`: read from where one left off, and indexed into the catalog."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.contract import Event, Finished, Metrics, Progress, Started, parse_event
from workbench.store.catalog import Catalog
from workbench.store.project import Project

READ_BYTES = 4 << 20
CORE = ("loss", "grad_norm", "learning_rate", "tokens_per_second", "peak_memory_bytes")


def read_events(path: Path, offset: int = 0) -> tuple[list[tuple[int, Event]], int]:
    """Whole lines of the file from byte `offset`: [(offset, event)], and where to go on.

    At most 4 MiB at a time. A line that is no event (cut by a kill, or of a newer program) is passed over.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            block = file.read(READ_BYTES)
    except FileNotFoundError:
        return [], offset
    found = []
    *lines, _cut = block.split(b"\n")
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append((offset, parse_event(line)))
        offset += len(line) + 1
    return found, offset


def index_events(project: Project, catalog: Catalog, run_id: str) -> list[Event]:
    """Bring the catalog up to date with the run's file; answers the new events. Safe to call from anywhere:
    the place read up to is kept in the same transaction as what was read."""
    new: list[Event] = []
    while True:
        row = catalog.rows("SELECT events_offset FROM runs WHERE id = ?", (run_id,))
        start = row[0]["events_offset"] if row else 0
        found, end = read_events(project.runs / run_id / "events.jsonl", start)
        if end == start:
            return new
        with catalog.writing() as db:
            again = db.execute("SELECT events_offset FROM runs WHERE id = ?", [run_id]).fetchone()
            if again is None or again[0] != start:
                continue  # somebody else was faster
            _insert(db, run_id, found)
            db.execute("UPDATE runs SET events_offset = ? WHERE id = ?", [end, run_id])
        new += [event for _, event in found]


def add_event(project: Project, catalog: Catalog, run_id: str, event: Event) -> None:
    """Write an event of a run that has ended: while one goes on, its engine alone writes."""
    path = project.runs / run_id / "events.jsonl"
    with project.locked(), open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a kill cut the last line
                file.write(b"\n")
        file.write(event.line().encode())
    index_events(project, catalog, run_id)


def _insert(db: Any, run_id: str, found: list[tuple[int, Event]]) -> None:
    metrics: list[tuple[str, str, int, float]] = []
    kept: list[dict[str, Any]] = []
    latest: dict[str, Any] = {}
    for offset, event in found:
        latest["updated"] = event.time
        if isinstance(event, Metrics):
            values = {name: getattr(event, name) for name in CORE} | dict(event.more)
            metrics += [(run_id, name, event.step, value) for name, value in values.items() if value is not None]
            latest |= {"step": event.step, "phase": None}
            latest |= {
                name: getattr(event, name) for name in ("tokens", "loss", "tokens_per_second") if getattr(event, name)
            }
            if event.more.get("eval_loss") is not None:
                latest["eval_loss"] = event.more["eval_loss"]
            continue
        if isinstance(event, Progress):  # only the newest matters
            latest |= {"step": event.done, "total_steps": event.total, "unit": event.unit, "phase": event.phase}
            continue
        if isinstance(event, Started):
            latest |= {"step": event.step, "total_steps": event.total_steps, "unit": "steps", "phase": None}
        elif isinstance(event, Finished):
            latest["phase"] = None
        data = asdict(event)
        kept.append({"run": run_id, "offset": offset, "time": data.pop("time"), "kind": type(event).__name__,
                     "data": json.dumps(data)})  # fmt: skip
    # A resumed run makes steps again: the newer value stands.
    db.conn.executemany("INSERT OR REPLACE INTO metrics (run, name, step, value) VALUES (?, ?, ?, ?)", metrics)
    if kept:
        db.table("events").insert_all(kept, replace=True)
    if latest:
        db.table("runs").update(run_id, latest)


def series(catalog: Catalog, run_id: str, name: str, *, buckets: int = 0, after: int = -1) -> list[tuple[float, float]]:
    """(step, value) pairs of a metric, averaged into at most `buckets` equal ranges of steps (0: all of them)."""
    if buckets:
        span = catalog.rows(
            "SELECT min(step) AS low, max(step) AS high FROM metrics WHERE run = ? AND name = ?", (run_id, name)
        )[0]
        if span["low"] is None:
            return []
        width = max(1, -(-(span["high"] - span["low"] + 1) // buckets))
        rows = catalog.rows(
            "SELECT avg(step) AS step, avg(value) AS value FROM metrics WHERE run = ? AND name = ? AND step > ? "
            "GROUP BY (step - ?) / ? ORDER BY 1",
            (run_id, name, after, span["low"], width),
        )
    else:
        rows = catalog.rows(
            "SELECT step, value FROM metrics WHERE run = ? AND name = ? AND step > ? ORDER BY step",
            (run_id, name, after),
        )
    return [(row["step"], row["value"]) for row in rows]


def metric_names(catalog: Catalog, run_id: str) -> list[str]:
    """The metrics that the run has reported so far. Skips from name to name in the index: cheap on long runs."""
    names: list[str] = []
    last = ""
    while row := catalog.rows("SELECT min(name) AS name FROM metrics WHERE run = ? AND name > ?", (run_id, last))[0][
        "name"
    ]:
        names.append(last := row)
    return names


def logged(catalog: Catalog, run_id: str, *kinds: str, newest: int = 200) -> list[dict[str, Any]]:
    """The newest events of these kinds (all that are kept, if none is named), oldest first: time, kind and data."""
    where = f"AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
    rows = catalog.rows(
        f"SELECT time, kind, data FROM events WHERE run = ? {where} ORDER BY offset DESC LIMIT ?",
        (run_id, *kinds, newest),
    )
    return [{**row, "data": json.loads(row["data"])} for row in reversed(rows)]
