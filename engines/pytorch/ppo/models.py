"""The four models of PPO: policy, its frozen reference, value, reward.

With full fine-tuning they are four. With an adapter they are two: the reference is the base without the policy's
adapter, and the value model is an adapter on the reward model, with a head of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engines.pytorch import folders
from engines.pytorch.policy import Policy, add_lora, open_policy
from engines.pytorch.ppo.scoring import LanguageScorer, Rows, ValueScorer
from engines.pytorch.token_log_probs import TokenStatistics
from engines.reinforcement.same_tokens import refuse_foreign_tokens
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.recipes.reinforcement import PpoRecipe

VALUE_FOLDER = "value"  # in a checkpoint


@dataclass(kw_only=True)
class Models:
    """`reference` and `reward` are None where an adapter that is off plays their part."""

    policy: Policy
    value: Policy
    reference: Any
    reward: Any
    temperature: float
    _language: LanguageScorer = field(init=False)
    _values: ValueScorer = field(init=False)
    _reference: LanguageScorer = field(init=False)
    _reward: ValueScorer = field(init=False)

    def __post_init__(self) -> None:
        self._language = LanguageScorer(self.policy.plain, self.temperature)
        self._values = ValueScorer(self.value.plain)
        frozen = self.reference is not None
        self._reference = LanguageScorer(self.reference, self.temperature) if frozen else self._language
        self._reward = ValueScorer(self.reward) if frozen else self._values
        for model in (self.policy.model, self.value.model):
            without_dropout(model)
            model.train()  # gradient checkpointing works in this mode alone

    def log_probs(self, rows: Rows) -> TokenStatistics:
        with self.policy.autocast():
            return self._language(rows)

    def values(self, rows: Rows) -> torch.Tensor:
        with self.value.autocast():
            return self._values.values(rows)

    @torch.no_grad()
    def reference_log_probs(self, rows: Rows) -> torch.Tensor:
        with self.policy.autocast(), self.policy.without_adapter():
            return self._reference(rows).log_probs

    @torch.no_grad()
    def scores(self, rows: Rows) -> torch.Tensor:
        with self.value.autocast(), self.value.without_adapter():
            return self._reward.scores(rows)

    def trained(self) -> nn.Module:
        """Both trained models, for names of parameters that differ."""
        return nn.ModuleDict({"policy": self.policy.model, "value": self.value.model})

    def save(self, folder: Path) -> None:
        """The policy into `folder`, and the value model into a folder in it."""
        self.policy.save(folder)
        (folder / VALUE_FOLDER).mkdir()
        self.value.save(folder / VALUE_FOLDER)

    def restore(self, folder: Path) -> None:
        self.policy.restore(folder)
        self.value.restore(folder / VALUE_FOLDER)


def open_models(base: Path, reward: Path, recipe: PpoRecipe, device: torch.device, dtype: torch.dtype) -> Models:
    """The models on `device`.

    Raises `WorkbenchError` if one cannot be opened, or the reward model reads other tokens than the policy writes.
    """
    refuse_foreign_tokens(base, reward)
    section, saves_memory = recipe.adapter, recipe.precision.gradient_checkpointing
    policy = open_policy(
        base, section, seed=recipe.seed, device=device, dtype=dtype, gradient_checkpointing=saves_memory
    )
    reward_model: Any = folders.open_reward_model(reward)
    reference: Any = None
    critic: Any
    if policy.adapted:
        plain = reward_model.to(device, dtype)
        critic, reward_model = add_lora(plain, section, seed=recipe.seed, reward=True), None
    else:
        critic = folders.open_reward_model(reward).to(device, torch.float32).requires_grad_(True)
        # In the policy's own number format, so that their first divergence is exactly 0.
        reference = folders.open_causal_lm(base).to(device, torch.float32).requires_grad_(False)
        reward_model = reward_model.to(device, torch.float32).requires_grad_(False)
        plain = critic
    if saves_memory:
        plain.gradient_checkpointing_enable({"use_reentrant": False})
    value = Policy(
        model=critic, base=reward, adapted=policy.adapted, dtype=dtype, device=device, tokenizer=ChatTokenizer(reward)
    )
    return Models(
        policy=policy, value=value, reference=reference, reward=reward_model, temperature=recipe.generation.temperature
    )


def without_dropout(model: nn.Module) -> None:
    """PPO compares probabilities of one answer at two times; dropout would tell them apart where nothing changed."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]
