"""Recipe of the export to GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import Reads, Recipe

Quantization = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"]


class ExportRecipe(Recipe):
    """Write a model as GGUF for llama.cpp, quantise it, and check it against the checkpoint."""

    produces: ClassVar[str] = "export"
    reads: ClassVar[Mapping[str, Reads]] = {"model": "model"}
    default_name: ClassVar[str] = "{model}-{quantization}"

    stage: Literal["export"] = "export"
    engine: str = Field("llamacpp", description="The engine that writes it.")
    model: str = Field(description="The model to export.")
    quantization: Quantization = Field(
        "q8_0", description="Number format of the weights, from exact (f32) to smallest (q4_0)."
    )
    check_tokens: int = Field(
        512,
        ge=16,
        le=65_536,
        description="How much held-out text to compare the GGUF's logits with the checkpoint's on.",
        json_schema_extra={"unit": "tokens"},
    )
