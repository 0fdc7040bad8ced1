"""AdamW over a model's parameters, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from workbench.recipes.training import OptimizerSection


def adamw(model: nn.Module, section: OptimizerSection) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused; matrices decay, norms do not. The rate is set at every step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [item for item in parameters if item.dim() >= 2], "weight_decay": section.weight_decay},
        {"params": [item for item in parameters if item.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(section.beta1, section.beta2), fused=True)


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state: `<parameter's name>/<key>`, e.g. `model.norm.weight/exp_avg`."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `state_tensors`; raises `KeyError` if a trained parameter has no state."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        optimizer.state[parameter] = {
            "step": tensors[f"{name}/step"].to(parameter.device if parameter.is_cuda else "cpu"),
            "exp_avg": tensors[f"{name}/exp_avg"].to(parameter.device),
            "exp_avg_sq": tensors[f"{name}/exp_avg_sq"].to(parameter.device),
        }
