"""From names of tasks to tasks of the harness, with local data where there are any.

Heavy libraries are imported inside the functions: they run in the engine's process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.benchmarks import building, divergence, harness, own_tasks, panels, task_data, texts
from workbench.benchmarks.panels import Panel, TaskChoice
from workbench.benchmarks.task_rows import read_text
from workbench.errors import WorkbenchError
from workbench.recipes.nearest import listed, nearest
from workbench.wording import amount

ROLLING = "loglikelihood_rolling"
MOST_NAMED = 6  # tasks in an error
TEXT = "text:"  # how a choice begins that is a text on disk

# The metric that is usually reported, where it is not the first of the list below.
USUAL = {"hellaswag": "acc_norm", "arc_challenge": "acc_norm", "openbookqa": "acc_norm", "piqa": "acc_norm"}
METRICS = ("acc", "mcc", "exact_match", "match", "pass@1", "bits_per_byte", "f1", "bleu_acc")


@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """One task, ready to build its requests: `task.build_all_requests(limit=limit, ...)`."""

    name: str
    task: Any  # lm-eval's ConfigurableTask; few-shot seed and number of shots are set
    kind: str  # its output type: "multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling"
    code: bool  # whether answers are programs to run; `task.process_results` then refuses: score them in the sandbox
    group: str  # "mmlu" of "mmlu_anatomy"; empty where it is part of none
    shots: int
    limit: int | None
    chat_template: bool
    metric: str  # the one that stands for the task
    version: str  # of the task, the harness's own
    data: str  # SHA-256 of local data; empty where the data came from the hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One task of a panel, and whether its data are here."""

    task: str
    data: str  # "local", "fetched" from the hub before, or "hub": to be fetched
    items: int | None = None  # of local data
    lacks: str = ""  # "data" that are not here, or "examples" to show


def needs(chosen: Sequence[TaskChoice], project_root: Path) -> list[Need]:
    """What each task needs, without importing the harness.

    Raises `WorkbenchError` for an unknown name.
    """
    singles = [single for choice in chosen for single in expand(choice, project_root, lambda _: None)]
    return [_need(choice, project_root) for choice in singles]


def load_tasks(
    chosen: Sequence[TaskChoice],
    project_root: Path,
    *,
    shots: int | None = None,
    limit: int | None = None,
    chat_template: bool | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, LoadedTask]:
    """The tasks by name, in order. What the keywords set wins over the choices' own settings.

    Local data (`workbench benchmark-data add`) come before the hub. Of a group with local data only the tasks that
    have some are taken, which `warn` hears of.

    Raises `WorkbenchError` for an unknown name, for data that are neither here nor to be had, and where worked
    examples are wanted and none are here.
    """
    wanted = {single.task: single for choice in chosen for single in expand(choice, project_root, warn)}
    building.prepare(project_root)
    found: dict[str, LoadedTask] = {}
    lacking: dict[str, building.Unavailable] = {}
    fixed: list[str] = []
    for choice in wanted.values():
        given = {"shots": shots, "limit": limit, "chat_template": chat_template}
        put = choice.model_copy(update={key: value for key, value in given.items() if value is not None})
        try:
            task = _load(put, project_root)
        except building.Unavailable as error:
            lacking[put.task] = error
            continue
        if task.name in found:
            raise WorkbenchError(f"Two texts are called {task.name}.", "Rename one of the files.")
        found[task.name] = task
        if put.shots and not task.shots and task.kind != ROLLING:
            fixed.append(task.name)
    if fixed:
        more = f" and {len(fixed) - 1} more" if len(fixed) > 1 else ""
        warn(f"The harness fixes the number of worked examples of {fixed[0]}{more} at 0.")
    if lacking:
        first, *others = lacking
        more = f" and {len(others) - MOST_NAMED:,} more" if len(others) > MOST_NAMED else ""
        so = f" So it is with {', '.join(others[:MOST_NAMED])}{more}." if others else ""
        raise WorkbenchError(f"{lacking[first].what}{so}", lacking[first].remedy)
    return found


