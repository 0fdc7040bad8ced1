"""The recipe that measures a model on a panel of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import NOT_IDENTITY, Name, Reads, Recipe

SAMPLING_TEMPERATURE = 0.8  # of programs where several are drawn, as Chen et al. 2021 do for pass@10


class BenchmarkRecipe(Recipe):
    """Measure a model on a panel of tasks, item by item."""

    produces: ClassVar[str] = "benchmark"
    reads: ClassVar[Mapping[str, Reads]] = {"model": ("model", "export")}

    stage: Literal["benchmark"] = "benchmark"
    model: str = Field(description="The model or export to measure.")
    engine: str | None = Field(None, description="What opens it: pytorch or mlx. Derived: what it is made for.")
    panel: Name = Field("quick", description="A named set of tasks: workbench panels lists them.")
    tasks: list[str] = Field(
        default_factory=list, description="These tasks in place of the panel's.", json_schema_extra={"flag": "--tasks"}
    )
    checkpoint: int | None = Field(
        None, ge=1, description="Not the finished model, but the checkpoint at this step of the run that made it."
    )
    limit: int | None = Field(None, ge=1, description="Only the first so many items of each task.")
    shots: int | None = Field(
        None, ge=0, description="Worked examples before each question. Without it, as the panel or the task says."
    )
    chat_template: bool | None = Field(
        None, description="Put questions as turns of a chat. Without it, as the panel says, else as plain text."
    )
    samples: int = Field(1, ge=1, le=200, description="Programs written for each programming task: pass@k needs k.")
    temperature: float | None = Field(
        None, ge=0, le=2,
        description=f"How freely the tokens of programs are drawn; {SAMPLING_TEMPERATURE} where there are several "
        "samples, else 0.",
    )  # fmt: skip
    seed: int = Field(0, ge=0, description="Seeds the draws.")
    allow_code: bool = Field(
        False,
        description="Run the programs that the model writes, in a sandbox.",
        json_schema_extra=NOT_IDENTITY,
    )

    def title(self) -> str:
        what = self.panel
        if self.tasks:
            what = "-".join(self.tasks) if len(self.tasks) < 3 else f"{len(self.tasks)}-tasks"
        step = f"-step-{self.checkpoint}" if self.checkpoint else ""
        plain = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in f"{self.model}-{what}")
        return self.name or plain[: 64 - len(step)].rstrip("-.") + step

    def resolved(self) -> BenchmarkRecipe:
        temperature = self.temperature
        if temperature is None:
            temperature = SAMPLING_TEMPERATURE if self.samples > 1 else 0.0
        if self.samples > 1 and temperature == 0:
            raise WorkbenchError(
                f"{self.samples} samples at temperature 0 would all be the same.",
                f"Leave --temperature out, or give one above 0, such as {SAMPLING_TEMPERATURE}.",
            )
        return self.model_copy(update={"temperature": temperature})

    def engine_name(self) -> str:
        return "benchmarks"

    def model_engine(self) -> str | None:
        return self.engine

    def uses_accelerator(self) -> bool:
        return True
