"""Recipes of the stages that turn text into tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import NOT_IDENTITY, PATH, Reads, Recipe


class ImportRecipe(Recipe):
    """Read text files into a corpus: normalised, without exact duplicates."""

    produces: ClassVar[str] = "corpus"
    default_name: ClassVar[str] = "corpus"

    stage: Literal["import"] = "import"
    sources: list[str] = Field(
        min_length=1,
        description="Files, folders, globs, archives, addresses (https://…, or a file of them that ends in .urls) and "
        "data sets (hf:ORG/NAME[:CONFIG][@REVISION][#COLUMN]) to read: text, HTML, PDF, EPUB, source code, .jsonl, "
        ".csv, .parquet, .arrow, WARC. 'python-docs' is the documentation inside this Python's standard library.",
        json_schema_extra=PATH,
    )
    text_field: str = Field("text", description="The key (jsonl) or column (csv, parquet, arrow) that holds the text.")
    max_rows: int | None = Field(
        None,
        ge=1,
        description="Read at most this many documents of each source; all of them if not given.",
        json_schema_extra={"unit": "documents"},
    )
    max_bytes: int | None = Field(
        None,
        ge=1,
        description="Read at most this much of each source, counted as it lies there without compression.",
        json_schema_extra={"unit": "bytes"},
    )
    max_download_mib: int = Field(
        1024,
        ge=1,
        description="An address that holds more is left out.",
        json_schema_extra={"unit": "MiB"},
    )
    min_characters: int = Field(
        1,
        ge=1,
        description="Shorter documents are dropped; the report counts them.",
        json_schema_extra={"unit": "characters"},
    )
    max_document_mib: int = Field(
        16,
        ge=1,
        le=1024,
        description="Longer documents are cut at a line end, or dropped where a single line is longer.",
        json_schema_extra={"unit": "MiB"},
    )


class TokenizerRecipe(Recipe):
    """Train a byte-level BPE tokenizer on a corpus."""

    produces: ClassVar[str] = "tokenizer"
    reads: ClassVar[Mapping[str, Reads]] = {"corpus": "corpus"}
    default_name: ClassVar[str] = "{corpus}-bpe"

    stage: Literal["tokenizer"] = "tokenizer"
    corpus: str = Field(description="The corpus to learn merges from.")
    vocab_size: int = Field(
        8192,
        ge=512,
        le=262_144,
        description="Tokens in the vocabulary, special ones included. Larger ones shorten texts and grow the model.",
        json_schema_extra={"unit": "tokens"},
    )
    sample_mib: int = Field(
        256,
        ge=1,
        description="Train on at most this much text, drawn evenly from the corpus.",
        json_schema_extra={"unit": "MiB"},
    )


class ShardsRecipe(Recipe):
    """Turn a corpus into token ids on disk."""

    produces: ClassVar[str] = "shards"
    reads: ClassVar[Mapping[str, Reads]] = {"corpus": "corpus", "tokenizer": "tokenizer"}
    default_name: ClassVar[str] = "{corpus}-{tokenizer}"

    stage: Literal["shards"] = "shards"
    corpus: str = Field(description="The corpus to tokenise.")
    tokenizer: str = Field(description="The tokenizer to use.")
    shard_tokens: int = Field(
        100_000_000,
        ge=1000,
        description="A shard is closed once it holds this many tokens.",
        json_schema_extra={"unit": "tokens"},
    )
    workers: int | None = Field(
        None, ge=1, le=1024, description="Processes side by side; as many as there are cores, if not set.",
        json_schema_extra=NOT_IDENTITY,
    )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"layout": 2}  # with keys of documents