def expand(choice: TaskChoice, project_root: Path, warn: Callable[[str], None]) -> list[TaskChoice]:
    """The single tasks that a choice stands for, without loading any.

    Raises `WorkbenchError` for an unknown name.
    """
    if choice.task.startswith(TEXT) or divergence.is_one(choice.task):
        return [choice]
    name = harness.resolve(choice.task)
    if task_data.record(project_root, name) is not None or name in harness.tasks():
        return [choice.model_copy(update={"task": name})]
    if not harness.is_group(name):
        raise harness.unknown(name, tuple(task_data.names(project_root)))
    inside = harness.members(name)
    here = [task for task in inside if task_data.local(project_root, task) is not None]
    if here and len(here) < len(inside):
        warn(f"Of {name} only the tasks with local data are taken: {len(here)} of {len(inside)}.")
    return [choice.model_copy(update={"task": task}) for task in here or inside]


def of_panel(project_root: Path, name: str) -> list[TaskChoice]:
    """The tasks of a panel.

    Raises `WorkbenchError` if there is no such panel, or for a task that there is not, with the panel's file and entry.
    """
    tasks = Panel.read(project_root, name).tasks
    for number, choice in enumerate(tasks, 1):
        try:
            expand(choice, project_root, lambda _: None)
        except WorkbenchError as error:
            place = f"{panels.find(project_root, name)}, task {number}"
            raise WorkbenchError(f"{place}: {error.what}", error.remedy) from None
    return tasks


def item_hash(task: Any, doc: Any) -> str:
    """What pairs an item over models: SHA-256, 16 hexadecimal digits, of the question, its choices and its answer.

    The same for every model, limit, number of shots and chat template, and whether the data are local or the hub's.
    `task` and `doc` are the harness's.
    """
    choices = list(task.doc_to_choice(doc)) if task.config.doc_to_choice is not None else []
    content = [task.doc_to_text(doc), choices, task.doc_to_target(doc)]
    plain = json.dumps(content, ensure_ascii=False, default=str)
    return hashlib.sha256(plain.encode("utf-8")).hexdigest()[:16]


def own_question(task: Any, doc: Any, prompt: str) -> dict[str, str]:
    """{"question": the item's own text} where its prompt holds more: worked examples, or the marks of a chat."""
    own = task.doc_to_text(doc)
    return {"question": own} if isinstance(own, str) and own != prompt else {}


def _need(choice: TaskChoice, project_root: Path) -> Need:
    if divergence.is_one(choice.task):
        return Need(task=choice.task, data="local")  # what was held out of the model's own training, or a text
    if choice.task.startswith(TEXT):
        here = text_file(choice, project_root).is_file()
        return Need(task=choice.task, data="local", lacks="" if here else "data")
    data = task_data.local(project_root, choice.task)
    if data is None:
        fetched = building.is_fetched(project_root, harness.settings(choice.task))
        return Need(task=choice.task, data="fetched" if fetched else "hub", lacks="" if fetched else "data")
    lacks = "examples" if _lacking_examples(choice, data, _plain_settings(choice.task, data)) else ""
    return Need(task=choice.task, data="local", items=data.items, lacks=lacks)


def require_examples(choice: TaskChoice, project_root: Path) -> None:
    """Raises `WorkbenchError` if a single task's local data lack the worked examples that it is to show."""
    if choice.task.startswith(TEXT) or divergence.is_one(choice.task):
        return
    data = task_data.local(project_root, choice.task)
    if data is not None and (lacking := _lacking_examples(choice, data, _plain_settings(choice.task, data))):
        raise lacking


