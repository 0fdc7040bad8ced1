"""TRL's trainers as what they are best at: losses with their metrics. The loop around them is ours.

transformers' own loop writes checkpoints that a kill can break, counts tokens anew after a resume and hears no
request, so a trainer is made here for its `compute_loss` alone, with the forward of `documents` in its model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.companions import pad_id
from engines.pytorch import documents, folders
from engines.pytorch.policy import Policy
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import TuningRecipe

FIGURES = {
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "logps/chosen": "log_prob_chosen",
    "logps/rejected": "log_prob_rejected",
    "margin": "reward_margin",
    "accuracy": "reward_accuracy",
    "mean_reward": "reward_mean",
    "min_reward": "reward_min",
    "max_reward": "reward_max",
    "mean_token_accuracy": "token_accuracy",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clip_fraction",
}
"""What TRL calls it -> what we do. Others are left out."""


def new_trainer(
    kind: type, config: type, policy: Policy, recipe: TuningRecipe, folder: Path, *, neftune: float = 0.0,
    reference: Any = None, **settings: Any,
) -> tuple[Any, bool]:  # fmt: skip
    """(a trainer of TRL's class `kind` on the policy, whether it computes without padding).

    `folder` is one that exists. `reference` is a whole frozen model; an adapter's reference is its base. `settings`
    are the method's own, by TRL's names. Raises `WorkbenchError` for noise on an architecture that cannot have it.
    """
    from datasets import Dataset

    for name in ("trl", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Losses(kind):  # type: ignore[misc, valid-type]
        """The class without its own preparation of data: ours is pretokenised."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    if hasattr(config, "disable_dropout"):
        settings["disable_dropout"] = not recipe.adapter.lora_dropout
    arguments = config(
        output_dir=str(folder),
        report_to="none",
        disable_tqdm=True,
        bf16=False,  # autocast is set around the loss
        gradient_checkpointing=False,  # is set in the policy
        use_cpu=policy.device.type == "cpu",
        seed=recipe.seed,
        max_length=None,  # rows come cut
        per_device_train_batch_size=recipe.batch.per_device_batch_size,
        save_strategy="no",
        logging_strategy="no",
        **settings,
    )
    assert arguments.device.type == policy.device.type
    arguments._n_gpu = 1  # a process works on one GPU, however many it sees; TRL refuses to spread over several
    trainer = Losses(
        model=policy.model,
        args=arguments,
        # Looked at for its columns alone.
        train_dataset=Dataset.from_dict({"input_ids": [[0]], "labels": [[0]], "label": [True]}),
        processing_class=_tokenizer(policy),
        **({} if reference is None else {"ref_model": reference}),
    )
    if policy.adapted and "ref" in policy.model.peft_config:  # a copy of the adapter; the base itself will do
        policy.model.delete_adapter("ref")
    for parameter in policy.trained():  # TRL takes adapters on four-bit weights down to bfloat16
        parameter.data = parameter.data.float()
    packs = documents.install(policy.plain, neftune_alpha=neftune)
    if neftune and not documents.fits(policy.plain):
        raise WorkbenchError(
            f"{type(policy.plain).__name__} cannot be trained with NEFTune here.", "Leave out --neftune-noise-alpha."
        )
    if reference is not None:
        documents.install(reference)
    return trainer, packs


def _tokenizer(policy: Policy) -> Any:
    """As much of a tokenizer as TRL asks for: the names of its end and of what fills rows up."""
    from transformers import PreTrainedTokenizerFast

    ours = policy.tokenizer
    pad = ours.token_text(pad_id(ours))
    end = pad if ours.eos_id is None else ours.token_text(ours.eos_id)
    return PreTrainedTokenizerFast(tokenizer_file=str(policy.base / "tokenizer.json"), eos_token=end, pad_token=pad)


def frozen_reference(policy: Policy) -> Any:
    """A whole copy of the base for full fine-tuning; None for an adapter, whose base it is."""
    if policy.adapted:
        return None
    return folders.open_causal_lm(policy.base).to(policy.device).requires_grad_(False)


def take_figures(trainer: Any, mode: str = "train", *, weights: Sequence[float] | None = None) -> dict[str, float]:
    """The means of what TRL measured in the passes since the last call, by our names; `weights` are of these."""
    measured: Mapping[str, list[float]] = trainer._metrics[mode]
    found = {
        FIGURES[name]: float(np.average(values, weights=weights))
        for name, values in measured.items()
        if name in FIGURES and values
    }
    measured.clear()  # type: ignore[attr-defined]
    return found


def seed_everything(seed: int, rank: int) -> None:
    """Dropout differs by rank; everything that must not has generators of its own."""
    torch.manual_seed(seed * 1000 + rank)
