"""Tokens a second of MLX pretraining and LoRA tuning here, over those of mlx-lm's own trainer.

    python -m tests.speed.mlx_vs_mlx_lm [--rounds 5] [--compiled] [--own-blas]

Pretraining; LoRA on whole texts; LoRA on answers, half of each row a prompt (mlx-lm has --mask-prompt for that).
Same model, same batch, same optimizer, in turns, since the load of a machine changes. mlx-lm compiles its step; on a
CPU MLX has a C++ compiler build the kernels, for minutes, so that both go uncompiled here unless --compiled says so.
Both multiply with torch's BLAS, as our engine does (engines/mlx/blas.py) and mlx-lm does not; with --own-blas both do
with MLX's own. What a user of mlx-lm on Linux meets is its figure of the second, and ours of the first.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from engines.mlx.blas import use_torch_blas

if "--own-blas" not in sys.argv:
    use_torch_blas()  # before mlx is imported

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx_lm.tuner.trainer import default_loss
from mlx_lm.tuner.utils import linear_to_lora_layers

from engines.mlx.forward import IGNORED, Targets, hidden_states, token_losses
from engines.mlx.lora import add_lora
from engines.mlx.trainer import Trainer
from workbench.recipes.training import OptimizerSection
from workbench.recipes.tuning import AdapterSection

WIDTH, LAYERS, HEADS, VOCABULARY, LENGTH, BATCH = 128, 4, 4, 2048, 128, 4
STEPS = 5  # of a round


def new_model() -> Any:
    definition = importlib.import_module("mlx_lm.models.llama")
    sizes = {
        "model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "intermediate_size": 3 * WIDTH,
        "num_attention_heads": HEADS, "rms_norm_eps": 1e-6, "vocab_size": VOCABULARY, "tie_word_embeddings": True,
    }  # fmt: skip
    mx.random.seed(0)
    return definition.Model(definition.ModelArgs.from_dict(sizes))


def ours(tokens_BL1: np.ndarray, *, lora: bool, prompt: int, compiled: bool) -> Callable[[], None]:
    model = new_model()
    if lora:
        adapter = AdapterSection(lora_rank=8, lora_alpha=16.0, target_modules=["q_proj", "v_proj"])
        add_lora(model, adapter, seed=0)
    targets_BL = tokens_BL1[:, 1:].copy()
    targets_BL[:, :prompt] = IGNORED
    targets = Targets.of(targets_BL, lambda count: count) if prompt else Targets(mx.array(targets_BL))
    inputs = (mx.array(tokens_BL1[:, :-1]), tuple(targets), mx.array(1 / (BATCH * (LENGTH - prompt))))

    def loss(tokens_BL: mx.array, fields: Any, scale: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
        return token_losses(model, hidden_states(model, tokens_BL, None), Targets(*fields)).sum() * scale, {}

    section = OptimizerSection(learning_rate=1e-4, max_grad_norm=0.0)
    trainer = Trainer(model, loss, section, dtype=mx.float32, seed=0, compiled=compiled)
    return lambda: trainer.step(0, [inputs], 1e-4) and None


def theirs(tokens_BL1: np.ndarray, *, lora: bool, prompt: int, compiled: bool) -> Callable[[], None]:
    """The step of mlx_lm.tuner.trainer.train, which cannot be had without its loop."""
    model = new_model()
    if lora:
        model.freeze()
        keys = {"self_attn.q_proj", "self_attn.v_proj"}
        linear_to_lora_layers(model, LAYERS, {"rank": 8, "scale": 2.0, "dropout": 0.0, "keys": keys})
    model.train()
    optimizer = optim.AdamW(1e-4, weight_decay=0.1, bias_correction=True)
    value_and_grad = nn.value_and_grad(model, default_loss)
    state = [model.state, optimizer.state, mx.random.state]

    def step(batch: Any) -> Any:
        (value, count), gradients = value_and_grad(model, *batch)
        optimizer.update(model, gradients)
        return value, count

    made = partial(mx.compile, inputs=state, outputs=state)(step) if compiled else step
    batch = (mx.array(tokens_BL1), mx.array([[prompt + 1 if prompt else 0, LENGTH]] * BATCH))

    def run() -> None:
        mx.eval(state, made(batch))

    return run


def rate(step: Callable[[], None]) -> float:
    begin = time.process_time()
    for _ in range(STEPS):
        step()
    return STEPS * BATCH * LENGTH / (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--own-blas", action="store_true")
    asked = parser.parse_args()
    tokens_BL1 = np.random.default_rng(0).integers(VOCABULARY, size=(BATCH, LENGTH + 1), dtype=np.int32)
    for name, lora, prompt in (("pretraining", False, 0), ("LoRA", True, 0), ("LoRA on answers", True, LENGTH // 2)):
        pair = [make(tokens_BL1, lora=lora, prompt=prompt, compiled=asked.compiled) for make in (ours, theirs)]
        for step in pair:
            step()
        rates = [[rate(step) for step in pair] for _ in range(asked.rounds)]
        ratios = [own / other for own, other in rates]
        own, other = (median(column) for column in zip(*rates, strict=True))
        print(
            f"{name}: ours {own:,.0f}, mlx-lm's {other:,.0f} tokens a CPU-second; "
            f"ratio {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
