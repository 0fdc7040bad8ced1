"""What reporting, control files, validation and checkpoints cost a training.

    python tests/speed/pretrain_overhead.py

Prints tokens/s of a pretraining run ÷ those of the same model and batches in a bare loop, from
interleaved rounds. Target: at least 0.98.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch

from engines.pytorch import device as devices
from engines.pytorch.decoder import TrainingModel
from engines.pytorch.model import new_model
from engines.pytorch.optimizer import adamw
from engines.pytorch.sequences import Sequences
from tests.speed.stages import Moment, Rate, Workspace
from workbench.corpus.pretraining_data import pretraining_data
from workbench.corpus.shards import Shards
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe


def of_a_bare_loop(workspace: Workspace, settings: dict[str, object]) -> Rate:
    job = workspace.job("pretrain", f"bare-{time.monotonic_ns()}", corpus="corpus", tokenizer="tokenizer", **settings)
    recipe: PretrainRecipe = validate(PretrainRecipe, job.recipe)
    assert recipe.batch.batch_size is not None
    assert recipe.model.max_length is not None
    shards = Shards(workspace.folder / "shards")
    batches = pretraining_data(recipe, {"shards": workspace.folder / "shards"}).batches
    device = devices.choose()
    dtype = devices.choose_dtype(recipe.precision.dtype, device)
    model = TrainingModel(new_model(recipe, vocab_size=shards.vocab_size, bos=0, eos=1, pad=2), dtype).to(device)
    optimizer = adamw(model, recipe.optimizer)
    for group in optimizer.param_groups:
        group["lr"] = 1e-4
    sequences = Sequences(device=device, bos=0, pack_documents=recipe.data.packing == "documents", varlen=False)
    inputs = [sequences.inputs(batches.global_batch(step)) for step in range(recipe.schedule.max_steps)]
    scale = torch.full((), 1 / (recipe.batch.batch_size * recipe.model.max_length), device=device)
    for step, batch in enumerate(inputs):
        if step == 1:
            begin = Moment(1, time.perf_counter(), time.process_time())
        model(*batch, scale).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    end = Moment(len(inputs), time.perf_counter(), time.process_time())
    return Rate.between(begin, end, recipe.batch.batch_size * recipe.model.max_length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--threads", type=int, help="CPU threads; all cores if not given")
    options = parser.parse_args()
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        torch.set_num_threads(options.threads)
    settings: dict[str, object] = {
        "model__size": options.size,
        "batch__batch_size": 8,
        "schedule__max_steps": options.steps,
        "precision__compile": "never",
        "checkpoints__save_steps": options.steps // 2,
        "evaluation__eval_steps": options.steps,
        "evaluation__eval_tokens": 256,
        "evaluation__sample_tokens": 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.prepare(["python-docs"], 4096)
        ratios = []
        for number in range(options.rounds):
            attempt = workspace.run("pretrain", f"run-{number}", corpus="corpus", tokenizer="tokenizer", **settings)
            ours, bare = attempt.rate(after_step=1), of_a_bare_loop(workspace, settings)
            ratios.append(ours.over(bare))
            print(f"round {number + 1}: run {ours}, bare loop {bare}, ratio {ratios[-1][0]:.3f}", flush=True)
    wall, processor = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median ratio {wall:.3f} (target 0.98); in processor time {processor:.3f}")


if __name__ == "__main__":
    main()
