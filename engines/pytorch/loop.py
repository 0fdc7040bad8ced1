"""The loop of pretraining on PyTorch: its steps, validation, samples and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engines.pretraining import figures, sources_report
from engines.pytorch.checkpoint import Checkpoints
from engines.pytorch.decoder import TrainingModel
from engines.pytorch.model import save_model
from engines.pytorch.requests import SharedLoop
from engines.pytorch.sequences import Sequences
from engines.pytorch.validation import validate, write_sample
from engines.tokenizer import TextTokenizer, copy_tokenizer
from engines.training_loop import Step
from workbench.corpus.pretraining_data import PretrainingData
from workbench.recipes.pretrain import PretrainRecipe


@dataclass(kw_only=True)
class Training(SharedLoop):
    """All that a pretraining works with."""

    recipe: PretrainRecipe
    model: TrainingModel
    network: nn.Module  # the model as it is trained: compiled, replicated, or itself
    optimizer: torch.optim.Optimizer
    data: PretrainingData
    sequences: Sequences
    token_bytes_V: np.ndarray
    tokenizer: TextTokenizer
    tokenizer_folder: Path
    checkpoints: Checkpoints

    @property
    def held_out_tokens(self) -> int:
        return sum(item.validation.tokens for item in self.data.sources)

    def make_step(self, step: int, learning_rate: float) -> Step:
        """One optimizer step on this rank's slice of the global batch.

        The loss is a mean over the trained-on targets of the whole global batch, so that neither ranks nor
        micro-batches change it.
        """
        size = self.processes.size
        windows_BL1 = self.data.batches.global_batch(step)
        targets = max(1, self.sequences.trained_targets(windows_BL1))
        scale = torch.full((), size / targets, device=self.sequences.device)  # DDP divides gradients by `size`
        own_BL1 = windows_BL1[self.processes.share(len(windows_BL1))]
        micro = self.recipe.batch.per_device_batch_size or len(own_BL1)
        loss = torch.zeros((), device=self.sequences.device)
        for start in range(0, len(own_BL1), micro):
            last = start + micro >= len(own_BL1)
            waits = not last and isinstance(self.network, DistributedDataParallel)
            with self.network.no_sync() if waits else nullcontext():  # type: ignore[operator]
                part = self.network(*self.sequences.inputs(own_BL1[start : start + micro]), scale)
                part.backward()
            loss += part.detach()
        norm = self._clip()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Step(loss=loss / size, grad_norm=norm, tokens=windows_BL1.shape[0] * (windows_BL1.shape[1] - 1))

    def measure(self, most_tokens: int) -> dict[str, float] | None:
        tallies = []
        for windows_WL1 in self.data.validation_windows(most_tokens):
            tally = validate(
                self.model,
                windows_WL1,
                self.sequences,
                self.token_bytes_V,
                batch_size=self.recipe.batch.per_device_batch_size or 1,
                processes=self.processes,
                cancelled=self.stop_asked,
            )
            if tally is None:
                return None
            tallies.append(tally)
        return figures(self.data, tallies)

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self.recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens and self.processes.first else []:
            yield prompt, write_sample(self.model, self.tokenizer, prompt, section.sample_tokens)

    def write_checkpoint(self) -> Path:
        return self.checkpoints.save(
            self.write_weights, self.model.causal_lm, self.optimizer, self.progress, self.processes
        )

    def write_weights(self, folder: Path) -> None:
        """The model and its tokenizer, without a chat template: it was never trained on turns."""
        save_model(self.model.causal_lm, folder)
        copy_tokenizer(self.tokenizer_folder, folder, chat_template=False)

    def report(self) -> dict[str, Any]:
        return {
            "parameters": sum(parameter.numel() for parameter in self.model.causal_lm.parameters()),
            **super().report(),
            "dtype": self.recipe.precision.dtype,
            "compiled": self.progress.compiled,
            "sources": sources_report(self.data),
        }

    def _clip(self) -> torch.Tensor:
        """Clip the gradients; their norm before that."""
        most = self.recipe.optimizer.max_grad_norm or float("inf")
        return nn.utils.clip_grad_norm_(self.model.parameters(), most)
