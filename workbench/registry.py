"""Finds an engine by its name and imports it only when it is used."""

from __future__ import annotations

import difflib
import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path

from workbench.contract import Capabilities, Engine, FormatEngine, RewardEngine
from workbench.errors import WorkbenchError

BUILT_IN = {
    "corpus": "workbench.corpus.engine:CorpusEngine",
    "preferences": "workbench.preferences.engine:PreferencesEngine",
    "benchmarks": "workbench.benchmarks.engine:BenchmarksEngine",
    "pytorch": "engines.pytorch:PyTorchEngine",
    "mlx": "engines.mlx:MlxEngine",
    "llamacpp": "engines.llamacpp:LlamaCppEngine",
}

ANSWERING = ("export", "model")
"""The kinds of artifacts that are language models."""

WHOLE = ("pytorch", "mlx")
"""The engines that open a Hugging Face folder for generating, the usual one first."""


def names() -> list[str]:
    """All engines that are known, whether or not they can run here."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group="workbench.engines"))})


def engine(name: str) -> Engine:
    """The engine called `name`.

    Raises `WorkbenchError` if there is none of that name.
    """
    target = BUILT_IN.get(name)
    if target is None:
        for point in entry_points(group="workbench.engines"):
            if point.name == name:
                return point.load()()
        near = difflib.get_close_matches(name, names(), 1)
        remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names())}."
        raise WorkbenchError(f"There is no engine called {name!r}.", remedy)
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)()


def openers(path: Path) -> tuple[str, ...]:
    """The engines that open a model for generating, the usual one first; one from outside may open any."""
    if path.suffix == ".gguf" or path.is_file() or (path / "model.gguf").is_file():
        return ("llamacpp",)
    return ("mlx",) if _is_quantised_by_mlx(path) else WHOLE


def opener(path: Path, asked: str | None = None) -> str:
    """The engine that opens the model in `path` for generating: `asked`, or the usual one.

    Raises `WorkbenchError` if there is none called `asked`, or it opens no such model.
    """
    able = openers(path)
    if asked is None:
        return able[0]
    _require_name(asked)
    if asked not in able and asked in BUILT_IN:
        weights = {"llamacpp": "a GGUF file", "mlx": "a model in MLX's number formats"}.get(able[0], "a whole model")
        raise WorkbenchError(
            f"The engine {asked} does not open {path.name}, which is {weights}.", f"It is opened by: {', '.join(able)}."
        )
    return asked


def opener_of_several(path: Path, asked: str | None) -> str:
    """As `opener`, where models are opened together: `asked` for those that it opens, the usual one for the others."""
    able = openers(path)
    return asked if asked is not None and (asked in able or asked not in BUILT_IN) else able[0]


def reward_opener(path: Path, asked: str | None = None) -> RewardEngine:
    """The engine that opens the reward model in `path` here: `asked`, or the first that can.

    Raises `WorkbenchError` if `asked` opens none, or no engine here does.
    """
    lacking = []
    for name in openers(path) if asked is None else (asked,):
        found = engine(name)
        if not isinstance(found, RewardEngine):
            remedy = "Leave out --engine." if asked else "Give what workbench reward made."
            raise WorkbenchError(f"The engine {name} opens no reward models.", remedy)
        able = found.capabilities()
        if able.available:
            return found
        lacking.append(able)
    raise WorkbenchError(lacking[0].reason, lacking[0].install and f"Install it: {lacking[0].install}")


def require_opener(name: str) -> None:
    """Raises `WorkbenchError` if no engine of this name opens models for generating here."""
    _require_name(name)
    able = engine(name).capabilities()
    if not able.available:
        raise WorkbenchError(able.reason, able.install and f"Install it: {able.install}")


def _require_name(name: str) -> None:
    able = [*WHOLE, "llamacpp", *(other for other in names() if other not in BUILT_IN)]
    if name not in able:
        remedy = f"Models are opened by: {', '.join(able)}."
        if name not in names():
            raise WorkbenchError(f"There is no engine called {name!r}.", remedy)
        raise WorkbenchError(f"The engine {name} opens no model.", remedy)


def _is_quantised_by_mlx(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "quantization" in config


def why_no_format(name: str, weights: str) -> tuple[str, str] | None:
    """Why the engine called `name` cannot hold, or write, `weights` in that number format here, and what to do; None
    if it can. An engine that can tell without loading its libraries does."""
    found = engine(name)
    if isinstance(found, FormatEngine):
        return found.lacking_formats().get(weights)
    able = found.capabilities()
    return able.lacking_formats.get(weights) if able.available else (able.reason, able.install)


def capabilities() -> dict[str, Capabilities]:
    """What every known engine can do on this machine."""
    return {name: engine(name).capabilities() for name in names()}
