"""Forward passes of documents of different lengths without a padding token, through transformers' own classes.

Documents lie one behind another in a single row, and attention stops where each ends. It is a transformers
attention function, so that every architecture that lets its attention be exchanged can use it; whether the
result is right is tried on two short documents before a model is trusted with it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from engines.pytorch.attention import FLOAT32_LENGTH, varlen_attn, varlen_works
from engines.pytorch.attention import _causal as causal_window
from engines.pytorch.token_log_probs import token_log_probs

NAME = "documents"
TOLERANCE = 2e-3  # nats between a document alone and in company, in float32


@dataclass(kw_only=True)
class ScoredTokens:
    """What TRL's losses read of a language model: each [batch, length - 1], for the token after each place.

    Zero where the label is -100.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    is_top1: torch.Tensor
    label_mask: torch.Tensor
    mean_logits: torch.Tensor
    aux_loss: torch.Tensor | None = None


@dataclass
class Scores:
    """What TRL's reward loss reads of a reward model: `logits` [batch, 1]."""

    logits: torch.Tensor


def install(model: PreTrainedModel, *, neftune_alpha: float = 0.0) -> bool:
    """Replace `model.forward` for training; whether it computes without padding.

    A call with `fused_lm_head=True` (language models), or any call (reward models), takes right- or left-padded
    `input_ids` and `attention_mask` [batch, length]. All others, such as generation's, go on as before.
    Where `fits` says no, nothing is replaced.
    """
    if not fits(model):
        return False
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    packs = _agrees(model)
    if not packs:
        model.set_attn_implementation(before)
    body = functools.partial(hidden_states, model, packs=packs, neftune_alpha=neftune_alpha)
    kind = _reward_forward if hasattr(model, "score") else _language_forward
    forward: Callable[..., Any] = kind(model, body)
    # `generate` and PEFT look at the signature.
    model.forward = types.MethodType(functools.wraps(type(model).forward)(forward), model)  # type: ignore[method-assign]
    return packs


def fits(model: PreTrainedModel) -> bool:
    """Whether the model's logits are its last hidden states times a matrix, and perhaps a factor."""
    bent = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return not bent and getattr(model.get_output_embeddings(), "bias", None) is None


def _language_forward(model: PreTrainedModel, body: Callable[..., Any]) -> Callable[..., Any]:
    original = model.forward

    def forward(
        self: Any,
        input_ids: Any = None,
        attention_mask: Any = None,
        labels: Any = None,
        position_ids: Any = None,
        fused_lm_head: bool = False,
        **rest: Any,
    ) -> Any:
        if not fused_lm_head:
            rest |= {"labels": labels, "position_ids": position_ids}
            return original(input_ids=input_ids, attention_mask=attention_mask, **rest)
        targets_BL = labels[:, 1:]
        scored_BL = targets_BL != -100
        # Only the places before a scored token need logits.
        hidden_ND = body(input_ids, attention_mask, nn.functional.pad(scored_BL, (0, 1)), position_ids)
        head = self.get_output_embeddings()
        scale = _logit_scale(self.config)
        weight = head.weight if scale == 1.0 else head.weight * scale
        found = token_log_probs(hidden_ND, weight, targets_BL[scored_BL])
        with torch.no_grad():
            mean_logits = hidden_ND.detach().float() @ weight.detach().float().mean(0)

        def spread(values_N: torch.Tensor) -> torch.Tensor:
            return values_N.new_zeros(scored_BL.shape).masked_scatter(scored_BL, values_N)

        return ScoredTokens(
            log_probs=spread(found.log_probs),
            entropy=spread(found.entropy),
            is_top1=spread(found.top1),
            label_mask=scored_BL,
            mean_logits=spread(mean_logits),
        )

    return forward


def _reward_forward(model: PreTrainedModel, body: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Any, input_ids: Any = None, attention_mask: Any = None, **rest: Any) -> Any:
        del rest
        kept_BL = attention_mask.bool()
        places_L = torch.arange(kept_BL.shape[1], device=kept_BL.device)
        last_B = (kept_BL * (places_L + 1)).argmax(1)
        hidden_BD = body(input_ids, attention_mask, nn.functional.one_hot(last_B, kept_BL.shape[1]).bool())
        return Scores(logits=self.score(hidden_BD))

    del model
    return forward


