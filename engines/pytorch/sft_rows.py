"""Rows to train on and rows held out, from the artifacts that a recipe names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.pytorch.tokenizer import TextTokenizer
from workbench.corpus.chats.conversations import read_conversations
from workbench.corpus.chats.packing import TrainingRows
from workbench.corpus.chats.split import held_out_rows, prompt_key
from workbench.corpus.chats.tokens import ChatTokenizer, Conversation, Encoded
from workbench.corpus.documents import iterate_documents
from workbench.errors import WorkbenchError
from workbench.recipes.base import weighted
from workbench.recipes.sft import ContinueRecipe, SftRecipe

HELD_OUT_CHARACTERS = 64 << 10
NOTHING = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Split:
    """Both parts, and some of the held-out text."""

    train: TrainingRows
    held_out: TrainingRows
    text: str


def conversation_rows(
    recipe: SftRecipe, inputs: Mapping[str, Path], tokenizer: ChatTokenizer, *, max_length: int, packing: bool
) -> Split:
    """The conversations of all sets, mixed by their weights.

    Raises `WorkbenchError` if a set has too few conversations, or none with something to train on.
    """
    train: list[list[Encoded]] = []
    held_out: list[Encoded] = []
    texts: list[str] = []
    for number in range(len(recipe.data)):
        folder = inputs[f"data.{number}"]
        rows: list[Conversation] = list(read_conversations(folder))
        keys = [prompt_key(row.messages) for row in rows]
        chosen = held_out_rows(keys, recipe.conversations.validation_fraction, recipe.seed)
        if not chosen.any() or chosen.all():
            raise WorkbenchError(
                f"{folder.name} has {len(set(keys))} different first questions: too few to hold some out.",
                "Give at least two, better a hundred.",
            )
        encoded = tokenizer.conversations(rows, recipe.conversations.train_on)
        train.append([row for row, out in zip(encoded, chosen, strict=True) if not out])
        out_rows = [row for row, out in zip(encoded, chosen, strict=True) if out]
        held_out += out_rows
        texts += [row.text for row in out_rows]
    mixed = len(train) > 1
    settings: dict[str, Any] = {
        "max_length": max_length,
        "batch_size": recipe.batch.batch_size or 1,
        "packing": packing,
    }
    return Split(
        TrainingRows(
            train if mixed else train[0],
            seed=recipe.seed,
            shares=[weighted(text)[1] for text in recipe.data] if mixed else None,
            **settings,
        ),
        TrainingRows(held_out, seed=recipe.seed, **settings),
        _beginning(texts),
    )


def document_rows(recipe: ContinueRecipe, corpus: Path, base: Path, *, max_length: int, packing: bool) -> Split:
    """The documents of a corpus, each as pieces of up to `max_length` tokens that follow one another.

    Raises `WorkbenchError` if there are too few to hold some out.
    """
    texts = [text for batch in iterate_documents(corpus) for text in batch.column("text").to_pylist()]
    chosen = held_out_rows(texts, recipe.validation_fraction, recipe.seed)
    if not chosen.any() or chosen.all():
        raise WorkbenchError(
            f"{corpus.name} has {len(texts)} documents: too few to hold some out.", "Give at least two."
        )
    tokenizer = TextTokenizer(base)
    settings: dict[str, Any] = {
        "max_length": max_length,
        "batch_size": recipe.batch.batch_size or 1,
        "packing": packing,
    }

    def rows(out: bool) -> TrainingRows:
        own = (text for text, held in zip(texts, chosen, strict=True) if held == out)
        return TrainingRows(_pieces(own, tokenizer, max_length), seed=recipe.seed, **settings)

    held_text = [text for text, held in zip(texts, chosen, strict=True) if held]
    return Split(rows(False), rows(True), _beginning(held_text))


def _pieces(texts: Iterable[str], tokenizer: TextTokenizer, max_length: int) -> Iterator[Encoded]:
    begin = [] if tokenizer.bos is None else [tokenizer.bos]
    end = [] if tokenizer.eos is None else [tokenizer.eos]
    for text in texts:
        ids_T = np.array([*begin, *tokenizer.encode(text, special=False), *end], np.int32)
        # The last token of a piece begins the next, so that each but the first is predicted once.
        for start in range(0, max(1, len(ids_T) - 1), max_length - 1):
            ids_L = ids_T[start : start + max_length]
            trained_L = np.ones(len(ids_L), bool)
            trained_L[:1] = False
            yield Encoded(ids_L, trained_L, NOTHING, NOTHING, "")


def _beginning(texts: list[str]) -> str:
    """Some of the texts, enough for the export's check."""
    kept, length = [], 0
    for text in texts:
        if length > HELD_OUT_CHARACTERS:
            break
        kept.append(text)
        length += len(text)
    return "\n\n".join(kept)
