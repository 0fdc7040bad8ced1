"""A model folder's tokenizer: text to ids and back, also a token at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from workbench.errors import WorkbenchError

TEMPLATE_FILE = "chat_template.jinja"
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", TEMPLATE_FILE)


class TextTokenizer:
    """`tokenizer.json` with the special tokens that `tokenizer_config.json` names."""

    def __init__(self, folder: Path):
        """Raises `WorkbenchError` if there is no readable tokenizer in `folder`."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise WorkbenchError(
                f"{folder} holds no tokenizer: tokenizer.json is missing.",
                "Copy the tokenizer's files that belong to the model into that folder.",
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            self._config = _read_json(folder / "tokenizer_config.json")
        except Exception as error:  # tokenizers raises bare Exception
            raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy the file anew from its source.") from error
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.bos, self.eos, self.pad = (self.special_id(f"{role}_token") for role in ("bos", "eos", "pad"))
        self.adds_bos = self.bos is not None and self._adds_bos()
        template = folder / TEMPLATE_FILE
        self.chat_template: str | None = (
            template.read_text(encoding="utf-8") if template.is_file() else self._config.get("chat_template")
        )

    def special_id(self, role: str) -> int | None:
        """The id of the token that the config names as e.g. `bos_token`."""
        text = self.special_text(role)
        return None if text is None else self._tokenizer.token_to_id(text)

    def special_text(self, role: str) -> str | None:
        value = self._config.get(role)
        return value.get("content") if isinstance(value, dict) else value

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Ids without BOS; texts of special tokens become their ids only if `special`."""
        self._tokenizer.encode_special_tokens = not special
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text, without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def pieces(self) -> TextPieces:
        return TextPieces(self._tokenizer)

    def _adds_bos(self) -> bool:
        if "add_bos_token" in self._config:
            return bool(self._config["add_bos_token"])
        self._tokenizer.encode_special_tokens = False
        return self._tokenizer.encode("a", add_special_tokens=True).ids[:1] == [self.bos]


class TextPieces:
    """Ids in, whole characters out: bytes of a character that is not complete yet wait."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def add(self, token: int) -> str:
        return self._stream.step(self._tokenizer, token) or ""


def copy_tokenizer(source: Path, folder: Path, *, chat_template: bool) -> None:
    """Copy the tokenizer's files from `source` into `folder`."""
    for name in FILES:
        if (source / name).is_file() and (chat_template or name != TEMPLATE_FILE):
            shutil.copyfile(source / name, folder / name)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
