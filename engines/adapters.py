"""Folders of adapters, in PEFT's format.

An adapter's folder has `adapter_config.json`, whose `base_model_name_or_path` leads from the folder to its base,
and `adapter_model.safetensors`. A base may itself be an adapter.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """The folder of an adapter's base.

    Raises `WorkbenchError` if it is gone.
    """
    config = read_config(folder / ADAPTER_CONFIG)
    named = str(config.get("base_model_name_or_path"))
    base = Path(os.path.normpath(folder.resolve() / named))
    if not base.is_dir():
        raise WorkbenchError(
            f"{folder} is an adapter, and its base {named} is missing.",
            "An adapter needs its base beside it: restore that folder, or merge the adapter before copying it.",
        )
    return base


def adapter_depth(folder: Path) -> int:
    """How many adapters lie on each other until a whole model comes."""
    return 1 + adapter_depth(base_of(folder)) if is_adapter(folder) else 0


def read_config(path: Path) -> dict[str, Any]:
    """Raises `WorkbenchError` if the file cannot be read as a JSON object."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy the file anew from its source.") from error
    if not isinstance(config, dict):
        raise WorkbenchError(f"{path} cannot be read: it holds no object.", "Copy the file anew from its source.")
    return config
