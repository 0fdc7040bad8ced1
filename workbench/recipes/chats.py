"""Recipes that make conversations and preferences from files, from tasks, and with a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.errors import WorkbenchError
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
    format: Literal[
        "auto", "chatml", "sharegpt", "alpaca", "prompt-completion", "preference", "kto", "self-instruct", "prompts"
    ] = Field("auto", description="How the rows are written; auto looks at the first. prompts: questions alone.")


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

    def engine_name(self) -> str:
        return "preferences"


class JudgeRecipe(Recipe):
    """Judge answers by a stated rule or with a model, where no person ranks them."""

    produces: ClassVar[str] = "preferences"
    reads: ClassVar[Mapping[str, Reads]] = {"candidates": "candidates", "model": ("model", "export")}
    default_name: ClassVar[str] = "{candidates}-judged"

    stage: Literal["judge"] = "judge"
    candidates: str = Field(description="The candidates to judge.")
    rule: Literal["longest", "shortest", "regex", "letter-share", "model"] = Field(
        description="Which of two answers is better: the longer, the shorter, the one that matches `pattern`, the one "
        "with the larger share of `letter`, or the one that `model` prefers, asked in both orders."
    )
    pattern: str = Field("", description="regex: what a good answer matches, as in Python's re.search.")
    letter: str = Field("", max_length=1, description="letter-share: the letter; case does not count.")
    model: str | None = Field(None, description="model: who judges, a model or an export.")
    engine: str | None = Field(None, description="What opens it: pytorch or mlx. Derived: what it is made for.")
    question: str = Field(
        "Which of these two answers is more helpful, correct and harmless?",
        description="model: what it is asked about the two answers.",
    )

    def resolved(self) -> JudgeRecipe:
        lacks = {"regex": "pattern", "letter-share": "letter", "model": "model"}.get(self.rule)
        if lacks and not getattr(self, lacks):
            raise WorkbenchError(f"The rule {self.rule} needs a {lacks}.", f"Give it with --{lacks}.")
        for field in {"pattern", "letter", "model"} - {lacks}:
            if getattr(self, field):
                raise WorkbenchError(f"The rule {self.rule} has no use for --{field}.", f"Leave --{field} out.")
        if self.rule == "regex":
            try:
                re.compile(self.pattern)
            except re.error as error:
                what = f"The pattern {self.pattern!r} is no regular expression: {error}."
                raise WorkbenchError(what, "Write it as Python's re does.") from None
        return self

    def engine_name(self) -> str:
        return "preferences"

    def model_engine(self) -> str | None:
        return self.engine

    def uses_accelerator(self) -> bool:
        return self.rule == "model"


class CandidatesRecipe(Recipe):
    """Write several answers to each prompt, for ranking."""

    produces: ClassVar[str] = "candidates"
    reads: ClassVar[Mapping[str, Reads]] = {
        "models": ("model", "export"), "prompts": "chats", "corpus": "corpus"
    }  # fmt: skip
    default_name: ClassVar[str] = "candidates"

    stage: Literal["candidates"] = "candidates"
    models: list[str] = Field(
        min_length=1,
        description="Models or exports that answer; several take turns.",
        json_schema_extra={"flag": "--model"},
    )
    engine: str | None = Field(
        None,
        description="What opens the models, where several engines can: pytorch or mlx.",
    )
    prompts: str | None = Field(
        None,
        description="Prompts to answer: a file (jsonl, txt) or conversations of the project.",
        json_schema_extra=PATH_OR_NAME,
    )
    typed: list[str] = Field(
        default_factory=list, description="A prompt, as typed.", json_schema_extra={"flag": "--prompt"}
    )
    corpus: str | None = Field(None, description="A corpus; the beginnings of its documents are prompts.")
    beginning: int = Field(
        120, ge=10, description="How much of a document is its beginning, at most.",
        json_schema_extra={"unit": "characters"},
    )  # fmt: skip
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

    def resolved(self) -> CandidatesRecipe:
        if not (self.prompts or self.typed or self.corpus):
            raise WorkbenchError(
                "There are no prompts to answer.", "Give --prompts FILE, --prompt TEXT or --corpus NAME."
            )
        if self.corpus and self.max_prompts is None:
            raise WorkbenchError("A corpus has a prompt in every document.", "Say how many to take: --max-prompts 100")
        return self

    def engine_name(self) -> str:
        return "preferences"

    def model_engine(self) -> str | None:
        return self.engine

    def uses_accelerator(self) -> bool:
        return True
