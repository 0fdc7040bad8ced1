"""A model's folder as conversations need it: its tokenizer, the special tokens that it names, its chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from workbench.errors import WorkbenchError

TEMPLATE_FILE = "chat_template.jinja"


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json, without truncation and padding. Raises `WorkbenchError`."""
    if not path.is_file():
        raise WorkbenchError(
            f"{path.parent} holds no tokenizer: tokenizer.json is missing.",
            "Copy the tokenizer's files that belong to the model into that folder.",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy the file anew from its source.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = False
    return tokenizer


def read_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, with what only special_tokens_map.json says."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy the file anew from its source.") from None
        if isinstance(content, dict):
            config |= {key: value for key, value in content.items() if value is not None}
    return config


def token_text(token: Any) -> str | None:
    """The text of a token that a config names, which may be written as a mapping."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def own_template(folder: Path, config: dict[str, Any]) -> str | None:
    """The chat template that the folder brings, as a file or inside its config."""
    path = folder / TEMPLATE_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # [{"name": ..., "template": ...}]
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) else None
