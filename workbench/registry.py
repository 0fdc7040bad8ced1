"""Finds an engine by its name and imports it only when it is used."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points

from workbench.contract import Capabilities, Engine
from workbench.errors import WorkbenchError

BUILT_IN = {
    "corpus": "workbench.corpus.engine:CorpusEngine",
    "preferences": "workbench.preferences.engine:PreferencesEngine",
    "benchmarks": "workbench.benchmarks.engine:BenchmarksEngine",
    "pytorch": "engines.pytorch:PyTorchEngine",
    "mlx": "engines.mlx:MlxEngine",
    "llamacpp": "engines.llamacpp:LlamaCppEngine",
}

CHATS_WITH = {"export": "llamacpp", "model": "pytorch"}
"""Kind of artifact -> the engine that opens it for generating, if nobody says another."""

ALSO_CHAT = {"model": ("mlx",)}
"""Kind of artifact -> further engines that open it; one from outside may open any."""


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


def chats_with(kind: str, asked: str | None) -> str:
    """The engine that opens an artifact of `kind` for generating: `asked`, or the usual one.

    Raises `WorkbenchError` if there is none called `asked`, or it opens no such artifacts.
    """
    if asked is None:
        return CHATS_WITH[kind]
    able = (CHATS_WITH[kind], *ALSO_CHAT.get(kind, ()))
    if (asked in names() and asked not in BUILT_IN) or asked in able:
        return asked
    remedy = f"{'An' if kind == 'export' else 'A'} {kind} is opened by: {', '.join(able)}."
    if asked not in names():
        raise WorkbenchError(f"There is no engine called {asked!r}.", remedy)
    raise WorkbenchError(f"The engine {asked} opens no {kind}.", remedy)


def capabilities() -> dict[str, Capabilities]:
    """What every known engine can do on this machine."""
    return {name: engine(name).capabilities() for name in names()}
