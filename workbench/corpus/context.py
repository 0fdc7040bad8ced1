"""How many tokens a model's folder says that it reads."""

from __future__ import annotations

import json
from pathlib import Path

MOST_ADAPTERS = 8  # on top of one another


def context_length(folder: Path, depth: int = MOST_ADAPTERS) -> int | None:
    """The context of the model in `folder`, or of the base that its adapter sits in; None where nothing says it."""
    try:
        if (folder / "config.json").is_file():
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config = config.get("text_config") or config
            return config.get("max_position_embeddings") or config.get("n_positions")
        adapter = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = (folder / adapter["base_model_name_or_path"]).resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return context_length(base, depth - 1) if depth else None
