"""Answers of a policy to prompts, shared out over the processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from engines.companions import pad_id
from engines.pytorch.distributed import Processes
from engines.pytorch.policy import Policy
from engines.pytorch.ppo.generation import Drawing, uniform_numbers, write_answers
from engines.pytorch.ppo.prompts import Prompt
from engines.pytorch.ppo.scoring import Written
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import GenerationSection


def drawing_of(policy: Policy, section: GenerationSection) -> Drawing:
    """How the policy writes; `section` is a fitted recipe's. Raises `WorkbenchError` if nothing ends its answers."""
    assert section.max_completion_length is not None
    tokenizer = policy.tokenizer
    if not tokenizer.end_ids:
        raise WorkbenchError(
            f"The tokenizer in {policy.base.name} has no token that ends an answer.",
            "Name one as eos_token in tokenizer_config.json.",
        )
    return Drawing(
        end_ids=tokenizer.end_ids,
        max_tokens=section.max_completion_length,
        temperature=section.temperature,
        pad_id=pad_id(tokenizer),
    )


def write_share(
    policy: Policy, prompts: Sequence[Prompt], drawing: Drawing, processes: Processes, key: tuple[int, ...]
) -> list[Written]:
    """This process's part of the answers to `prompts`. The draws are a function of `key` and the prompt's place."""
    share = processes.share(len(prompts))
    uniform_RT = uniform_numbers(len(prompts), drawing.max_tokens, *key)[share]
    own = [prompt.ids_L for prompt in prompts[share]]
    with policy.evaluating():
        answers = write_answers(policy.model, own, uniform_RT, drawing)
    return [
        Written(prompt=prompt, answer=answer, ended=int(answer[-1]) in drawing.end_ids)
        for prompt, answer in zip(own, answers, strict=True)
    ]


def answer_means(sums: Mapping[str, float], written: int, processes: Processes) -> dict[str, float]:
    """Sums over this process's `written` answers as means over the answers of all processes, by the same names.

    "entropy" is the mean over their tokens, of which "response_length" counts those of an answer.
    """
    totals = processes.total(torch.tensor([*sums.values(), written], dtype=torch.float64)).tolist()
    means = {name: total / totals[-1] for name, total in zip(sums, totals, strict=False)}
    return means | {"entropy": means["entropy"] / means["response_length"]}
