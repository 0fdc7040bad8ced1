"""What the harness (lm-eval) defines, read from its files without importing it: names, groups, plain settings.

Its own index takes 8 s to build; the names alone take 0.3 s.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recipes.nearest import nearest

INSTALL = "Install it: pip install 'llm-workbench[benchmarks]'"

# What people call a task -> what the harness calls it.
ALIASES = {"lambada": "lambada_openai", "human_eval": "humaneval", "super_glue_rte": "sglue_rte", "glue_rte": "rte"}
LIKENESS = 0.7  # of a name to one of 13,000: "nonsense" is 0.64 like commonsense_qa, "gsm" 0.75 like gsm8k
GROUPED = ("mmlu", "blimp", "truthfulqa")  # their tasks are named after them

_NAME = re.compile(rb"""^["']?(task|group)["']?:[ \t]*["']?([^\s"'\[\]]+)["']?[ \t]*$""", re.MULTILINE)
_TAG = re.compile(
    rb"""^["']?tag["']?:[ \t]*(?:["']?([^\s"'\[\]]+)["']?[ \t]*$|((?:\n[ \t]*-[ \t]*\S+)+))""", re.MULTILINE
)


@functools.cache
def folder() -> Path:
    """Where the harness's tasks lie. Raises `WorkbenchError` if it is not installed."""
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise WorkbenchError("Benchmarks need lm-eval, which is not installed.", INSTALL)
    return Path(found.submodule_search_locations[0]) / "tasks"


@functools.cache
def tasks() -> Mapping[str, Path]:
    """Every task of the harness with the file that defines it."""
    return MappingProxyType(_index()[0])


@functools.cache
def version() -> str:
    """The harness's version."""
    import importlib.metadata

    return importlib.metadata.version("lm_eval")


def resolve(name: str) -> str:
    """The harness's name for `name`."""
    return ALIASES.get(name, name)


def is_group(name: str) -> bool:
    """Whether `name` stands for several tasks of the harness: a group or a tag."""
    _, groups, tags = _index()
    return name not in tasks() and (name in groups or name in tags)


def members(name: str) -> list[str]:
    """The tasks of a group or tag, sorted; those of groups within it, too."""
    import yaml

    _, groups, tags = _index()
    found: set[str] = set()
    if name in groups:
        listed = yaml.load(groups[name].read_bytes(), Loader=_loader()).get("task") or []
        for item in [listed] if isinstance(listed, str) else listed:
            inner = item if isinstance(item, str) else str(item.get("task") or item.get("group"))
            found |= {inner} if inner in tasks() else set(members(inner)) if inner != name else set()
    tagged = tags.get(name, set())
    # Tags are inherited from included files, which lie in the same folder.
    beside = {tasks()[task].parent for task in tagged}
    found |= tagged | {task for task, path in tasks().items() if path.parent in beside and name in _tags_of(task)}
    return sorted(found)


class Function(str):
    """A function that a file of the harness names: `utils.process_docs`."""


def settings(name: str) -> dict[str, Any]:
    """What the harness's file says of a task, with what it includes; functions stay names (`Function`).

    Raises `WorkbenchError` with the nearest name if it has no such task.
    """
    if name not in tasks():
        raise unknown(name)
    return _read(tasks()[name])


def unknown(name: str, others: tuple[str, ...] = ()) -> WorkbenchError:
    """The error for a name that is no task; `others` are further names that would have done."""
    near = nearest(name, [*others, *tasks(), *_index()[1]], likeness=LIKENESS)
    remedy = near if near.startswith("Did") else "See what panels use: workbench panels"
    return WorkbenchError(f"There is no task called {name!r}.", remedy)


def group_of(name: str) -> str:
    """The standard benchmark that a task is part of: "mmlu" of "mmlu_anatomy"; empty where it stands alone."""
    return next((group for group in GROUPED if name.startswith(f"{group}_")), "")


def _tags_of(task: str) -> list[str]:
    given = settings(task).get("tag") or []
    return [given] if isinstance(given, str) else given


def _read(path: Path) -> dict[str, Any]:
    import yaml

    plain = yaml.load(path.read_bytes(), Loader=_loader())
    included = plain.pop("include", [])
    merged: dict[str, Any] = {}
    for other in [included] if isinstance(included, str) else included:
        merged |= _read(path.parent / other)
    return merged | plain


@functools.cache
def _loader() -> Any:
    """YAML's safe loader, for which a function is its name."""
    import yaml

    base: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

    class Loader(base): ...

    Loader.add_constructor("!function", lambda made, node: Function(made.construct_scalar(node)))
    return Loader


@functools.cache
def _index() -> tuple[dict[str, Path], dict[str, Path], dict[str, set[str]]]:
    """(task -> file, group -> file, tag -> tasks)."""
    named: dict[str, Path] = {}
    groups: dict[str, Path] = {}
    tags: dict[str, set[str]] = {}
    for path in sorted(folder().rglob("*.yaml")):
        content = path.read_bytes()
        here = [(kind, name.decode()) for kind, name in _NAME.findall(content)]
        groups |= {name: path for kind, name in here if kind == b"group"}
        if any(kind == b"group" for kind, _ in here):
            continue
        names = {name for kind, name in here if kind == b"task"}
        named |= dict.fromkeys(names, path)
        for alone, listed in _TAG.findall(content):
            for tag in [alone] if alone else re.findall(rb"-[ \t]*[\"']?([^\s\"']+)", listed):
                tags.setdefault(tag.decode(), set()).update(names)
    return named, groups, tags
