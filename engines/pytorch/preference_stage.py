"""The stages that learn from preferences: `reward`, `dpo`, `orpo` and `kto`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.pytorch import documents
from engines.pytorch.policy import Policy
from engines.pytorch.post_training import Made, Workplace, train
from engines.row_warnings import warn_of_cut_answers
from workbench.contract import Job, Reporter
from workbench.corpus.chats.training_data import Judged, mark_rows, pair_rows
from workbench.errors import WorkbenchError
from workbench.recipes.base import Section, validate
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, PreferenceRecipe, RewardRecipe

RECIPES: dict[str, type[Section]] = {"reward": RewardRecipe, "dpo": DpoRecipe, "orpo": OrpoRecipe, "kto": KtoRecipe}


def prefer(job: Job, reporter: Reporter) -> None:
    """The stages `reward`, `dpo`, `orpo` and `kto`."""
    recipe: PreferenceRecipe = validate(RECIPES[job.stage], job.recipe).resolved()

    def make(place: Workplace) -> Made:
        policy = place.policy(reward=job.stage == "reward")
        length = place.max_length(policy)
        folder, tokenizer = job.inputs["preferences"], policy.tokenizer
        data: Judged[Any]
        if isinstance(recipe, KtoRecipe):
            data = mark_rows(recipe, folder, tokenizer, max_length=length)
        else:
            data = pair_rows(recipe, folder, tokenizer, max_length=length)
        place.heed(data.findings)
        warn_of_cut_answers(data, length, reporter)
        kind, trainer, packs = preference_losses(policy, recipe, job.directory)
        place.warn_of_padding(packs)
        method = kind(
            policy, recipe, data, optimizer=place.optimizer(policy), processes=place.processes, trainer=trainer
        )
        answers = 1 if isinstance(recipe, KtoRecipe) else 2
        return Made(
            method,
            data.order.steps_per_epoch,
            micro_tokens=answers * (recipe.batch.per_device_batch_size or 1) * length,
            copies=0 if policy.adapted or getattr(trainer, "ref_model", None) is None else 1,
        )

    train(job, reporter, recipe, make)


def preference_losses(policy: Policy, recipe: PreferenceRecipe, folder: Path) -> tuple[Any, Any, bool]:
    """(the method's class, TRL's trainer if it has the loss, whether it computes without padding)."""
    import trl

    from engines.pytorch import preference
    from engines.pytorch.trl_trainer import frozen_reference, new_trainer

    if isinstance(recipe, OrpoRecipe) or (isinstance(recipe, DpoRecipe) and recipe.loss_type == "simpo"):
        packs = documents.install(policy.plain)
        if not documents.fits(policy.plain):
            raise WorkbenchError(
                f"{type(policy.plain).__name__} cannot be trained with this loss here.", "Use dpo with another loss."
            )
        kind = preference.OrpoMethod if isinstance(recipe, OrpoRecipe) else preference.SimpoMethod
        return kind, None, packs
    if isinstance(recipe, RewardRecipe):
        trainer, packs = new_trainer(
            trl.RewardTrainer, trl.RewardConfig, policy, recipe, folder,
            center_rewards_coefficient=recipe.center_rewards_coefficient or None,
        )  # fmt: skip
        return preference.RewardMethod, trainer, packs
    reference = frozen_reference(policy)
    if isinstance(recipe, DpoRecipe):
        trainer, packs = new_trainer(
            trl.DPOTrainer, trl.DPOConfig, policy, recipe, folder, reference=reference, beta=recipe.beta,
            loss_type=[recipe.loss_type], label_smoothing=recipe.label_smoothing, router_aux_loss_coef=0.0,
        )  # fmt: skip
        return preference.DpoMethod, trainer, packs
    assert isinstance(recipe, KtoRecipe)
    if recipe.batch.per_device_batch_size == 1:
        raise WorkbenchError(
            "KTO estimates a divergence on mismatched answers of one forward pass, which holds a single one.",
            "Set --per-device-batch-size to 2 or more.",
        )
    trainer, packs = new_trainer(
        trl.KTOTrainer, trl.KTOConfig, policy, recipe, folder, reference=reference, beta=recipe.beta,
        desirable_weight=recipe.desirable_weight, undesirable_weight=recipe.undesirable_weight,
        router_aux_loss_coef=0.0,
    )  # fmt: skip
    return preference.KtoMethod, trainer, packs
