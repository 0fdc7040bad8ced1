"""What the metrics of the methods are called, in what they are counted, and which say most. No Textual here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from workbench import figures
from workbench.tui import safe

EVAL = "eval_"  # how the name of a figure on held-out data begins
OF_SOURCE = "loss_"  # how that of the loss on one corpus of a mixture does
PAIRWISE = ("reward", "dpo", "orpo")
ONLINE = ("ppo", "grpo")
TRAININGS = ("pretrain", "continue", "sft", *PAIRWISE, "kto", *ONLINE)


@dataclass(frozen=True, slots=True)
class Metric:
    """`short` is its name among figures; `share` whether it is one, shown in percent."""

    label: str
    unit: str = ""
    short: str = ""
    share: bool = False


METRICS = {
    "loss": Metric("loss", "nats per token"),
    "tokens_per_second": Metric("speed", "tokens per second"),
    "learning_rate": Metric("learning rate"),
    "grad_norm": Metric("gradient norm", "before clipping"),
    "peak_memory_bytes": Metric("memory", "bytes"),
    "bits_per_byte": Metric("held-out text", "bits per byte", "bits/byte"),
    "token_accuracy": Metric("token accuracy", "share of tokens guessed right", "tok right", share=True),
    "reward_accuracy": Metric("reward accuracy", "share of pairs the right way round", "accuracy", share=True),
    "reward_margin": Metric("reward margin", "chosen above rejected", "margin"),
    "reward_chosen": Metric("reward of chosen answers", "", "chosen"),
    "reward_rejected": Metric("reward of rejected answers", "", "rejected"),
    "reward_mean": Metric("mean reward", "score of the model's own answers", "reward"),
    "reward_min": Metric("lowest reward"),
    "reward_max": Metric("highest reward"),
    "reward_spread": Metric("reward spread", "within the answers to a prompt", "spread"),
    "kl": Metric("divergence from the base model", "nats per answer", "KL"),
    "kl_coef": Metric("weight of the divergence", "", "KL weight"),
    "entropy": Metric("entropy", "nats per token", "entropy"),
    "clip_fraction": Metric("clipped", "share of tokens", "clipped", share=True),
    "value_loss": Metric("value loss", "", "value loss"),
    "policy_loss": Metric("policy loss", "", "policy loss"),
    "response_length": Metric("answer length", "tokens", "answers"),
    "eos_rate": Metric("answers that end by themselves", "share of answers", "ended", share=True),
    "log_prob_chosen": Metric("likelihood of chosen answers", "nats per answer"),
    "log_prob_rejected": Metric("likelihood of rejected answers", "nats per answer"),
    "seconds_generation": Metric("time writing answers", "seconds an iteration", "writing"),
    "seconds_scoring": Metric("time scoring", "seconds an iteration", "scoring"),
    "seconds_update": Metric("time learning", "seconds an iteration", "learning"),
}

LOSS_UNITS = {
    **dict.fromkeys(PAIRWISE, "per pair"),
    "kto": "per answer",
    **dict.fromkeys(ONLINE, "per token; reward says more"),
}

_COMMON = ("tokens_per_second", "learning_rate", "grad_norm", "peak_memory_bytes")
FIRST: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(PAIRWISE, ("loss", "reward_accuracy", "reward_margin", "reward_chosen", "reward_rejected")),
    "sft": ("loss", "token_accuracy", "entropy"),
    "kto": ("loss", "reward_margin", "kl", "reward_chosen", "reward_rejected"),
    "ppo": ("reward_mean", "kl", "response_length", "entropy", "clip_fraction", "value_loss", "policy_loss", "loss",
            "eos_rate", "kl_coef"),
    "grpo": ("reward_mean", "reward_spread", "kl", "response_length", "entropy", "clip_fraction", "loss", "eos_rate"),
}  # fmt: skip
"""The metrics of a stage, the most telling first; all others come after them."""

HEADER: Mapping[str, Sequence[str]] = {
    "sft": ("eval_token_accuracy",),
    **dict.fromkeys(PAIRWISE, ("eval_reward_accuracy", "eval_reward_margin")),
    "kto": ("eval_reward_margin", "eval_kl"),
    "ppo": ("eval_reward_mean", "reward_mean", "kl", "response_length", "entropy", "clip_fraction", "value_loss"),
    "grpo": ("eval_reward_mean", "reward_mean", "kl", "response_length", "entropy", "clip_fraction"),
}
"""The figures beside a run's curve."""


def choices(stage: str, names: Iterable[str]) -> list[str]:
    """The curves of a run in the order of the cycle: a figure on held-out data goes with the one that it is of."""
    known = dict.fromkeys(name.removeprefix(EVAL) for name in names)
    order = [*FIRST.get(stage, ("loss",)), *_COMMON]
    return [name for name in order if name in known] + [name for name in known if name not in order]


def of(name: str) -> Metric:
    """What is known of a metric; of one with another name, that name."""
    if name.startswith(OF_SOURCE):
        return Metric(f"loss on {name.removeprefix(OF_SOURCE)}", METRICS["loss"].unit)
    return METRICS.get(name) or Metric(name.replace("_", " "))


def unit(stage: str, name: str) -> str:
    return LOSS_UNITS.get(stage, of(name).unit) if name == "loss" else of(name).unit


def reading(name: str, value: float) -> str:
    """A value as it is shown."""
    return f"{value:.1%}" if of(name).share else figures.reading(value)


def of_sources(newest: Mapping[str, float]) -> list[tuple[str, str]]:
    """(corpus of a mixture, its held-out loss)."""
    begin = EVAL + OF_SOURCE
    return [
        (safe.line(name.removeprefix(begin)), figures.loss(value))
        for name, value in newest.items()
        if name.startswith(begin)
    ]


def header(stage: str, newest: Mapping[str, float]) -> list[tuple[str, str]]:
    """(what, value) of a method's own figures; those on held-out data say so."""
    found = []
    for name in HEADER.get(stage, ()):
        if name not in newest:
            continue
        base = name.removeprefix(EVAL)
        short = of(base).short or of(base).label
        held = "held-out " if name != base and base in HEADER[stage] else ""
        found.append((f"{held}{short}", reading(base, newest[name])))
    return found
