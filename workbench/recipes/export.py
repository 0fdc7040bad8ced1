"""Recipe of the export to GGUF, or to a folder in MLX's formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import Reads, Recipe

Quantization = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "mlx-8bit", "mlx-4bit"
]  # fmt: skip
MLX = "mlx-"  # how the formats begin that mlx-lm reads; llama.cpp reads the others


class ExportRecipe(Recipe):
    """Write a model as GGUF for llama.cpp, or as a folder for mlx-lm; quantise it, and check it."""

    produces: ClassVar[str] = "export"
    reads: ClassVar[Mapping[str, Reads]] = {"model": "model"}
    default_name: ClassVar[str] = "{model}-{quantization}"

    stage: Literal["export"] = "export"
    engine: str | None = Field(
        None, description="The engine that writes it: llamacpp, or mlx. Derived from the number format."
    )
    model: str = Field(description="The model to export.")
    quantization: Quantization = Field(
        "q8_0",
        description="Number format of the weights: GGUF's from exact (f32) to smallest (q4_0), or MLX's for Macs.",
    )
    check_tokens: int = Field(
        512,
        ge=16,
        le=65_536,
        description="How much held-out text to compare the export's logits with the checkpoint's on.",
        json_schema_extra={"unit": "tokens"},
    )

    def resolved(self) -> ExportRecipe:
        return self.model_copy(update={"engine": self.engine_name()})

    def engine_name(self) -> str:
        return self.engine or ("mlx" if self.quantization.startswith(MLX) else "llamacpp")

    def weight_format(self) -> str:
        return self.quantization
