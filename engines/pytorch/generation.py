"""Writing token after token with a key-value cache: one prompt, or many at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from engines.pytorch.decoding import decode
from workbench.contract import Sampling

BATCH_TOKENS = {"cpu": 16_384, "cuda": 262_144}
"""Prompt and answer tokens of the prompts that are answered at once."""


@torch.inference_mode()
def generate_ids(model: PreTrainedModel, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
    """Up to `sampling.max_tokens` ids after `prompt`, one at a time; the caller stops at an end token.

    The draws come from a generator of their own: the process's random numbers stay as they are.
    """
    for _, token in generate_batch(model, [prompt], sampling, ends=()):
        yield token


@torch.inference_mode()
def generate_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    ends: Collection[int],
    numbers: Sequence[int] | None = None,
) -> Iterator[tuple[int, int]]:
    """(row, id) of the answers to all `prompts`, one token of each at a time; an end token is a row's last.

    Prompts are padded on the left, and rows that have ended leave the batch. Every row draws from a generator
    seeded by `sampling.seed` and its number (its place, unless `numbers` says another): its answer is the same in
    any company, up to rounding.
    """
    generators = [_generator(sampling.seed, number) for number in numbers or range(len(prompts))]
    seen_BV = torch.zeros(len(prompts), model.config.get_text_config().vocab_size, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        seen_BV[row, list(prompt)] = True

    def drawn(logits_AV: torch.Tensor, rows_A: torch.Tensor, place: int) -> torch.Tensor:
        rows = rows_A.tolist()
        tokens_A = draw(logits_AV.float().cpu(), sampling, seen_BV[rows], [generators[row] for row in rows])
        seen_BV[rows, tokens_A] = True
        return tokens_A.to(logits_AV.device)

    # Rows leave as soon as they end: nothing of theirs is drawn in vain.
    tokens = decode(model, prompts, drawn, max_tokens=sampling.max_tokens, ends=ends, most_ended=0)
    for written in tokens:
        yield from zip(written.rows_A.tolist(), written.ids_A.tolist(), strict=True)


def draw(
    logits_BV: torch.Tensor, sampling: Sampling, seen_BV: torch.Tensor, generators: Sequence[torch.Generator]
) -> torch.Tensor:
    """One id a row: repetition penalty, temperature, then the cuts top-k, top-p and min-p, as in transformers."""
    if sampling.repetition_penalty != 1.0:  # Keskar et al. 2019
        penalty = sampling.repetition_penalty
        penalised_BV = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
        logits_BV = torch.where(seen_BV, penalised_BV, logits_BV)
    if sampling.temperature <= 0:
        return logits_BV.argmax(1)
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k <= 0 and sampling.top_p >= 1 and sampling.min_p <= 0:
        return _inverse(logits_BV.softmax(1), generators)
    size = logits_BV.shape[1]
    count = min(sampling.top_k, size) if sampling.top_k > 0 else size
    logits_BK, ids_BK = logits_BV.topk(count, dim=1)  # in falling order
    probabilities_BK = logits_BK.softmax(1)
    # The likeliest stays under every cut.
    before_BK = probabilities_BK.cumsum(1) - probabilities_BK
    dropped_BK = (before_BK >= sampling.top_p) | (probabilities_BK < sampling.min_p * probabilities_BK[:, :1])
    dropped_BK[:, 0] = False
    places_B = _inverse(probabilities_BK.masked_fill(dropped_BK, 0.0), generators)
    return ids_BK.gather(1, places_B[:, None]).squeeze(1)


def _inverse(weights_BK: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """A place a row with probability in proportion to its weight, by the inverse of the cumulated weights."""
    cumulated_BK = weights_BK.double().cumsum(1)
    uniform_B = torch.stack([torch.rand((), generator=generator, dtype=torch.float64) for generator in generators])
    wanted_B1 = (uniform_B * cumulated_BK[:, -1])[:, None]
    places_B = torch.searchsorted(cumulated_BK, wanted_B1, right=True).squeeze(1)
    return places_B.clamp_max(weights_BK.shape[1] - 1)


def _generator(seed: int | None, row: int) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        # Seeds of one row that lie near each other are fine; those of rows must not meet another request's.
        generator.manual_seed(seed if row == 0 else (seed * 0x9E3779B97F4A7C15 + row * 0xD1B54A32D192ED03) % 2**63)
    return generator
