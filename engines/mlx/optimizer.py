"""AdamW as PyTorch's, on MLX: decay of matrices alone, bias correction, gradients clipped by their norm."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

from workbench.recipes.training import OptimizerSection


def adamw(section: OptimizerSection) -> optim.MultiOptimizer:
    """AdamW (Loshchilov & Hutter 2019); matrices decay, norms do not. The rate is set at every step."""

    def part(weight_decay: float) -> optim.AdamW:
        # Both have what torch.optim.AdamW does: epsilon 1e-8, added after the bias correction.
        betas = [section.beta1, section.beta2]
        return optim.AdamW(0.0, betas, eps=1e-8, weight_decay=weight_decay, bias_correction=True)

    return optim.MultiOptimizer([part(section.weight_decay), part(0.0)], [lambda _, weight: weight.ndim >= 2])


def clip(gradients: Any, most: float) -> tuple[Any, mx.array]:
    """(the gradients scaled to a norm of at most `most`, their norm before); `most` 0 does not clip."""
    clipped, norm = optim.clip_grad_norm(gradients, most or float("inf"))
    return (clipped if most else gradients), norm  # what nobody reads is not computed: a scaling by 1


def state_arrays(optimizer: optim.Optimizer) -> dict[str, mx.array]:
    """The optimizer's state by name, e.g. `states.0.model.layers.0.mlp.up_proj.weight.m`."""
    return dict(tree_flatten(optimizer.state))


def load_state_arrays(optimizer: optim.Optimizer, arrays: dict[str, mx.array]) -> None:
    """The inverse of `state_arrays`."""
    optimizer.state = tree_unflatten(list(arrays.items()))
