"""Our forward and loss against transformers' own, and packed documents against each document alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engines.pytorch.attention import Boundaries, boundaries
from engines.pytorch.decoder import TrainingModel
from engines.pytorch.loss import IGNORED, LinearCrossEntropy, token_losses
from engines.pytorch.model import new_model
from workbench.corpus.packing import document_positions
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe

CPU = torch.device("cpu")
SHAPES = {
    "llama": {"architecture": "llama"},
    "qwen3": {"architecture": "qwen3"},
    "qwen3, grouped queries, untied": {
        "architecture": "qwen3", "num_key_value_heads": 2, "tie_word_embeddings": False, "rope_theta": 500.0,
    },
}  # fmt: skip


def training_model(dtype: torch.dtype = torch.float32, **model: object) -> TrainingModel:
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_length": 48} | model
    recipe = validate(PretrainRecipe, {"corpus": "c", "tokenizer": "t", "model": shape}).resolved()
    causal_lm = new_model(recipe, vocab_size=300, bos=0, eos=1, pad=2)
    for name, parameter in causal_lm.named_parameters():
        if "norm" in name:  # ones would hide a missing weight
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    return TrainingModel(causal_lm, dtype)


def random_tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(3, 300, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SHAPES)
def test_loss_and_gradients_are_those_of_transformers(name: str) -> None:
    model = training_model(**SHAPES[name])
    tokens_BL1 = random_tokens(3, 49)
    targets_BL = tokens_BL1[:, 1:].clone()
    targets_BL[0, 5:9] = IGNORED
    count = int((targets_BL != IGNORED).sum())
    loss = model(tokens_BL1[:, :-1], targets_BL, Boundaries(), torch.tensor(1 / count))
    loss.backward()
    ours = {key: parameter.grad.clone() for key, parameter in model.causal_lm.named_parameters()}
    model.zero_grad()
    logits = model.causal_lm(input_ids=tokens_BL1[:, :-1], use_cache=False).logits
    expected = F.cross_entropy(logits.flatten(0, 1), targets_BL.flatten(), ignore_index=IGNORED)
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for key, parameter in model.causal_lm.named_parameters():
        torch.testing.assert_close(ours[key], parameter.grad, rtol=1e-3, atol=1e-6)


def test_bfloat16_stays_near_float32() -> None:
    tokens_BL1 = random_tokens(4, 49)
    arguments = (tokens_BL1[:, :-1], tokens_BL1[:, 1:], Boundaries(), torch.tensor(1 / (4 * 48)))
    exact, rounded = training_model()(*arguments), training_model(torch.bfloat16)(*arguments)
    assert rounded.item() == pytest.approx(exact.item(), abs=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_packed_documents_are_as_each_alone(name: str) -> None:
    model = training_model(**SHAPES[name])
    tokens_BL = random_tokens(2, 48)
    starts = [[0, 7, 8, 30], [11, 40]]
    for row, places in enumerate(starts):
        tokens_BL[row, places] = 0
    positions_BL = document_positions(tokens_BL.numpy(), bos=0)
    packed_BLD = model.hidden(tokens_BL, boundaries(positions_BL, CPU, varlen=False))
    leaked_BLD = model.hidden(tokens_BL, Boundaries())
    for row, places in enumerate(starts):
        for start, stop in pairwise([*sorted({0, *places}), 48]):
            alone = model.causal_lm(input_ids=tokens_BL[row : row + 1, start:stop], use_cache=False).logits[0]
            packed = model.causal_lm.lm_head(packed_BLD[row, start:stop])
            torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)
    assert (leaked_BLD - packed_BLD).abs().max() > 0.1  # without the boundaries they would not be


def test_varlen_ends_say_the_same_as_the_mask() -> None:
    tokens_BL = np.full((2, 16), 5)
    tokens_BL[0, [3, 9]] = tokens_BL[1, 0] = 0
    limits = boundaries(document_positions(tokens_BL, bos=0), CPU, varlen=True)
    assert limits.ends_N is not None
    assert limits.ends_N[:6].tolist() == [0, 3, 9, 16, 32, 32]
    assert len(limits.ends_N) == 64


def test_chunked_loss_is_the_whole_one() -> None:
    generator = torch.Generator().manual_seed(2)
    hidden_TD = torch.randn(700, 16, generator=generator, requires_grad=True)
    weight_VD = torch.randn(20_000, 16, generator=generator, requires_grad=True)  # 6 chunks
    targets_T = torch.randint(0, 20_000, (700,), generator=generator)
    targets_T[::3] = IGNORED
    loss = LinearCrossEntropy.apply(hidden_TD, weight_VD, targets_T, torch.tensor(0.5)) * 2
    loss.backward()
    ours = hidden_TD.grad.clone(), weight_VD.grad.clone()
    hidden_TD.grad = weight_VD.grad = None
    expected = F.cross_entropy(hidden_TD @ weight_VD.t(), targets_T, ignore_index=IGNORED, reduction="sum")
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(ours, (hidden_TD.grad, weight_VD.grad), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(token_losses(hidden_TD, weight_VD, targets_T).sum(), expected, rtol=1e-5, atol=1e-3)
