"""A Hugging Face folder, read lazily: the weights stay on the disk until one is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from workbench.errors import WorkbenchError


class Checkpoint:
    """`config.json`, the tokenizer's files and `model*.safetensors` of a folder."""

    def __init__(self, folder: Path):
        """Raises `WorkbenchError` if the folder lacks a file or a weight file is broken."""
        self.folder = folder
        self.config: dict[str, Any] = self._json("config.json", required=True)
        if not (folder / "tokenizer.json").exists():
            raise WorkbenchError(
                f"The model folder {folder} has no tokenizer.json.",
                "Copy the tokenizer's files beside its config.json.",
            )
        self.tokenizer: dict[str, Any] = self._json("tokenizer.json", required=True)
        self.tokenizer_config: dict[str, Any] = self._json("tokenizer_config.json")
        self.generation_config: dict[str, Any] = self._json("generation_config.json")
        self._files = self._open_weights()
        self._place = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118 - not a dict

    @property
    def names(self) -> list[str]:
        """The tensors' names, in the files' order."""
        return list(self._place)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._place[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """As safetensors says it: "F32", "F16", "BF16", …"""
        return self._place[name].get_slice(name).get_dtype()

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor from the disk."""
        return self._place[name].get_tensor(name)

    def chat_template(self) -> str | None:
        """The template that transformers would use: the file first, else the tokenizer's configuration."""
        file = self.folder / "chat_template.jinja"
        if file.exists():
            return file.read_text(encoding="utf-8")
        template = self.tokenizer_config.get("chat_template")
        if isinstance(template, list):  # [{"name": "default", "template": …}, …]
            named = {item["name"]: item["template"] for item in template}
            template = named.get("default")
        return template or None

    def special_token(self, role: str) -> str | None:
        """The text of `bos_token`, `eos_token`, `pad_token` or `unk_token`, where there is one."""
        value = self.tokenizer_config.get(role)
        return value.get("content") if isinstance(value, dict) else value

    def stop_tokens(self) -> list[int]:
        """Ids at which the checkpoint's generation ends, as its configurations say."""
        for source in (self.generation_config, self.config):
            value = source.get("eos_token_id")
            if value is not None:
                return list(value) if isinstance(value, list) else [value]
        return []

    def _json(self, name: str, *, required: bool = False) -> dict[str, Any]:
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not required:
                return {}
            raise WorkbenchError(f"{self.folder} has no {name}.", "An export needs a Hugging Face folder.") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise WorkbenchError(
                f"{path} is not valid JSON: {error}.", "Make the model anew or restore the file."
            ) from None

    def _open_weights(self) -> list[Any]:
        index = self._json("model.safetensors.index.json")
        names = sorted(set(index.get("weight_map", {}).values())) or ["model.safetensors"]
        files = []
        for name in names:
            path = self.folder / name
            if not path.exists():
                raise WorkbenchError(f"{self.folder} has no {name}.", "An export needs the weights as safetensors.")
            try:
                files.append(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise WorkbenchError(
                    f"{path} is not a whole safetensors file ({path.stat().st_size} bytes: {error}).",
                    "It was cut short or damaged: make the model anew or copy it again.",
                ) from None
        return files
