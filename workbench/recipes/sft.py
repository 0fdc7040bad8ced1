"""Recipes that train on texts to imitate: conversations (SFT) and corpora (continued pretraining)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import Reads, Section
from workbench.recipes.tuning import TuningRecipe


class ConversationSection(Section):
    """How conversations become sequences."""

    train_on: Literal["assistant", "completion", "all"] = Field(
        "assistant",
        description="assistant: every answer. completion: the last answer alone. all: the questions too.",
    )
    packing: bool = Field(
        True, description="Put several conversations into a sequence; attention stops at their boundaries."
    )
    neftune_noise_alpha: float = Field(
        0.0, ge=0, description="Noise on the embeddings (NEFTune, Jain et al. 2023); 5 is usual, 0 is none."
    )
    validation_fraction: float = Field(
        0.05, gt=0, lt=0.9, description="Share of the conversations held out, by their first question."
    )


class SftRecipe(TuningRecipe):
    """Supervised fine-tuning: teach a model to answer as in a set of conversations."""

    reads: ClassVar[Mapping[str, Reads]] = {"base": "model", "data": "chats"}
    default_name: ClassVar[str] = "{base}-sft"

    stage: Literal["sft"] = "sft"
    data: list[str] = Field(
        min_length=1,
        description="Conversations to learn from; several with weights make a mixture: --data a=0.7 --data b=0.3.",
    )
    conversations: ConversationSection = Field(default_factory=ConversationSection)


class ContinueRecipe(TuningRecipe):
    """Continued pretraining: train a model further on the plain text of a corpus."""

    reads: ClassVar[Mapping[str, Reads]] = {"base": "model", "corpus": "corpus"}
    default_name: ClassVar[str] = "{base}-{corpus}"

    stage: Literal["continue"] = "continue"
    corpus: str = Field(description="The corpus to train on.")
    validation_fraction: float = Field(0.05, gt=0, lt=0.9, description="Share of the documents held out.")
