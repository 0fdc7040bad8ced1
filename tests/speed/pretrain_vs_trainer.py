"""Our pretraining against Hugging Face's Trainer: the same model, data, batch and dtype.

    python tests/speed/pretrain_vs_trainer.py [--compile]

Prints tokens/s of ours ÷ the Trainer's, from interleaved rounds, at about 5M parameters and sequence
length 256. Target: at least 1.1 without torch.compile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from engines.pytorch import device as devices
from engines.pytorch.model import new_model
from tests.speed.stages import Moment, Rate, Workspace
from workbench.corpus.packing import Batches, split
from workbench.corpus.shards import Shards
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe


class Windows(Dataset):
    """The same sequences in the same order."""

    def __init__(self, batches: Batches, steps: int):
        self._rows = [row for step in range(steps) for row in torch.from_numpy(batches.global_batch(step)[:, :-1])]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._rows[index], "labels": self._rows[index]}


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[Moment] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(Moment(len(self.ends) + 1, time.perf_counter(), time.process_time()))


def of_the_trainer(workspace: Workspace, settings: dict[str, Any], warmup: int, compiled: bool) -> Rate:
    job = workspace.job(
        "pretrain", f"trainer-{time.monotonic_ns()}", corpus="corpus", tokenizer="tokenizer", **settings
    )
    recipe: PretrainRecipe = validate(PretrainRecipe, job.recipe)
    assert recipe.batch.batch_size is not None
    assert recipe.model.max_length is not None
    shards = Shards(workspace.folder / "shards")
    stream = split(shards, method="auto", fraction=recipe.data.validation_fraction, seed=recipe.data.seed).train
    batches = Batches(stream, length=recipe.model.max_length, batch_size=recipe.batch.batch_size, seed=recipe.data.seed)
    model = new_model(recipe, vocab_size=shards.vocab_size, bos=0, eos=1, pad=2)
    model.config.use_cache = False
    device = devices.choose()
    bfloat16 = devices.choose_dtype(recipe.precision.dtype, device) == torch.bfloat16
    steps = recipe.schedule.max_steps
    clock = Clock()
    arguments = TrainingArguments(
        output_dir=str(job.directory / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch.batch_size,
        learning_rate=recipe.optimizer.learning_rate or 1e-3,
        lr_scheduler_type="cosine",
        weight_decay=0.1,
        max_grad_norm=1.0,
        bf16=bfloat16,
        use_cpu=device.type == "cpu",
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        torch_compile=compiled,
        report_to=[],
        logging_steps=steps,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=0,
    )
    Trainer(model=model, args=arguments, train_dataset=Windows(batches, steps), callbacks=[clock]).train()
    return Rate.between(clock.ends[warmup - 1], clock.ends[-1], recipe.batch.batch_size * recipe.model.max_length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--threads", type=int, help="CPU threads; all cores if not given")
    parser.add_argument("--packing", choices=("plain", "documents"), default="plain", help="of ours; theirs is plain")
    parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
    options = parser.parse_args()
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        torch.set_num_threads(options.threads)
    settings: dict[str, Any] = {
        "model__size": "tiny",
        "data__packing": options.packing,
        "batch__batch_size": 8,
        "schedule__max_steps": options.steps,
        "precision__compile": "always" if options.compile else "never",
        "checkpoints__save_steps": options.steps,
        "evaluation__eval_steps": options.steps,
        "evaluation__eval_tokens": 256,
        "evaluation__sample_tokens": 0,
    }
    warmup = 5
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare(["python-docs"], options.vocab_size)
        ratios = []
        for number in range(options.rounds):
            attempt = workspace.run("pretrain", f"run-{number}", corpus="corpus", tokenizer="tokenizer", **settings)
            ours = attempt.rate(after_step=warmup)
            theirs = of_the_trainer(workspace, settings, warmup, options.compile)
            ratios.append(ours.over(theirs))
            print(f"round {number + 1}: ours {ours}, Trainer {theirs}, ratio {ratios[-1][0]:.3f}", flush=True)
    wall, processor = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median ratio {wall:.3f} (target 1.1); in processor time {processor:.3f}")


if __name__ == "__main__":
    main()
