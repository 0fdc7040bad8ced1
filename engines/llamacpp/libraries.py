"""gguf and llama-cpp-python: whether they are here, and llama.cpp's log kept off the terminal."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import Any

from workbench.errors import WorkbenchError

DISTRIBUTIONS = {"gguf": "gguf", "llama_cpp": "llama-cpp-python"}  # module -> what installs it

INSTALL = (
    'make gguf (in a checkout), or pip install "llm-workbench[gguf]". '
    "It builds llama.cpp, which needs a C++ compiler and cmake and takes some minutes."
)


def missing() -> list[str]:
    """The distributions that are not installed; looked up anew each time, as they may arrive during a run."""
    importlib.invalidate_caches()
    return [name for module, name in DISTRIBUTIONS.items() if importlib.util.find_spec(module) is None]


def versions() -> dict[str, str]:
    """Distribution -> version, of those that are installed."""
    found = {}
    for name in DISTRIBUTIONS.values():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gguf() -> Any:
    """The module `gguf`; raises `WorkbenchError` where it is missing."""
    return _import("gguf")


_log: deque[str] = deque(maxlen=200)
_listeners: list[Callable[[str], None]] = []
_partial, _level = "", 0
_callback: Any = None  # ctypes frees a callback that nobody holds, and llama.cpp then calls into nothing


def llama() -> Any:
    """llama.cpp's C functions, `llama_cpp.llama_cpp`, with the log captured and the backend started.

    Raises `WorkbenchError` where llama-cpp-python is missing or does not load.
    """
    global _callback
    if _callback is None:
        _import("llama_cpp")
        low = importlib.import_module("llama_cpp.llama_cpp")
        _callback = low.llama_log_callback(_hear)
        low.llama_log_set(_callback, ctypes.c_void_p(0))
        low.llama_backend_init()
    return importlib.import_module("llama_cpp.llama_cpp")


def last_log_lines(count: int = 3) -> str:
    """llama.cpp's latest complaints, for an error message."""
    return " / ".join(list(_log)[-count:])


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener` with every line that llama.cpp logs meanwhile, on the thread that it logs from."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _hear(level: int, text: bytes, user_data: Any) -> None:
    global _partial, _level
    _level = _level if level == 5 else level  # 5 continues the line before; 3 is a warning, 4 an error
    *lines, _partial = (_partial + text.decode("utf-8", "replace")).split("\n")
    for line in lines:
        for listener in _listeners:
            listener(line)
        if _level in (3, 4) and line.strip():
            _log.append(line.strip())


def _import(module: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if importlib.util.find_spec(module) is None:
            raise WorkbenchError(f"{DISTRIBUTIONS[module]} is not installed.", f"Install it: {INSTALL}") from None
        raise WorkbenchError(
            f"{DISTRIBUTIONS[module]} is installed but does not load: {error}.", f"Install it anew: {INSTALL}"
        ) from error
    except (OSError, RuntimeError) as error:  # llama_cpp's shared library lacks something on this machine
        raise WorkbenchError(
            f"{DISTRIBUTIONS[module]} is installed but does not load: {error}.", f"Install it anew: {INSTALL}"
        ) from error
