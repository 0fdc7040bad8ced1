"""Writing token after token with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from workbench.contract import Sampling


@torch.inference_mode()
def generate_ids(model: PreTrainedModel, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
    """Up to `sampling.max_tokens` ids after `prompt`, one at a time; the caller stops at an end token.

    The draws come from a generator of their own: the process's random numbers stay as they are.
    """
    device = next(model.parameters()).device
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    cache = DynamicCache(config=model.config)
    seen = torch.zeros(model.config.vocab_size, dtype=torch.bool)
    seen[list(prompt)] = True
    fed = list(prompt)
    for _ in range(sampling.max_tokens):
        tokens_1L = torch.tensor([fed], device=device)
        logits = model(input_ids=tokens_1L, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token = draw(logits[0, -1].float().cpu(), sampling, seen, generator)
        yield token
        seen[token] = True
        fed = [token]


def draw(logits_V: torch.Tensor, sampling: Sampling, seen_V: torch.Tensor, generator: torch.Generator) -> int:
    """One id: repetition penalty, temperature, then the cuts top-k, top-p and min-p, as in transformers."""
    if sampling.repetition_penalty != 1.0:  # Keskar et al. 2019
        penalty = sampling.repetition_penalty
        penalised_V = torch.where(logits_V > 0, logits_V / penalty, logits_V * penalty)
        logits_V = torch.where(seen_V, penalised_V, logits_V)
    if sampling.temperature <= 0:
        return int(logits_V.argmax())
    logits_V = logits_V / sampling.temperature
    count = min(sampling.top_k, len(logits_V)) if sampling.top_k > 0 else len(logits_V)
    logits_K, ids_K = logits_V.topk(count)  # in falling order
    probabilities_K = logits_K.softmax(0)
    # The likeliest stays under every cut.
    before_K = probabilities_K.cumsum(0) - probabilities_K
    dropped_K = (before_K >= sampling.top_p) | (probabilities_K < sampling.min_p * probabilities_K[0])
    dropped_K[0] = False
    probabilities_K = probabilities_K.masked_fill(dropped_K, 0.0)
    return int(ids_K[torch.multinomial(probabilities_K, 1, generator=generator)])
