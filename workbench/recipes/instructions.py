"""Recipes that build instruction data: from classic tasks by templates, and by a model from a few examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH, Reads, Recipe

FIELDS: Mapping[str, Mapping[str, str | None]] = {
    "classification": {"text_field": "text", "question_field": None, "answer_field": "label"},
    "qa": {"text_field": None, "question_field": "question", "answer_field": "answer"},
    "summarisation": {"text_field": "text", "question_field": None, "answer_field": "summary"},
}
"""Task -> the names that its fields usually have; None: it has no such field, unless one is named."""


class TemplateChatRecipe(Recipe):
    """Turn rows of a classic task into conversations, with the instruction phrased in several ways."""

    produces: ClassVar[str] = "chats"
    default_name: ClassVar[str] = "{task}"

    stage: Literal["template-chat"] = "template-chat"
    sources: list[str] = Field(
        min_length=1,
        description="Files, folders or globs to read: .jsonl, .json, .parquet, .csv, a Hugging Face dataset folder, "
        "or hf:ORG/NAME.",
        json_schema_extra=PATH,
    )
    task: Literal["classification", "qa", "summarisation"] = Field(description="What the rows are.")
    text_field: str | None = Field(
        None, description="Where the text stands that is classified, asked about or summarised. Derived from task."
    )
    question_field: str | None = Field(None, description="qa: where the question stands. Derived: question.")
    choices_field: str | None = Field(
        None,
        description="qa: where answers to choose from stand; the answer is then one of them, or its number from 0.",
    )
    answer_field: str | None = Field(None, description="Where the answer, label or summary stands. Derived from task.")
    label_names: list[str] = Field(
        default_factory=list,
        description="classification: what the labels 0, 1, 2, ... are called, in this order.",
        json_schema_extra={"flag": "--label-name"},
    )
    phrasings: int = Field(
        6, ge=1, le=6, description="In how many ways the instruction is phrased, drawn for each row by the seed."
    )
    seed: int = Field(0, ge=0, description="Seeds which row gets which phrasing.")

    def resolved(self) -> TemplateChatRecipe:
        usual = FIELDS[self.task]
        if self.task != "qa" and (self.question_field or self.choices_field):
            field = "question_field" if self.question_field else "choices_field"
            raise WorkbenchError(f"A {self.task} has no {field}.", "Leave it out, or set --task qa.")
        if self.task != "classification" and self.label_names:
            raise WorkbenchError(f"A {self.task} has no labels to name.", "Leave --label-name out.")
        found = {name: getattr(self, name) or usual[name] for name in usual}
        return self.model_copy(update=found)


class SelfInstructRecipe(Recipe):
    """Have a model write new instructions and answers from a few examples (Wang et al. 2022), filtered.

    The rows wait for a person's yes or no: their status is "new".
    """

    produces: ClassVar[str] = "chats"
    reads: ClassVar[Mapping[str, Reads]] = {"model": ("model", "export"), "judge": ("model", "export")}
    default_name: ClassVar[str] = "self-instruct"

    stage: Literal["self-instruct"] = "self-instruct"
    sources: list[str] = Field(
        min_length=1,
        description="Seed tasks: conversations in any format that import-chat reads, or self-instruct's own.",
        json_schema_extra=PATH,
    )
    model: str | None = Field(None, description="The model or export that writes.")
    endpoint: str | None = Field(
        None,
        description="An OpenAI-compatible server that writes instead, such as http://localhost:8080/v1. Its key is "
        "taken from OPENAI_API_KEY.",
    )
    endpoint_model: str = Field("default", description="What the server calls the model.")
    judge: str | None = Field(
        None, description="A model or export that says of each answer whether it is good; without one all are kept."
    )
    engine: str | None = Field(
        None,
        description="What opens the models, where several engines can: pytorch or mlx.",
    )
    rows: int = Field(100, ge=1, description="How many instructions to write.")
    max_rounds: int = Field(
        200,
        ge=1,
        description="End after so many rounds of 4 requests for instructions, even with fewer rows; 10 in a row that "
        "bring none end it too.",
    )
    examples: int = Field(8, ge=1, le=32, description="Instructions that a request shows; a quarter are new ones.")
    max_similarity: float = Field(
        0.7, gt=0, le=1, description="Instructions whose ROUGE-L with a kept one is at least this are dropped."
    )
    temperature: float = Field(0.9, ge=0, description="How freely instructions are drawn; answers take half of it.")
    max_tokens: int = Field(256, ge=16, description="Longest answer.", json_schema_extra={"unit": "tokens"})
    seed: int = Field(0, ge=0, description="Seeds the examples and the draws.")

    def resolved(self) -> SelfInstructRecipe:
        if (self.model is None) == (self.endpoint is None):
            given = "both are given" if self.model else "neither is given"
            raise WorkbenchError(
                f"Either a model of the project or an endpoint writes, and {given}.", "Give --model or --endpoint."
            )
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise WorkbenchError(
                f"{self.endpoint!r} is no address of a server.", "Write it as http://localhost:8080/v1."
            )
        return self

    def engine_name(self) -> str:
        return "preferences"

    def model_engine(self) -> str | None:
        return self.engine

    def uses_accelerator(self) -> bool:
        return bool(self.model or self.judge)
