"""Recipes that bring a model in, and that merge an adapter into its base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import PATH, Reads, Recipe


class ImportModelRecipe(Recipe):
    """Bring in a model: a Hugging Face folder, or a GGUF file, whose weights are dequantised."""

    produces: ClassVar[str] = "model"
    default_name: ClassVar[str] = "model"

    stage: Literal["import-model"] = "import-model"
    engine: str = Field("pytorch", description="The engine that reads it: pytorch.")
    source: str = Field(description="A folder, a .gguf file, or hf:ORG/NAME.", json_schema_extra=PATH)


class MergeAdapterRecipe(Recipe):
    """Merge an adapter into its base: a whole model, in floating point."""

    produces: ClassVar[str] = "model"
    reads: ClassVar[Mapping[str, Reads]] = {"model": "model"}
    default_name: ClassVar[str] = "{model}-merged"

    stage: Literal["merge-adapter"] = "merge-adapter"
    engine: str = Field("pytorch", description="The engine that merges: pytorch.")
    model: str = Field(description="The model that was trained as an adapter.")
