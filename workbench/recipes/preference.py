"""Recipes that train on preferences: reward model, DPO, ORPO, KTO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from workbench.recipes.base import Reads
from workbench.recipes.tuning import TuningRecipe


class PreferenceRecipe(TuningRecipe):
    """What these have in common: a set of preferences, with its held-out part made by prompt."""

    reads: ClassVar[Mapping[str, Reads]] = {"base": "model", "preferences": "preferences"}
    full_learning_rate: ClassVar[float] = 1e-6
    lora_learning_rate: ClassVar[float] = 1e-5

    preferences: str = Field(description="The preferences to learn from, or candidates that were ranked.")
    validation_fraction: float = Field(0.1, gt=0, lt=0.9, description="Share of the prompts held out.")


class RewardRecipe(PreferenceRecipe):
    """Train a reward model: a score for any answer, higher where people prefer it (Bradley-Terry)."""

    produces: ClassVar[str] = "reward"
    default_name: ClassVar[str] = "{base}-reward"
    full_learning_rate: ClassVar[float] = 1e-5
    lora_learning_rate: ClassVar[float] = 1e-4

    stage: Literal["reward"] = "reward"
    use_margins: bool = Field(
        True, description="Ask for a larger difference where a judgement was stronger (Touvron et al. 2023, eq. 2)."
    )
    center_rewards_coefficient: float = Field(
        0.0, ge=0, description="Pull scores towards 0 (Eisenstein et al. 2023, eq. 2); 0.01 is usual."
    )


class DpoRecipe(PreferenceRecipe):
    """Direct preference optimization (Rafailov et al. 2023): learn from pairs without a reward model."""

    default_name: ClassVar[str] = "{base}-dpo"

    stage: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0, description="How closely to stay by the reference, which is the base model.")
    loss_type: Literal["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "simpo"] = Field(
        "sigmoid",
        description="sigmoid: DPO. ipo: Azar et al. 2023. hinge: SLiC. robust: noisy labels. "
        "sigmoid_norm: DPO per token. simpo: per token, without a reference (Meng et al. 2024).",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="robust: share of the judgements that are taken to be the wrong way round."
    )
    simpo_gamma: float = Field(0.5, ge=0, description="simpo: margin that the better answer must have.")


class OrpoRecipe(PreferenceRecipe):
    """Odds ratio preference optimization (Hong et al. 2024): SFT and preference in one loss, no reference."""

    default_name: ClassVar[str] = "{base}-orpo"
    full_learning_rate: ClassVar[float] = 8e-6

    stage: Literal["orpo"] = "orpo"
    beta: float = Field(0.1, gt=0, description="Weight of the odds ratio (lambda in the paper).")


class KtoRecipe(PreferenceRecipe):
    """Kahneman-Tversky optimization (Ethayarajh et al. 2024): learn from single answers marked good or bad."""

    default_name: ClassVar[str] = "{base}-kto"

    stage: Literal["kto"] = "kto"
    beta: float = Field(0.1, gt=0, description="How closely to stay by the reference, which is the base model.")
    desirable_weight: float = Field(1.0, ge=0, description="Weight of good answers.")
    undesirable_weight: float = Field(1.0, ge=0, description="Weight of bad answers.")
