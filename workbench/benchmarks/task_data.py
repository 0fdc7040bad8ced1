"""Data of tasks on disk: rows for standard tasks, and the project's own tasks.

`benchmark-data/<task>/` holds `items.jsonl` and perhaps `few_shot.jsonl`, with the columns that the harness's task
reads, and `data.json`, which says where they came from.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.benchmarks import harness, own_tasks, task_shapes, texts
from workbench.benchmarks.task_rows import TEXTS, TaskRow, read, read_text
from workbench.errors import WorkbenchError
from workbench.recipes.base import NAME_PATTERN
from workbench.recipes.nearest import nearest
from workbench.wording import amount

FOLDER = "benchmark-data"
ITEMS, FEW_SHOT, RECORD = "items.jsonl", "few_shot.jsonl", "data.json"
FORMAT = 1
WITHOUT_EXAMPLES = ("regex", "text")  # own tasks that can show no worked examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file as it was when it was added."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """Local data of one task."""

    task: str
    kind: str  # "standard", or one of own_tasks.KINDS
    items: int
    sha256: str  # of the items, in the form in which they are kept
    sources: tuple[Source, ...]
    left_out: int = 0  # rows of another split than the one that the harness asks
    few_shot: int = 0  # rows to draw worked examples from
    few_shot_sha256: str = ""
    few_shot_sources: tuple[Source, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)  # what differs from the harness's own, for this form
    added: float = 0.0  # seconds since the epoch
    format: int = FORMAT


def add(
    project_root: Path,
    task: str,
    files: Sequence[Path],
    few_shot: Sequence[Path] = (),
    warn: Callable[[str], None] = lambda _: None,
) -> TaskData:
    """Copy `files` into the project as the data of `task`, in place of earlier ones.

    `task` is one of the harness's, or a new name for a task of the project's own; `warn` hears of what looks as if
    something was forgotten.
    Raises `WorkbenchError` for files that are no such data; then nothing is added.
    """
    task = harness.resolve(task)
    if not NAME_PATTERN.fullmatch(task):
        remedy = "Use up to 64 letters, digits, dots, dashes and underscores."
        raise WorkbenchError(f"{task!r} cannot be the name of a task.", remedy)
    if harness.is_group(task):
        inside = harness.members(task)
        what = f"{task} is a group of {len(inside)} tasks, each with data of its own."
        raise WorkbenchError(what, f"Add them one by one: workbench benchmark-data add {inside[0]} FILE")
    standard = task in harness.tasks()
    kind, items, settings, left_out = _rows(task, files, standard, warn=warn)
    examples: list[dict[str, Any]] = []
    if few_shot:
        other_kind, examples, other, _ = _rows(task, few_shot, standard, examples=True)
        if (other_kind, other) != (kind, settings):
            what = f"The rows to draw worked examples from have another form than those of {task}."
            raise WorkbenchError(what, "Give both with the same fields; nothing was added.")
        if kind in WITHOUT_EXAMPLES:
            what = f"A task of {'prompts and patterns' if kind == 'regex' else 'texts'} has no worked examples to show."
            raise WorkbenchError(what, "Leave --few-shot away; nothing was added.")
    kept, shown = _lines(items), _lines(examples)
    if both := len(set(kept.splitlines()) & set(shown.splitlines())):
        rows = amount(both, "rows", "are")
        warn(f"{rows} both among the items and among the worked examples: an example may give its answer away.")
    data = TaskData(
        task=task,
        kind=kind,
        items=len(items),
        sha256=_sha256(kept),
        sources=tuple(map(_source, files)),
        left_out=left_out,
        few_shot=len(examples),
        few_shot_sha256=_sha256(shown) if examples else "",
        few_shot_sources=tuple(map(_source, few_shot)),
        settings=settings,
        added=time.time(),
    )
    if standard:
        _try_out(project_root, data, items, examples)
    _publish(project_root / FOLDER, data, kept, shown)
    return data


def names(project_root: Path) -> list[str]:
    """The tasks with local data."""
    return sorted(file.parent.name for file in (project_root / FOLDER).glob(f"[!.]*/{RECORD}"))


def record(project_root: Path, task: str) -> TaskData | None:
    """What is known of a task's own local data; None if it has none.

    Raises `WorkbenchError` if the record is damaged.
    """
    if not NAME_PATTERN.fullmatch(task):
        return None
    file = project_root / FOLDER / task / RECORD
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        for key in ("sources", "few_shot_sources"):
            plain[key] = tuple(Source(**item) for item in plain[key])
        return TaskData(**plain)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkbenchError(f"{file} cannot be read: {error}.", f"Add the data of {task} again.") from None


def local(project_root: Path, task: str) -> TaskData | None:
    """The local data for a task: its own, or those of another task on the same data set.

    `truthfulqa_mc1` and `truthfulqa_mc2` share theirs, as do `humaneval` and `humaneval_instruct`.
    """
    own = record(project_root, task)
    if own is not None or task not in harness.tasks():
        return own
    wanted = _data_set(task)
    for name in names(project_root):
        if name in harness.tasks() and wanted[0] and _data_set(name) == wanted:
            return record(project_root, name)
    return None


def rows(project_root: Path, data: TaskData) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The items, and the rows to draw worked examples from.

    Raises `WorkbenchError` if they are not what was added.
    """
    folder = project_root / FOLDER / data.task
    found: list[list[dict[str, Any]]] = []
    for name, digest in ((ITEMS, data.sha256), (FEW_SHOT, data.few_shot_sha256)):
        if not digest:
            found.append([])
            continue
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise WorkbenchError(f"{folder / name} cannot be read: {error.strerror}.", _ADD_AGAIN) from None
        if _sha256(content) != digest:
            raise WorkbenchError(f"{folder / name} is not what was added: its SHA-256 differs.", _ADD_AGAIN)
        found.append([json.loads(line) for line in content.decode("utf-8").split("\n") if line])
    return found[0], found[1]


