"""The learning rate of every step."""

from __future__ import annotations

import math

from workbench.recipes.pretrain import ScheduleSection
from workbench.recipes.tuning import TuningScheduleSection


def learning_rate(step: int, *, peak: float, schedule: ScheduleSection) -> float:
    """The rate of optimizer step `step`, counted from 0.

    A linear warm-up, then `cosine` (Loshchilov & Hutter 2017) down to the smallest rate, or `wsd`
    (Hu et al. 2024): stable, then a linear decay over the last `decay_ratio` of the steps.
    """
    total = schedule.max_steps
    warmup = round(total * schedule.warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.lr_scheduler_type == "cosine":
        progress = (step - warmup) / max(1, total - 1 - warmup)
        share = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    else:
        decay = round(total * schedule.decay_ratio)
        share = min(1.0, (total - step) / (decay + 1))
    lowest = schedule.min_learning_rate_ratio
    return peak * (lowest + (1 - lowest) * share)


def tuning_learning_rate(step: int, *, total: int, peak: float, schedule: TuningScheduleSection) -> float:
    """The rate of optimizer step `step` of `total`, counted from 0: a linear warm-up, then down to 0, or constant."""
    warmup = round(total * schedule.warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.lr_scheduler_type == "constant":
        return peak
    left = (total - step) / max(1, total - warmup)  # 1 down to one step's share
    return peak * (left if schedule.lr_scheduler_type == "linear" else (1 - math.cos(math.pi * left)) / 2)
