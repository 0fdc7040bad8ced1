"""Recipes of the stages that turn text into tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from workbench.recipes.base import NOT_IDENTITY, PATH, Reads, Recipe


class ImportRecipe(Recipe):
    """Read sources into a corpus, through the steps of a cleaning preset."""

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
    clean: str | list[dict[str, Any]] = Field(
        "plain",
        description="How to clean: a preset (none, plain, web-en, web-zh, code, or the project's own in cleaning/), or "
        "a YAML file. A recipe may list the steps themselves.",
    )
    min_characters: int = Field(
        1,
        ge=1,
        description="Shorter documents are rejected.",
        json_schema_extra={"unit": "characters"},
    )
    max_document_mib: int = Field(
        16,
        ge=1,
        le=1024,
        description="Longer documents are cut at a line end, or dropped where a single line is longer.",
        json_schema_extra={"unit": "MiB"},
    )
    keep_rejects: int = Field(
        1000,
        ge=0,
        description="Keep at most this many examples of what each step rejects for each reason.",
        json_schema_extra={"unit": "documents"},
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Processes side by side; if not set, as many as there are cores, and memory for them.",
        json_schema_extra=NOT_IDENTITY,
    )
    again: int = Field(
        0,
        ge=0,
        description="Addresses and data sets of the hub count by their names: another number reads them anew, those "
        "that failed too.",
    )

    def absolute(self, base: Path) -> Self:
        recipe = super().absolute(base)
        if isinstance(self.clean, str) and self.clean.endswith((".yaml", ".yml")):
            return recipe.model_copy(update={"clean": os.path.normpath(base / Path(self.clean).expanduser())})
        return recipe

    def identity(self) -> dict[str, Any]:
        plain = super().identity()
        return plain if self.again else {name: value for name, value in plain.items() if name != "again"}


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