def remove(project_root: Path, task: str) -> TaskData:
    """Take a task's local data away. Raises `WorkbenchError` if it has none."""
    task = harness.resolve(task)
    found = record(project_root, task)
    if found is None:
        raise WorkbenchError(f"There are no local data of {task!r}.", nearest(task, names(project_root)))
    gone = durable.fresh_directory(project_root / FOLDER / f".{task}.removed")
    os.rename(project_root / FOLDER / task, gone / task)
    shutil.rmtree(gone)
    return found


_ADD_AGAIN = "Add the data again: workbench benchmark-data add TASK FILE"


def _rows(
    task: str,
    files: Sequence[Path],
    standard: bool,
    *,
    examples: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[str, list[dict[str, Any]], Mapping[str, Any], int]:
    """(kind, rows, settings, number of rows left out) of the files of one task."""
    if files and all(file.suffix.lower() in TEXTS for file in files):
        return (*_texts(task, files, standard), {}, 0)
    read_rows = read(files, task_shapes.columns(task) if standard else ())
    if standard:
        made, settings = task_shapes.convert(task, read_rows, examples=examples)
        _check_paradigm(task, read_rows)
        return "standard", made, settings, len(read_rows) - len(made)
    if read_rows[0].has("turns"):  # as MT-Bench's
        what = f"{files[0].name} holds questions of several turns, whose answers nothing but a judge can tell apart."
        raise WorkbenchError(what, "Ask them so: workbench assess MODEL --prompts FILE --judge MODEL")
    try:
        kind, made = own_tasks.convert(read_rows)
    except WorkbenchError as error:
        near = nearest(task, list(harness.tasks()))
        hint = f" {task} is no standard task; {near[0].lower()}{near[1:]}" if near.startswith("Did") else ""
        raise WorkbenchError(error.what, f"{error.remedy}{hint}") from None
    if doubt := own_tasks.doubt(kind, read_rows):
        warn(doubt)
    return kind.name, made, {}, 0


def _texts(task: str, files: Sequence[Path], standard: bool) -> tuple[str, list[dict[str, Any]]]:
    found = [read_text(file) for file in files]
    if not standard:
        return "text", [{"text": passage} for text in found for passage in texts.passages(text)]
    if harness.settings(task).get("dataset_path") != task_shapes.WIKITEXT:
        what = f"{files[0].name} is a text, and {task} is made of rows."
        raise WorkbenchError(what, "Give a .jsonl, .csv or .parquet file; nothing was added.")
    return "standard", [{"page": page} for text in found for page in texts.pages(text)]


def _check_paradigm(task: str, read_rows: Sequence[TaskRow]) -> None:
    """BLiMP's files look alike, and say which they are."""
    for row in read_rows:
        other = f"blimp_{row.values.get('UID')}"
        if other != task and task.startswith("blimp_") and other in harness.tasks():
            raise WorkbenchError(
                f"{row.place[0].upper()}{row.place[1:]} is of {other}, not of {task}.", "Check the file."
            )


def _try_out(project_root: Path, data: TaskData, items: list[dict[str, Any]], examples: list[dict[str, Any]]) -> None:
    """Have the harness make a prompt, choices and a target of every row, where only it knows how.

    Raises `WorkbenchError` with the number of the first row of which it cannot.
    """
    if task_shapes.is_known(data.task):
        return
    from workbench.benchmarks import building

    building.prepare(project_root)
    task = building.on_rows(building.standard(data.task) | dict(data.settings), items, examples or None)
    for number, doc in enumerate(task.eval_docs, 1):
        try:
            task.doc_to_text(doc)
            task.doc_to_target(doc)
            if task.config.doc_to_choice is not None:
                task.doc_to_choice(doc)
        except Exception as error:
            what = f"Row {number} does not fit {data.task}: {type(error).__name__}: {error}."
            raise WorkbenchError(what, f"It has {', '.join(doc)}; nothing was added.") from None


@functools.cache
def _data_set(task: str) -> tuple[Any, ...]:
    from workbench.benchmarks.building import asked_split

    settings = harness.settings(task)
    return settings.get("dataset_path"), settings.get("dataset_name"), asked_split(settings)


def _publish(folder: Path, data: TaskData, items: bytes, examples: bytes) -> None:
    folder.mkdir(exist_ok=True)
    partial = durable.fresh_directory(folder / f".{data.task}.{os.getpid()}.partial")
    final, old = folder / data.task, folder / f".{data.task}.replaced"
    try:
        (partial / ITEMS).write_bytes(items)
        if examples:
            (partial / FEW_SHOT).write_bytes(examples)
        durable.write_json(partial / RECORD, asdict(data))
        durable.fresh_directory(old)
        if final.exists():
            os.rename(final, old / data.task)
        try:
            durable.publish_directory(partial, final)
        except BaseException:
            if (old / data.task).exists():
                os.rename(old / data.task, final)
            raise
        shutil.rmtree(old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _lines(found: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in found).encode("utf-8")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _source(file: Path) -> Source:
    content = file.read_bytes()
    return Source(name=file.name, bytes=len(content), sha256=_sha256(content))
