"""A whole pretraining on a tiny corpus: it learns, and leaves a model that transformers reads."""

from __future__ import annotations

import json

import torch
from transformers import AutoModelForCausalLM

from engines.pytorch.pretrain import pretrain
from tests.pytorch.conftest import VOCAB_SIZE, Listener, Workspace
from workbench.contract import Estimated, Finished, Metrics, Sample, Started


def test_it_learns_and_leaves_a_model(workspace: Workspace) -> None:
    job = workspace.job(schedule__max_steps=150, optimizer__learning_rate=1e-2, evaluation__eval_steps=50)
    (job.output / "left-over.bin").touch()
    listener = Listener()
    pretrain(job, listener)

    losses = listener.losses()
    assert list(losses) == list(range(1, 151))
    assert 6.2 < losses[1] < 6.6  # ln 600 = 6.4: nothing is known yet
    assert losses[150] < 4.6
    evaluated = {event.step: event.more["eval_bits_per_byte"] for event in listener.all(Metrics) if event.more}
    assert list(evaluated) == [30, 50, 60, 90, 100, 120, 150]  # every 50 steps, and with every checkpoint
    assert evaluated[150] < evaluated[30] - 0.5
    assert len(listener.all(Sample)) == 7
    assert listener.all(Started)[0].total_steps == 150

    model, info = AutoModelForCausalLM.from_pretrained(job.output, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    report = listener.all(Finished)[0].report
    assert report["parameters"] == model.num_parameters() == listener.all(Estimated)[0].parameters
    assert report["tokens"] == 150 * 8 * 64
    assert report["eval_bits_per_byte"] == evaluated[150]
    assert report["best_checkpoint"] == f"checkpoints/step-{report['best_step']:08d}"
    assert sorted(path.name for path in job.output.iterdir()) == [
        "config.json", "generation_config.json", "held_out.txt", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    config = json.loads((job.output / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000
    assert config["vocab_size"] == VOCAB_SIZE
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (0, 1, 2)
    assert len((job.output / "held_out.txt").read_text()) > 1000
    assert torch.float32 == next(model.parameters()).dtype
