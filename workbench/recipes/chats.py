"""Recipes that make conversations and preferences from files, from tasks, and with a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import PATH, PATH_OR_NAME, Reads, Recipe


class ImportChatRecipe(Recipe):
    """Read instruction data into conversations: detected, validated, without exact duplicates."""

    produces: ClassVar[str] = "chats"
    default_name: ClassVar[str] = "chats"

    stage: Literal["import-chat"] = "import-chat"
    sources: list[str] = Field(
        min_length=1,
        description="Files, folders or globs to read: .jsonl, .json, .parquet, .csv, a Hugging Face dataset folder, "
        "or hf:ORG/NAME.",
        json_schema_extra=PATH,
    )
    format: Literal["auto", "chatml", "sharegpt", "alpaca", "prompt-completion", "preference", "kto", "prompts"] = (
        Field("auto", description="How the rows are written; auto looks at the first. prompts: questions alone.")
    )


class ImportPreferencesRecipe(Recipe):
    """Read preferences between answers: TRL's formats, HH-RLHF's, ShareGPT's, marked single answers."""

    produces: ClassVar[str] = "preferences"
    default_name: ClassVar[str] = "preferences"

    stage: Literal["import-preferences"] = "import-preferences"
    sources: list[str] = Field(
        min_length=1,
        description="Files, folders or globs to read: .jsonl, .json, .parquet, .csv, a Hugging Face dataset folder, "
        "or hf:ORG/NAME.",
        json_schema_extra=PATH,
    )
    format: Literal["auto", "trl", "hh-rlhf", "sharegpt", "kto"] = Field(
        "auto", description="How the rows are written; auto looks at the first."
    )

    def engine_name(self) -> str:
        return "preferences"


class CollectRecipe(Recipe):
    """Turn the judgements on candidates into preferences; made by what trains on them."""

    produces: ClassVar[str] = "preferences"
    reads: ClassVar[Mapping[str, Reads]] = {"candidates": "candidates"}
    default_name: ClassVar[str] = "{candidates}-judged"

    stage: Literal["collect"] = "collect"
    candidates: str = Field(description="The candidates that were ranked.")
    judgements: int = Field(ge=1, description="How many of the judgements count, in the order they were made.")


class CandidatesRecipe(Recipe):
    """Write several answers to each prompt, for ranking."""

    produces: ClassVar[str] = "candidates"
    reads: ClassVar[Mapping[str, Reads]] = {"models": ("model", "export"), "prompts": "chats"}
    default_name: ClassVar[str] = "candidates"

    stage: Literal["candidates"] = "candidates"
    models: list[str] = Field(
        min_length=1,
        description="Models or exports that answer; several take turns.",
        json_schema_extra={"flag": "--model"},
    )
    prompts: str = Field(
        description="Prompts to answer: a file (jsonl, txt) or conversations of the project.",
        json_schema_extra=PATH_OR_NAME,
    )
    per_prompt: int = Field(4, ge=2, le=8, description="Answers to each prompt.")
    max_prompts: int | None = Field(None, ge=1, description="Take at most this many prompts, drawn by the seed.")
    temperatures: list[float] = Field(
        default_factory=lambda: [0.8],
        min_length=1,
        description="How freely tokens are drawn; several take turns.",
        json_schema_extra={"flag": "--temperature"},
    )
    top_p: float = Field(0.95, gt=0, le=1, description="Draw from the likeliest tokens that make up this share.")
    max_tokens: int = Field(256, ge=1, description="Longest answer.", json_schema_extra={"unit": "tokens"})
    system: str = Field("", description="System message put before every prompt.")
    seed: int = Field(0, ge=0, description="Seeds the draws, and which prompts are taken.")

    def uses_accelerator(self) -> bool:
        return True