def _lacking_examples(
    choice: TaskChoice, data: task_data.TaskData, settings: Mapping[str, Any]
) -> WorkbenchError | None:
    """The error where local data have fewer worked examples than are to be shown; None where there are enough."""
    shots = _shots(settings, choice)
    if shots <= data.few_shot or (data.kind == "standard" and building.few_shot_split(settings) is None):
        return None
    has = amount(data.few_shot, "examples") if data.few_shot else "none"
    what = f"{choice.task} is to show {amount(shots, 'worked examples')}, and has {has} beside its items."
    if data.kind in task_data.WITHOUT_EXAMPLES:
        return WorkbenchError(what, "Such a task can show none: leave --shots out.")
    return WorkbenchError(
        what, f"Add some, or set --shots 0: workbench benchmark-data add {choice.task} FILE --few-shot FILE"
    )


def text_file(choice: TaskChoice, project_root: Path) -> Path:
    """The file of a choice `text:FILE`; relative ones start at the project."""
    return (project_root / Path(choice.task.removeprefix(TEXT)).expanduser()).resolve()


def _load(choice: TaskChoice, project_root: Path) -> LoadedTask:
    if choice.task.startswith(TEXT):
        file = text_file(choice, project_root)
        items = [{"text": passage} for passage in texts.passages(read_text(file))]
        name = f"{TEXT}{file.name}"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return _ready(choice, building.on_rows(own_tasks.settings(name, "text"), items, None), "", digest)
    data = task_data.local(project_root, choice.task)
    settings = _settings(choice.task, data)
    shots = _shots(settings, choice)
    if data is None:
        return _ready(choice, building.on_hub(settings), harness.group_of(choice.task), "", shots)
    if lacking := _lacking_examples(choice, data, settings):
        raise lacking
    items, examples = task_data.rows(project_root, data)
    drawn = building.few_shot_split(settings) is not None or data.kind != "standard"
    task = building.on_rows(settings, items, examples or None)
    group = harness.group_of(choice.task) if data.kind == "standard" else ""
    digest = data.sha256
    if shots and drawn:
        digest = hashlib.sha256(f"{data.sha256} {data.few_shot_sha256}".encode()).hexdigest()
    return _ready(choice, task, group, digest, shots)


def _settings(name: str, data: task_data.TaskData | None) -> dict[str, Any]:
    if data is None or data.kind == "standard":
        return building.standard(name) | dict(data.settings if data else {})
    settings = own_tasks.settings(name, data.kind)
    return settings | ({"fewshot_split": "few_shot"} if data.few_shot else {})


def _plain_settings(name: str, data: task_data.TaskData) -> Mapping[str, Any]:
    """As `_settings`, without importing the harness."""
    return harness.settings(name) if data.kind == "standard" else own_tasks.settings(name, data.kind)


def _shots(settings: Mapping[str, Any], choice: TaskChoice) -> int:
    """How many worked examples are shown, by the harness's rule: a task fixed at none stays there."""
    own = settings.get("num_fewshot")
    if settings["output_type"] == ROLLING or own == 0:
        return 0
    return choice.shots if choice.shots is not None else own or 0


def _ready(choice: TaskChoice, task: Any, group: str, data: str, shots: int = 0) -> LoadedTask:
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(building.FEW_SHOT_SEED)
    return LoadedTask(
        name=task.config.task,
        task=task,
        kind=task.OUTPUT_TYPE,
        code=bool(task.config.unsafe_code),
        group=group,
        shots=shots,
        limit=choice.limit,
        chat_template=bool(choice.chat_template),
        metric=_metric(choice, task),
        version=str(task.VERSION),
        data=data,
    )


def _metric(choice: TaskChoice, task: Any) -> str:
    known: Iterable[str] = task.aggregation()
    if choice.metric is not None and choice.metric not in known:
        what = f"{choice.task} has no metric {choice.metric!r}."
        raise WorkbenchError(what, nearest(choice.metric, list(known)) or listed(list(known)))
    usual = [choice.metric or "", USUAL.get(choice.task, ""), *METRICS, *known]
    return next(name for name in usual if name in known)
