"""What a model's folder holds beside the weights, and how its tokenizer and it have to fit each other."""

from __future__ import annotations

import shutil
from pathlib import Path

from engines.held_out import HELD_OUT
from engines.tokenizer import FILES, TEMPLATE_FILE
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError


def pad_id(tokenizer: ChatTokenizer) -> int:
    """What fills rows up; it is never computed with."""
    return next((found for found in (tokenizer.pad_id, tokenizer.eos_id) if found is not None), 0)


def copy_companions(source: Path, folder: Path, *, template: str | None) -> None:
    """The tokenizer's files and the held-out text from `source`, and the chat template that was trained on."""
    for name in (*FILES, HELD_OUT):
        if name != TEMPLATE_FILE and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if template is not None:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def answer_ends(named: int | list[int] | None, tokenizer: ChatTokenizer) -> list[int]:
    """The tokens at which generation stops: those that end an answer, besides those `named` so far."""
    before = named if isinstance(named, list) else [named]
    return list(dict.fromkeys([*tokenizer.end_ids, *(end for end in before if end is not None)]))


def refuse_foreign_tokenizer(embeddings: int, tokenizer: ChatTokenizer, folder: Path) -> None:
    """Raises `WorkbenchError` if the tokenizer in `folder` has more tokens than the model has embeddings."""
    if tokenizer.vocab_size > embeddings:
        raise WorkbenchError(
            f"The tokenizer in {folder.name} has {tokenizer.vocab_size:,} tokens, and the model's embeddings "
            f"{embeddings:,}.",
            "They do not belong together: copy the tokenizer's files that came with the model.",
        )