def hidden_states(
    model: Any,
    ids_BL: torch.Tensor,
    mask_BL: torch.Tensor,
    wanted_BL: torch.Tensor,
    positions_BL: torch.Tensor | None = None,
    *,
    packs: bool,
    neftune_alpha: float = 0.0,
) -> torch.Tensor:
    """The last hidden states at the `wanted` places, [wanted, width], in reading order.

    `positions_BL` are places within documents, so that a row may hold several; without it each row is one.
    """
    kept_BL = mask_BL.bool()
    if positions_BL is None:
        positions_BL = (kept_BL.cumsum(1) - 1).clamp_min(0)
    backbone = model.base_model
    noise = neftune_alpha if model.training else 0.0
    if not packs:
        inputs = _inputs(model, ids_BL, kept_BL.sum(1, keepdim=True).expand_as(ids_BL), noise)
        states = backbone(**inputs, attention_mask=mask_BL, position_ids=positions_BL, use_cache=False)
        return states.last_hidden_state[wanted_BL]
    ids_1T = ids_BL[kept_BL].unsqueeze(0)
    positions_1T = positions_BL[kept_BL].unsqueeze(0)
    starts_D = (positions_1T[0] == 0).nonzero().squeeze(1)
    ends_D = nn.functional.pad(starts_D, (0, 1), value=ids_1T.shape[1])
    lengths_D = ends_D.diff()
    inputs = _inputs(model, ids_1T, lengths_D.repeat_interleave(lengths_D).unsqueeze(0), noise)
    states = backbone(
        **inputs,
        # transformers takes a mask of four dimensions as ready made; the attention function looks at the ends alone.
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids_1T.device),
        position_ids=positions_1T,
        use_cache=False,
        document_ends=ends_D.to(torch.int32),
        document_lengths=lengths_D.tolist(),
    )
    return states.last_hidden_state[0][wanted_BL[kept_BL]]


def _inputs(model: Any, ids: torch.Tensor, lengths: torch.Tensor, noise: float) -> dict[str, torch.Tensor]:
    """Ids, or with NEFTune (Jain et al. 2023) their embeddings with uniform noise of alpha / sqrt(length · width)."""
    if not noise:
        return {"input_ids": ids}
    embedded = model.get_input_embeddings()(ids)
    size = noise / (lengths * embedded.shape[-1]).float().sqrt()
    return {"inputs_embeds": embedded + torch.empty_like(embedded).uniform_(-1, 1) * size.unsqueeze(-1)}


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    document_ends: torch.Tensor | None = None,
    document_lengths: list[int] | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside documents; [1, heads, tokens, width] to [1, tokens, heads, width]."""
    if document_lengths is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **rest
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = (item.repeat_interleave(repeats, dim=1) for item in (key, value))
    windowed = sliding_window is not None and max(document_lengths) > sliding_window
    dropout = float(rest.get("dropout") or 0.0)
    if not windowed and not dropout and varlen_works_for(query):
        flat = [item[0].transpose(0, 1) for item in (query * (scale * query.shape[-1] ** 0.5), key, value)]
        longest = max(document_lengths)
        mixed = varlen_attn(*flat, document_ends, document_ends, longest, longest, **causal_window())
        return mixed.unsqueeze(0), None
    pieces = []
    for q, k, v in zip(*(item.split(document_lengths, dim=2) for item in (query, key, value)), strict=True):
        mask, kind = None, q.dtype
        length = q.shape[2]
        if windowed and sliding_window is not None:
            places = torch.arange(length, device=q.device)
            distance = places[:, None] - places[None, :]
            mask = (distance >= 0) & (distance < sliding_window)
        if q.device.type == "cpu" and length <= FLOAT32_LENGTH:
            q, k, v = q.float(), k.float(), v.float()
        mixed = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, dropout_p=dropout
        )
        pieces.append(mixed.to(kind))
    return torch.cat(pieces, dim=2).transpose(1, 2), None


def varlen_works_for(query: torch.Tensor) -> bool:
    """Whether flash attention over documents can be trusted with such queries."""
    return query.device.type == "cuda" and _varlen_works(query.device, query.dtype, query.shape[-1])


@functools.cache
def _varlen_works(device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    return varlen_works(device, dtype, head_width)


@torch.no_grad()
def _agrees(model: PreTrainedModel) -> bool:
    """Whether two documents in company get the hidden states that each gets alone."""
    size = min(100, model.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(size, (2, 9), generator=generator).to(device)
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[1, 6:] = 0
    was_training = model.training
    model.eval()
    try:
        together = hidden_states(model, ids_BL, mask_BL, mask_BL.bool(), packs=True)
        alone = []
        for row, length in enumerate((9, 6)):
            ids_1L = ids_BL[row : row + 1, :length]
            alone.append(model.base_model(input_ids=ids_1L, use_cache=False).last_hidden_state[0])
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False
    finally:
        model.train(was_training)
    expected = torch.cat(alone).float()
    coarse = next(model.parameters()).dtype != torch.float32 or not together.dtype.is_floating_point
    tolerance = 0.1 if coarse or together.dtype != torch.float32 else TOLERANCE
    return torch.allclose(together.float(), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def _logit_scale(config: Any) -> float:
    """What some architectures multiply their logits by."""
    text = config.get_text_config()
    scaling = getattr(text, "logits_scaling", None)
    return 1.0 / scaling if scaling else float(getattr(text, "logit_scale", None) or 1.0)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
