"""The recipe of judging: a judge reads the answers of one or two models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import NOT_IDENTITY, PATH_OR_NAME, Reads, Recipe, Reference

MOST_MODELS = 2
TEXT_FILES = (".md", ".txt", ".yaml", ".yml", ".json")  # as rubrics are kept in
RUBRIC = (
    "Weigh, in this order: whether it does what was asked and keeps to the stated constraints; whether what it says is "
    "correct; whether it is helpful, relevant and deep enough for the question; whether it is clear and well written. "
    "A longer answer is not a better one, and neither is one that sounds more certain."
)


class AssessRecipe(Recipe):
    """Have a judge compare the answers of two models, or grade those of each from 1 to 10 (MT-Bench style).

    Two models are compared in both orders: a verdict that turns with the order is a tie. Questions may have two turns.
    """

    produces: ClassVar[str] = "verdicts"
    reads: ClassVar[Mapping[str, Reads]] = {
        "models": ("model", "export"), "prompts": ("chats", "candidates"), "judge": ("model", "export"),
    }  # fmt: skip

    stage: Literal["assess"] = "assess"
    models: list[str] = Field(min_length=1, description="One or two models or exports that answer.")
    prompts: str = Field(
        description='A file of questions (the "turns" of a row are asked one after another, as in MT-Bench), '
        "conversations of the project, or candidates, whose answers by these models are judged as they are.",
        json_schema_extra=PATH_OR_NAME,
    )
    max_prompts: int | None = Field(None, ge=1, description="Ask only the first so many.")
    judge: str | None = Field(None, description="A model or export that judges.")
    engine: str | None = Field(
        None,
        description="What opens the models and the judge, where several engines can: pytorch or mlx.",
    )
    endpoint: str | None = Field(
        None,
        description="An OpenAI-compatible server that judges instead, such as http://localhost:8080/v1. Its key is "
        "taken from OPENAI_API_KEY.",
    )
    endpoint_model: str = Field("default", description="What the server calls the model.")
    judging: Literal["pairwise", "single"] | None = Field(
        None, description="Two answers against each other, or each alone from 1 to 10. Derived from the models."
    )
    verdict: Literal["written", "likelihood"] = Field(
        "written",
        description="written: the judge gives its reason, then its verdict. likelihood: which verdict it holds more "
        "likely, without a reason, for small models of the project that cannot write one.",
    )
    rubric: str = Field(
        RUBRIC, description="What a good answer is, as text or as a file.", json_schema_extra=PATH_OR_NAME
    )
    max_no_verdict: float = Field(
        0.5, ge=0, le=1, description="Fail where more than this share of what the judge says holds no verdict."
    )
    temperature: float = Field(0.0, ge=0, description="How freely the models answer; 0 takes the likeliest token.")
    max_tokens: int = Field(512, ge=1, description="Longest answer.", json_schema_extra={"unit": "tokens"})
    verdict_tokens: int = Field(
        768, ge=8, description="Longest reason with its verdict.", json_schema_extra={"unit": "tokens"}
    )
    timeout: float = Field(
        120.0, gt=0, description="How long the server may take for one verdict.",
        json_schema_extra={"unit": "seconds", **NOT_IDENTITY},
    )  # fmt: skip
    parallel: int = Field(
        4, ge=1, le=64, description="Requests to the server at a time.", json_schema_extra=NOT_IDENTITY
    )
    seed: int = Field(0, ge=0, description="Seeds the draws of answers, where the temperature is above 0.")

    def resolved(self) -> AssessRecipe:
        if (self.judge is None) == (self.endpoint is None):
            given = "both are given" if self.judge else "neither is given"
            raise WorkbenchError(
                f"Either a model of the project or an endpoint judges, and {given}.", "Give --judge or --endpoint."
            )
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise WorkbenchError(
                f"{self.endpoint!r} is no address of a server.", "Write it as http://localhost:8080/v1."
            )
        if self.endpoint and self.verdict == "likelihood":
            raise WorkbenchError(
                "A server does not tell how likely it holds a verdict.", "Leave --verdict out, or give --judge MODEL."
            )
        if twice := [model for model in self.models if self.models.count(model) > 1]:
            raise WorkbenchError(f"{twice[0]!r} is given twice.", "Compare two different models, or give one.")
        if len(self.models) > MOST_MODELS:
            names = ", ".join(self.models)
            raise WorkbenchError(
                f"A judge reads one model or two, and these are {len(self.models)}: {names}.",
                f"Compare two at a time: {' and '.join(self.models[:2])}, for one.",
            )
        judging = self.judging or ("pairwise" if len(self.models) == 2 else "single")
        if judging == "pairwise" and len(self.models) < 2:
            raise WorkbenchError("One model alone cannot be compared.", "Give two models, or --judging single.")
        return self.model_copy(update={"judging": judging, "rubric": _read(self.rubric)})

    def title(self) -> str:
        return self.name or "-".join((*self.models, "judged"))[:64]

    def references(self) -> list[Reference]:
        """Prompts that are a file are no artifact."""
        return [item for item in super().references() if item.role != "prompts" or not os.path.isfile(self.prompts)]

    def contents(self) -> list[str]:
        return [self.prompts] if os.path.isfile(self.prompts) else []

    def engine_name(self) -> str:
        return "benchmarks"

    def model_engine(self) -> str | None:
        return self.engine

    def uses_accelerator(self) -> bool:
        return True


def _read(rubric: str) -> str:
    """A rubric that is a file's path is what the file holds."""
    if not os.path.isfile(rubric):
        if len(rubric.split()) == 1 and Path(rubric).suffix.lower() in TEXT_FILES:
            raise WorkbenchError(f"There is no file {rubric}.", "Give the path of the rubric, or the rubric itself.")
        found = rubric
    else:
        try:
            found = Path(rubric).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WorkbenchError(f"The rubric {rubric} cannot be read: {error}.", "Give a text in UTF-8.") from None
    if not found.strip():
        raise WorkbenchError("The rubric is empty.", "Say what a good answer is, or leave --rubric out.")
    return found.strip()
