"""An artifact in a few words: the figures of its report that people ask for first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.benchmarks.report import score, unit
from workbench.figures import count, size
from workbench.store.artifacts import Artifact
from workbench.wording import amount

MOST_TASKS = 4  # of a benchmark, in one line
MOST_REASONS = 5  # to drop something


def summary(item: Artifact) -> str:
    """What it holds, and of data what was left out and why."""
    report = item.report
    match item.kind:
        case "corpus":
            documents = amount(report.get("documents", 0), "documents")
            return f"{documents}, {size(report.get('bytes', 0))} of text{_left_out(report)}"
        case "tokenizer":
            return f"{report.get('vocab_size', 0):,} tokens"
        case "shards":
            return f"{count(report.get('tokens', 0))} tokens"
        case "chats":
            what = "prompts" if report.get("prompts") else "conversations"
            return f"{amount(report.get('rows', 0), what)}{_left_out(report)}"
        case "preferences":
            pairs, marks = amount(report.get("pairs", 0), "pairs"), amount(report.get("marks", 0), "marked answers")
            return f"{pairs}, {marks}{_left_out(report)}"
        case "candidates":
            return f"{amount(report.get('prompts', 0), 'prompts')}, {amount(report.get('answers', 0), 'answers')}"
        case "verdicts":
            return _verdicts(report)
        case "model" | "reward":
            learnt = outcome(report)
            return f"{count(report.get('parameters', 0))} parameters{f', {learnt}' if learnt else ''}{_mixture(report)}"
        case "benchmark":
            return scores(report)
        case _:
            check = report.get("check", {})
            agreement = check.get("top1_agreement")
            checked = f", top-1 agreement {agreement:.1%} with the checkpoint" if agreement is not None else ""
            return f"{item.recipe.get('quantization', '')}{checked}"


def _verdicts(report: Mapping[str, Any]) -> str:
    if rate := report.get("win_rate"):
        noise = ", inside the noise" if rate["inside_noise"] else ""
        share = f"{rate['value']:.0%} ({rate['low']:.0%} to {rate['high']:.0%}{noise})"
        return f"{rate['of']} wins {share} against {rate['against']}"
    graded = {name: found["grade"] for name, found in report.get("grades", {}).items() if found["grade"]}
    return ", ".join(
        f"{name} {found['value']:.2f} of 10 ({found['low']:.2f} to {found['high']:.2f})"
        for name, found in graded.items()
    )


def scores(report: Mapping[str, Any]) -> str:
    """The tasks with the score that stands for each, and its 95% interval, written as everywhere else."""
    parts = []
    for task, found in report.get("scores", {}).items():
        metric, (value, *ends) = found["metric"], (found[part] for part in ("value", "low", "high"))
        sure = "" if None in ends else f" ({' to '.join(score(metric, end) for end in ends)})"
        parts.append(f"{task} {score(metric, value)}{unit(metric)}{sure}")
    more = f" and {len(parts) - MOST_TASKS} more" if len(parts) > MOST_TASKS else ""
    return ", ".join(parts[:MOST_TASKS]) + more


def outcome(report: Mapping[str, Any]) -> str:
    """What held-out data say of a training, by what its method is after; "" of a model that was not trained here."""
    figures = {name: value for name, value in report.items() if isinstance(value, (int, float))}
    if "eval_bits_per_byte" in figures:
        return f"{figures['eval_bits_per_byte']:.3f} bits per byte"
    if {"eval_kl", "eval_reward_mean"} <= figures.keys():  # answers of its own: PPO, GRPO
        before, after = figures.get("eval_reward_mean_before"), figures["eval_reward_mean"]
        was = f"{before:.2f} → " if before is not None else ""
        asked = figures.get("held_out_prompts")
        on = f" on {amount(int(asked), 'prompts')}" if asked is not None else ""
        nats = figures["eval_kl"]  # an estimate from samples, below 0 by chance where the two are nearly the same
        return f"held-out reward {was}{after:.2f}{on}, {'about 0' if nats < 0 else f'{nats:.2f}'} nats from the base"
    if "eval_reward_accuracy" in figures:
        by_length = figures.get("length_only_accuracy")
        beside = f" (by length alone {by_length:.1%})" if by_length is not None else ""
        return f"{figures['eval_reward_accuracy']:.1%} of held-out pairs right{beside}"
    if "eval_loss" in figures:
        before = figures.get("eval_loss_before")
        return f"held-out loss {f'{before:.3f} → ' if before is not None else ''}{figures['eval_loss']:.3f}"
    return ""


def _mixture(report: Mapping[str, Any]) -> str:
    """What the weights of several sets came to."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report.get("mixture", {}).items())
    return f"; trained tokens: {shares}" if shares else ""


def _left_out(report: Mapping[str, Any]) -> str:
    dropped = [f"{reason} ({count:,})" for reason, count in report.get("dropped", {}).items() if count]
    more = f", and for {len(dropped) - MOST_REASONS} more reasons" if len(dropped) > MOST_REASONS else ""
    return f"; dropped: {', '.join(dropped[:MOST_REASONS])}{more}" if dropped else ""
