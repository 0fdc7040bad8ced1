"""Tasks of the harness, built from its own files or from settings, on local rows or on the hub's data.

Imports lm-eval inside its functions: call them in a process that may be heavy.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench.benchmarks import harness
from workbench.errors import WorkbenchError

CACHE = ".cache/huggingface"  # in the project
CONNECT_SECONDS = 3.0
FEW_SHOT_SEED = 1234  # the harness's own default
TRUE = {"1", "ON", "YES", "TRUE"}

_GIVEN_HOME = os.environ.get("HF_HOME")  # by the user, before anything here set it

Rows = Sequence[Mapping[str, Any]]


def prepare(project_root: Path) -> None:
    """Keep what libraries fetch inside the project, unless HF_HOME says otherwise, and the hub out of it until asked.

    Call it before lm-eval is imported; called later it still works.
    """
    home = _home(project_root)
    os.environ["HF_HOME"] = str(home)
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    from datasets import config, disable_progress_bars
    from huggingface_hub import constants

    config.HF_DATASETS_CACHE = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    config.HF_MODULES_CACHE = str(home / "modules")
    constants.HF_HUB_CACHE = os.environ.get("HF_HUB_CACHE") or str(home / "hub")
    disable_progress_bars()
    for name in ("lm_eval", "datasets", "lm_eval.api.task", "lm_eval.config.task"):
        logging.getLogger(name).setLevel(logging.ERROR)


def is_fetched(project_root: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the data set of a task was fetched from the hub before."""
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or _home(project_root) / "datasets")
    folder = cache / str(settings.get("dataset_path")).replace("/", "___")
    return (folder / str(settings.get("dataset_name") or "")).is_dir()


def _home(project_root: Path) -> Path:
    return Path(_GIVEN_HOME or project_root / CACHE)


def standard(name: str) -> dict[str, Any]:
    """The settings of a standard task with its functions, fresh at every call."""
    path = harness.tasks().get(name)
    if path is None:
        raise harness.unknown(name)
    from lm_eval.tasks._yaml_loader import load_yaml

    runs_code = bool(harness.settings(name).get("unsafe_code"))
    with _without_code_eval() if runs_code else _nothing():
        settings = dict(load_yaml(path, resolve_func=True))
    for key in ("tag", "group", "task_list"):
        settings.pop(key, None)
    if runs_code:
        # Programs are scored in a sandbox, and nowhere else.
        ks = next((item["k"] for item in settings["metric_list"] if "k" in item), [1])
        settings["metric_list"] = [
            {"metric": f"pass@{k}", "aggregation": "mean", "higher_is_better": True}
            for k in ([ks] if isinstance(ks, int) else ks)
        ]
        settings["process_results"] = _refuse
    return settings


def few_shot_split(settings: Mapping[str, Any]) -> str | None:
    """The split that worked examples come from, by the harness's rules.

    None where no data beside the task's own are needed: it has examples with it, or draws on what it asks.
    """
    more = settings.get("fewshot_config") or {}
    named = settings.get("fewshot_split") or more.get("split")
    if named is None and more.get("samples") is not None:
        return None
    split = named or settings.get("training_split") or settings.get("validation_split")
    return split if split != asked_split(settings) else None


def asked_split(settings: Mapping[str, Any]) -> str | None:
    """The split whose rows are the task's items."""
    return settings.get("test_split") or settings.get("validation_split")


def on_rows(settings: dict[str, Any], rows: Rows, few_shot: Rows | None) -> Any:
    """A task on local rows. Without `few_shot` it has no worked examples but its own.

    Raises `WorkbenchError` if the rows do not fit the task.
    """
    from lm_eval.api.task import ConfigurableTask

    name = settings["task"]
    if "class" in settings:
        what = f"{name} is written in Python, and brings its data with it."
        raise WorkbenchError(what, "Local rows cannot replace them.")
    asked, examples = asked_split(settings), few_shot_split(settings)
    splits = {asked: rows}
    if examples is not None and few_shot is not None:
        splits[examples] = few_shot
    elif examples is not None:
        settings |= {"fewshot_split": None, "training_split": None}
        if settings.get("test_split"):
            settings["validation_split"] = None
        if isinstance(settings.get("fewshot_config"), dict):
            settings["fewshot_config"] = {k: v for k, v in settings["fewshot_config"].items() if k != "split"}
    settings |= {"dataset_kwargs": None, "custom_dataset": lambda **_: _splits(splits)}
    try:
        return ConfigurableTask(config=settings)
    except WorkbenchError:
        raise
    except Exception as error:
        raise WorkbenchError(
            f"The rows of {name} do not fit the task: {_reason(error)}.",
            f"Add other ones: workbench benchmark-data add {name} FILE",
        ) from error


def on_hub(settings: dict[str, Any]) -> Any:
    """A task on the hub's data: those fetched before, else fetched now.

    Raises `WorkbenchError` if they are not here and cannot be had.
    """
    name = settings["task"]
    remedy = f"Add them from disk: workbench benchmark-data add {name} FILE"
    with _offline(True):
        try:
            return _made(settings)
        except Exception as error:
            logging.getLogger(__name__).debug("%s is not in the cache: %s", name, error)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE:
        raise Unavailable(f"The data of {name} are not here, and HF_HUB_OFFLINE forbids fetching them.", remedy)
    if not reachable():
        raise Unavailable(f"The data of {name} are not here, and the hub cannot be reached.", remedy)
    with _offline(False):
        try:
            return _made(settings)
        except Exception as error:
            raise Unavailable(f"The data of {name} cannot be fetched: {_reason(error)}.", remedy) from error


class Unavailable(WorkbenchError):
    """Data that are neither here nor to be had."""


def _made(settings: dict[str, Any]) -> Any:
    from lm_eval.api.task import ConfigurableTask

    settings = dict(settings)
    if "class" in settings:
        kind = settings["class"]
        return kind(config=settings)
    return ConfigurableTask(config=settings)


def _splits(splits: Mapping[Any, Rows]) -> Any:
    import datasets

    return datasets.DatasetDict({name: datasets.Dataset.from_list(list(rows)) for name, rows in splits.items()})


def _refuse(doc: Any, results: Any) -> dict[str, float]:
    raise WorkbenchError("Programs that a model wrote are not run here.", "Score them in the sandbox.")


@contextmanager
def _without_code_eval() -> Iterator[None]:
    """The code tasks' modules fetch a metric from the hub as they are imported, only to run code outside a sandbox:
    meanwhile `evaluate` is a stand-in."""

    class Metric:
        def compute(self, **_: Any) -> None:
            return None

    stand_in = types.ModuleType("evaluate")
    stand_in.load = lambda *_, **__: Metric()  # type: ignore[attr-defined]
    real = sys.modules.get("evaluate")
    sys.modules["evaluate"] = stand_in
    try:
        yield
    finally:
        if real is None:
            del sys.modules["evaluate"]
        else:
            sys.modules["evaluate"] = real


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Whether the libraries may ask the hub; they read the environment only once."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@functools.cache
def reachable() -> bool:
    """Whether the hub answers; the libraries take 24 s to find that it does not. A proxy is trusted."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__  # it says only that there was an error
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "") or type(error).__name__
    return text.rstrip(".")
