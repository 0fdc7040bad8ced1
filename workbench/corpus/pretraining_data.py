"""What a pretraining is trained and measured on, from its recipe and its shards.

Every engine takes its batches from here, and so does the inspector: what that shows is what is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.corpus.mixture import Batches, Phase
from workbench.corpus.packing import TokenStream, Windows, split, validation_windows
from workbench.corpus.shards import Shards
from workbench.errors import WorkbenchError
from workbench.recipes.pretrain import PretrainRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One corpus of a training."""

    name: str
    windows: Windows  # to train on
    train_tokens: int
    validation: TokenStream
    split: str  # how it was held out: "documents" or "tail"
    share: float  # of all windows of the whole training
    epochs: float  # times that the whole training goes through it


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingData:
    """The batches, and the corpora that they come from."""

    batches: Batches
    sources: tuple[Source, ...]
    vocab_size: int

    def validation_windows(self, max_tokens: int | None) -> list[np.ndarray]:
        """Held-out sequences of each source, int64 [windows, length + 1], all together about `max_tokens` at most.

        Half of that is shared out evenly, half by what is trained on: the small ones are measured too.
        """
        length = self.batches.length
        if max_tokens is None:
            return [validation_windows(item.validation, length=length, max_tokens=item.validation.tokens)
                    for item in self.sources]  # fmt: skip
        return [
            validation_windows(
                item.validation, length=length, max_tokens=int(max_tokens * (item.share + 1 / len(self.sources)) / 2)
            )
            for item in self.sources
        ]


def pretraining_data(recipe: PretrainRecipe, inputs: Mapping[str, Path]) -> PretrainingData:
    """The data of a resolved recipe; `inputs`: role -> the artifact's folder.

    Raises `WorkbenchError` if a corpus is too small, or shards were made with different vocabularies.
    """
    roles = recipe.shards_roles()
    data, length, size = recipe.data, recipe.model.max_length or 1, recipe.batch.batch_size or 1
    names, parts, windows, vocabularies = list(roles.values()), [], [], set()
    for number, (role, name) in enumerate(roles.items()):
        shards = Shards(inputs[role])
        vocabularies.add(shards.vocab_size)
        try:
            part = split(shards, method=data.validation_split, fraction=data.validation_fraction, seed=data.seed)
            windows.append(Windows(part.train, length=length, seed=data.seed, number=number))
        except WorkbenchError as error:
            if len(roles) == 1:
                raise
            raise WorkbenchError(f"{name}: {error.what}", error.remedy) from None
        parts.append(part)
    if len(vocabularies) > 1:
        listed = " and ".join(f"{number:,}" for number in sorted(vocabularies))
        raise WorkbenchError(
            f"The shards were made with vocabularies of {listed} tokens.", "Make them anew with one tokenizer."
        )
    total = recipe.schedule.max_steps
    tokens = [part.train.tokens for part in parts]
    phases = [Phase(round(item.at * total), item.shares(names, tokens)) for item in recipe.mixtures()]
    batches = Batches(windows, phases, batch_size=size, seed=data.seed)
    drawn = batches.drawn(total).tolist()
    return PretrainingData(
        batches=batches,
        sources=tuple(
            Source(
                name=name,
                windows=own,
                train_tokens=part.train.tokens,
                validation=part.validation,
                split=part.method,
                share=count / sum(drawn),
                epochs=count / own.count,
            )
            for name, own, part, count in zip(names, windows, parts, drawn, strict=True)
        ),
        vocab_size=vocabularies.pop(),
    )
