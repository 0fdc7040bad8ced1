"""Recipes of the stages that make tokenizers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH, Reads, Recipe, WeightedNames, weighted

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
SAMPLE_MIB = {"bpe": 256, "unigram": 8}  # Unigram's trainer takes minutes and gigabytes beyond 10 MiB


class TokenizerRecipe(Recipe):
    """Train a tokenizer over bytes on one corpus or several."""

    produces: ClassVar[str] = "tokenizer"
    reads: ClassVar[Mapping[str, Reads]] = {"corpus": "corpus"}
    default_name: ClassVar[str] = "{corpus}-{kind}"

    stage: Literal["tokenizer"] = "tokenizer"
    corpus: WeightedNames = Field(
        min_length=1, description="Corpora to learn from; NAME=0.7 gives one that share of the sample."
    )
    kind: Literal["bpe", "unigram"] = Field(
        "bpe",
        description="bpe merges frequent pairs (Sennrich et al. 2016); unigram keeps likely pieces (Kudo 2018), "
        "and cannot be exported to GGUF.",
    )
    vocab_size: int = Field(
        8192,
        ge=512,
        le=262_144,
        description="Tokens in the vocabulary, special ones included. Larger ones shorten texts and grow the model.",
        json_schema_extra={"unit": "tokens"},
    )
    pre_tokenizer: Literal["qwen2", "llama3", "gpt-2", "smollm"] = Field(
        "qwen2",
        description="How text is split first, as llama.cpp knows it. Digits: one by one (qwen2, smollm), "
        "up to three together (llama3), whole numbers (gpt-2).",
    )
    extra_tokens: list[str] = Field(
        default_factory=list, description="Special tokens besides those for documents and chats, such as <|tool|>."
    )
    sample_mib: int | None = Field(
        None,
        ge=1,
        description="Train on at most this much text, drawn evenly from each corpus. Derived: 256, for unigram 8.",
        json_schema_extra={"unit": "MiB"},
    )

    def resolved(self) -> Self:
        require_tokens(self.extra_tokens, "extra_tokens")
        names = [weighted(text)[0] for text in self.corpus]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise WorkbenchError(f"The corpus {twice!r} is given twice.", "Give it once, with the sum of its weights.")
        sample = self.sample_mib or SAMPLE_MIB[self.kind]
        return self.model_copy(update={"name": self.title(), "sample_mib": sample})


class ImportTokenizerRecipe(Recipe):
    """Bring in a tokenizer that was trained elsewhere: a tokenizer.json, or the folder of a model."""

    produces: ClassVar[str] = "tokenizer"
    default_name: ClassVar[str] = "imported"

    stage: Literal["import-tokenizer"] = "import-tokenizer"
    source: str = Field(
        description="A tokenizer.json, or a folder with one. It must be byte-level.", json_schema_extra=PATH
    )

    def contents(self) -> list[str]:
        """Its own files alone: a model's weights beside them do not count."""
        folder = Path(self.source) if os.path.isdir(self.source) else Path(self.source).parent
        named = [] if os.path.isdir(self.source) else [self.source]
        beside = (str(folder / name) for name in TOKENIZER_FILES)
        return named + [path for path in beside if os.path.isfile(path) and path not in named]


class ExtendTokenizerRecipe(Recipe):
    """Add tokens to a tokenizer; those that it has keep their ids."""

    produces: ClassVar[str] = "tokenizer"
    reads: ClassVar[Mapping[str, Reads]] = {"tokenizer": "tokenizer"}
    default_name: ClassVar[str] = "{tokenizer}-extended"

    stage: Literal["extend-tokenizer"] = "extend-tokenizer"
    tokenizer: str = Field(description="The tokenizer to extend.")
    tokens: list[str] = Field(min_length=1, description="The new tokens, each a text that becomes one token.")
    special: bool = Field(
        False, description="They mark places, as chat tokens do: never made from a document's text, left out of output."
    )

    def resolved(self) -> Self:
        require_tokens(self.tokens, "tokens")
        return self.model_copy(update={"name": self.title()})


def require_tokens(tokens: list[str], field: str) -> None:
    """Raises `WorkbenchError` for texts that cannot be tokens of their own."""
    for text in tokens:
        if not text.strip():
            raise WorkbenchError(f"{field}: {text!r} cannot be a token.", "Give a text that is not blank.")
        if tokens.count(text) > 1:
            raise WorkbenchError(f"{field}: {text!r} is given twice.", "Give each token once.")
