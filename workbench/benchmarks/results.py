"""What a benchmark found: the figures of each task, and every item with what the model made of it.

A benchmark's folder holds `results.json` (the figures with the settings that they were measured in) and
`items.parquet` (a row an item).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.errors import WorkbenchError

FIGURES = "results.json"
ITEMS = "items.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a task was put. Scores that differ in any of these are not of one kind."""

    version: str  # of the task, the harness's own
    shots: int
    chat_template: bool
    harness: str  # "lm-eval 0.4.13"
    data: str = ""  # SHA-256 of local data; empty where the data came from the hub
    limit: int | None = None  # only the first so many items
    against: str = ""  # the model that it was held against, where it was: "export smol-f16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric of one task: the mean over `n` items, between 0 and 1 where it is a share."""

    value: float
    stderr: float | None = None
    low: float | None = None  # ends of the 95% interval
    high: float | None = None
    n: int = 0
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFigures:
    """One task of a benchmark."""

    task: str
    kind: str  # "multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling"
    setting: Setting
    figures: Mapping[str, Figure]  # metric -> figure; "acc", "acc_norm", "exact_match", "pass@1", "bits_per_byte", ...
    main: str  # the metric that stands for the task
    n: int
    truncated: int = 0  # items whose beginning did not fit into the context
    answer_tokens: float | None = None  # mean length of what the model wrote
    group: str = ""  # the standard benchmark that it is part of: "mmlu" of "mmlu_anatomy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All figures of one model on one panel."""

    model: Mapping[str, Any]  # {"kind", "name", "id", "identity", "engine", "checkpoint": step or None,
    # "bytes": of its weights, and where it was measured "tokens_per_second" of generating}
    panel: str
    tasks: Mapping[str, TaskFigures]
    seconds: float = 0.0
    computed: int = 0  # requests that the model was asked; the others were known from before
    known: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question and what the model made of it."""

    task: str
    item: str  # its number in the task's data, from 0
    hash: str  # of the question itself: the same over models, limits and shots
    prompt: str  # as the model saw it, without the continuation
    target: str  # the right answer: a text, or the letter or number of a choice
    metrics: Mapping[str, float]  # metric -> this item's value; right or wrong is 1.0 or 0.0
    choices: tuple[str, ...] = ()  # of a multiple choice, as they were scored
    log_likelihoods: tuple[float, ...] = ()  # nats, of each choice (or of the one continuation)
    answer: str = ""  # what the model wrote, or the choice that it took
    right: int | None = None  # place of the right choice
    tokens: int | None = None  # length of what it wrote
    truncated: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)  # of single kinds of tasks: "outcome" of code, "bytes"


def write(folder: Path, results: Results, items: Iterable[Item]) -> None:
    """Fill a benchmark's folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(item) for item in items]
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), folder / ITEMS, compression="zstd")
    durable.write_json(folder / FIGURES, asdict(results))


def read(folder: Path) -> Results:
    """Raises `WorkbenchError` if the folder holds no readable benchmark."""
    try:
        plain = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
        plain["tasks"] = {name: _task(task) for name, task in plain["tasks"].items()}
        return Results(**plain)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkbenchError(f"The benchmark {folder.name} cannot be read: {error}.", "Run it again.") from None


def read_items(folder: Path, task: str | None = None) -> list[Item]:
    """The items of one task, or of all, in their order.

    Raises `WorkbenchError` if they cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    chosen = [("task", "=", task)] if task is not None else None
    try:
        rows = pq.read_table(folder / ITEMS, filters=chosen).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise WorkbenchError(f"The items of {folder.name} cannot be read: {error}.", "Run it again.") from None
    return [_item(row) for row in rows]


def _schema() -> Any:
    import pyarrow as pa

    texts = ("task", "item", "hash", "prompt", "target", "metrics", "choices", "log_likelihoods", "answer", "more")
    return pa.schema(
        [(name, pa.string()) for name in texts]
        + [("right", pa.int32()), ("tokens", pa.int32()), ("truncated", pa.bool_())]
    )


_AS_JSON = ("metrics", "choices", "log_likelihoods", "more")


def _row(item: Item) -> dict[str, Any]:
    row = asdict(item)
    return row | {name: json.dumps(row[name], ensure_ascii=False) for name in _AS_JSON}


def _item(row: dict[str, Any]) -> Item:
    plain = row | {name: json.loads(row[name]) for name in _AS_JSON}
    plain["choices"], plain["log_likelihoods"] = tuple(plain["choices"]), tuple(plain["log_likelihoods"])
    return Item(**plain)


def _task(plain: dict[str, Any]) -> TaskFigures:
    figures = {name: Figure(**figure) for name, figure in plain["figures"].items()}
    return TaskFigures(**{**plain, "setting": Setting(**plain["setting"]), "figures": figures})
