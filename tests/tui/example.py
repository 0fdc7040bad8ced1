"""A project to look at, made through the real store: text, tokenizers, a finished training, one that goes on,
one that failed, one that was stopped, an export. All times count back from `NOW`."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.contract import (
    Acknowledged,
    CheckpointSaved,
    Estimated,
    Event,
    Finished,
    Metrics,
    Progress,
    Sample,
    Started,
    Stopped,
    Warned,
)
from workbench.recipes.base import Recipe
from workbench.recipes.fields import nested
from workbench.recipes.load import recipe_from
from workbench.store import artifacts, events, runs
from workbench.store.artifacts import Artifact, identity_of
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, create, open_project

NOW = 1_790_000_000.0
HOUR = 3600.0
LOG = "\n".join(
    [
        "torch 2.13.0, 2 threads, float32",
        "qwen3: 5,768,448 parameters, 6 layers, width 256",
        "compile: auto, off (the run is short)",
        *(f"step {step}: validation took {1.9 + step % 7 / 10:.1f} s" for step in range(100, 700, 100)),
    ]
)


class Builder:
    """Fills a new project at `root`."""

    def __init__(self, root: Path):
        self.project = create(root) if not root.exists() else open_project(root)
        self.catalog: Catalog = open_catalog(self.project)
        self.made: dict[str, Artifact] = {}

    def run(self, values: dict[str, Any], inputs: dict[str, str], **spec: Any) -> runs.Run:
        """A queued run of the recipe; `inputs`: role -> id of an artifact made before."""
        recipe: Recipe = recipe_from(nested(values)).resolved()
        given = {role: self.made[name] for role, name in inputs.items()}
        identity = identity_of(recipe.identity(), {role: item.identity for role, item in given.items()})
        return runs.create(
            self.project,
            self.catalog,
            recipe,
            name=recipe.title(),
            engine=recipe.engine_name(),
            produces=recipe.produces,
            identity=spec.pop("identity", identity),
            inputs={
                role: {"kind": item.kind, "identity": item.identity, "name": item.name} for role, item in given.items()
            },
            after=spec.pop("after", ()),
            accelerator=recipe.uses_accelerator(),
        )

    def tell(self, run: runs.Run, happened: list[Event], log: str = "") -> None:
        folder = runs.folder_of(self.project, run.id)
        with open(folder / "events.jsonl", "a", encoding="utf-8") as file:
            file.writelines(event.line() for event in happened)
        if log:
            (folder / "log.txt").write_text(log + "\n", encoding="utf-8")
        events.index_events(self.project, self.catalog, run.id)

    def put(self, run: runs.Run, state: runs.State, **more: Any) -> None:
        """The run's state, and when it was asked for; `more` as in `RunState`."""
        asked = more.pop("created", NOW)
        run = replace(run, created=asked)
        path = runs.folder_of(self.project, run.id) / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "created": asked}))
        runs.write_state(self.project, self.catalog, run, runs.RunState(state=state, attempts=1, **more))

    def seal(
        self, run: runs.Run, inputs: dict[str, str], report: dict[str, Any], files: dict[str, int], at: float
    ) -> Artifact:
        """The run's artifact, with files of the given sizes."""
        folder = self.project.folder(run.produces) / f"{run.id}.partial"
        folder.mkdir()
        for name, size in files.items():
            (folder / name).write_bytes(b"\0" * size)
        recipe = runs.folder_of(self.project, run.id) / "recipe.yaml"
        import yaml

        made = artifacts.seal(
            self.project,
            self.catalog,
            folder,
            kind=run.produces,
            name=run.name,
            identity=run.identity,
            stage=run.stage,
            run=run.id,
            recipe=yaml.safe_load(recipe.read_text()),
            inputs={role: self.made[name] for role, name in inputs.items()},
            report=report,
            versions={"torch": "2.13.0", "transformers": "5.23.0"},
        )
        manifest = self.project.folder(run.produces) / made.id / "artifact.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "created": at}))
        self.catalog.connection.execute("UPDATE artifacts SET created = ? WHERE id = ?", (at, made.id))
        self.catalog.connection.commit()
        self.made[made.id] = made
        return made


def training(
    first: int, last: int, total: int, at: float, seconds: float, seed: int, floor: float = 2.6
) -> list[Event]:
    """Metrics of the steps `first`..`last` of `total`: a loss that falls to `floor`, with noise, and validations."""
    draw = random.Random(seed)
    found: list[Event] = []
    for step in range(first, last + 1):
        share = step / total
        trend = floor + 5.4 * math.exp(-6.5 * share)
        moment = at + seconds * (step - first) / max(1, last - first)
        found.append(
            Metrics(
                time=moment,
                step=step,
                tokens=step * 4096,
                loss=trend + draw.gauss(0, 0.06 + 0.15 * math.exp(-5 * share)),
                grad_norm=0.6 + 3 * math.exp(-8 * share) + abs(draw.gauss(0, 0.1)),
                learning_rate=2e-3 * min(1, share / 0.05) * (0.55 + 0.45 * math.cos(math.pi * share)),
                tokens_per_second=5200 + draw.gauss(0, 120),
                peak_memory_bytes=913 << 20,
            )
        )
        if step % (total // 10) == 0:
            measured = trend + 0.08
            found.append(
                Metrics(
                    time=moment,
                    step=step,
                    tokens=step * 4096,
                    more={"eval_loss": measured, "eval_bits_per_byte": measured / 2.0},
                )
            )
            found.append(
                Sample(
                    time=moment,
                    step=step,
                    prompt="The ",
                    text="list of values that are returned by the function.\n\nIf the argument is not given, the "
                    "default is used and the [/INST] result is a string.",
                )
            )
        if step % (total // 5) == 0:
            found.append(
                CheckpointSaved(
                    time=moment, step=step, path=f"checkpoints/step-{step:08}", eval_loss=trend + 0.08, best=True
                )
            )
    return found


PRETRAIN = {
    "stage": "pretrain",
    "corpus": "books",
    "tokenizer": "bpe-4k",
    "model.size": "tiny",
    "schedule.max_steps": 1000,
}
CORPUS_REPORT = {
    "documents": 18_342, "characters": 21_430_118, "bytes": 22_016_377, "files": 412,
    "dropped": {"exact duplicate": 2_114, "too short": 37},
}  # fmt: skip
TOKENIZER_REPORT = {"vocab_size": 4096, "merges": 3827, "bytes_per_token": 3.71, "sample_bytes": 22_016_377}
SHARDS_REPORT = {"tokens": 5_934_602, "documents": 18_342, "files": 1, "vocab_size": 4096}
MODEL_REPORT = {
    "parameters": 5_768_448, "steps": 1000, "tokens": 4_096_000, "eval_loss": 2.7081, "eval_bits_per_byte": 1.354,
    "best_step": 1000, "best_eval_loss": 2.7081, "tokens_per_second": 5187.4, "seconds": 789.6, "dtype": "float32",
    "compiled": False,
}  # fmt: skip
EXPORT_REPORT = {
    "quantization": "q8_0", "bytes": 6_291_456, "architecture": "qwen3", "context_length": 256, "fallbacks": {},
    "check": {"strings": 96, "top1_agreement": 0.9961, "largest_logit_difference": 0.1417, "mean_kl": 0.00021},
}  # fmt: skip


def make_example(root: Path) -> Project:
    """Nine runs: each stage finished once, a failed training, a stopped one, one that goes on, one that waits."""
    build = Builder(root)

    def finished(values: dict[str, Any], inputs: dict[str, str], happened: list[Event], report: dict[str, Any],
                 files: dict[str, int], ended: float, seconds: float, log: str = "") -> None:  # fmt: skip
        run = build.run(values, inputs)
        build.tell(run, [Started(time=ended - seconds), *happened, Finished(time=ended, report=report)], log)
        made = build.seal(run, inputs, report, files, ended)
        build.put(run, "finished", created=ended - seconds - 2, started=ended - seconds, ended=ended, artifact=made.id)

    finished(
        {"stage": "import", "sources": ["texts"], "name": "books"}, {},
        [Progress(time=NOW - 30 * HOUR, done=412, total=412, unit="files")], CORPUS_REPORT,
        {"documents-00000.parquet": 74_211, "rejects.parquet": 1_904}, NOW - 30 * HOUR, 21.0,
    )  # fmt: skip
    finished(
        {"stage": "tokenizer", "corpus": "books", "vocab_size": 4096, "name": "bpe-4k"}, {"corpus": "books"},
        [Progress(time=NOW - 29.9 * HOUR, done=3827, total=3827, unit="merges")], TOKENIZER_REPORT,
        {"tokenizer.json": 20_311, "tokenizer_config.json": 812}, NOW - 29.9 * HOUR, 14.0,
    )  # fmt: skip
    finished(
        {"stage": "shards", "corpus": "books", "tokenizer": "bpe-4k", "name": "books-bpe-4k"},
        {"corpus": "books", "tokenizer": "bpe-4k"},
        [Progress(time=NOW - 29.8 * HOUR, done=18_342, total=18_342, unit="documents")], SHARDS_REPORT,
        {"00000.ds": 118_692, "00000.ds.index": 14_673, "shards.json": 120}, NOW - 29.8 * HOUR, 9.0,
    )  # fmt: skip
    inputs = {"shards": "books-bpe-4k", "tokenizer": "bpe-4k"}
    estimate = Estimated(
        time=NOW - 29 * HOUR, parameters=5_768_448, memory_bytes=861 << 20, flops=1.57e14, tokens=4_096_000,
        tokens_per_parameter=0.71, seconds=801.0,
    )  # fmt: skip
    finished(
        {**PRETRAIN, "name": "base"}, inputs,
        [Started(time=NOW - 29 * HOUR, total_steps=1000), estimate, *training(1, 1000, 1000, NOW - 29 * HOUR, 790, 1)],
        MODEL_REPORT, {"model.safetensors": 230_737, "config.json": 722, "tokenizer.json": 20_311},
        NOW - 28.7 * HOUR, 790.0, LOG,
    )  # fmt: skip
    finished(
        {"stage": "export", "model": "base", "quantization": "q8_0", "name": "base-q8"}, {"model": "base"},
        [Progress(time=NOW - 28.6 * HOUR, done=58, total=58, unit="tensors", phase="write")], EXPORT_REPORT,
        {"model.gguf": 62_914, "check.json": 1_020}, NOW - 28.6 * HOUR, 12.0,
    )  # fmt: skip
    failed = build.run({**PRETRAIN, "model.size": "mini", "name": "wide"}, inputs)
    build.tell(
        failed,
        [Started(time=NOW - 5 * HOUR, total_steps=1000), *training(1, 212, 1000, NOW - 5 * HOUR, 700, 2, 2.4)],
        LOG + "\nRuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes.",
    )
    build.put(
        failed, "failed", created=NOW - 5 * HOUR, started=NOW - 5 * HOUR, ended=NOW - 4.8 * HOUR,
        reason="At step 213: Out of memory: DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "3221225472 bytes.",
        remedy="Lower --per-device-batch-size or --max-length, or choose a smaller --size, and resume.",
    )  # fmt: skip
    stopped = build.run({**PRETRAIN, "optimizer.learning_rate": 1e-3, "name": "slow"}, inputs)
    build.tell(
        stopped,
        [
            Started(time=NOW - 3 * HOUR, total_steps=1000),
            *training(1, 431, 1000, NOW - 3 * HOUR, 340, 3, 2.9),
            Acknowledged(time=NOW - 2.9 * HOUR, request="stop"),
            Stopped(time=NOW - 2.9 * HOUR, step=431),
        ],
        LOG,
    )
    build.put(
        stopped, "stopped", created=NOW - 3 * HOUR, started=NOW - 3 * HOUR, ended=NOW - 2.9 * HOUR,
        reason="It was asked to stop.", remedy=f"Go on: workbench runs resume {stopped.id}",
    )  # fmt: skip
    going = build.run({**PRETRAIN, "data.packing": "plain", "optimizer.learning_rate": 3e-3, "name": "base"}, inputs)
    build.tell(
        going,
        [
            Started(time=NOW - 520, total_steps=1000),
            replace(estimate, time=NOW - 519),
            Warned(time=NOW - 518, message="The corpus has 0.7 tokens a parameter: the model will be undertrained."),
            *training(1, 640, 1000, NOW - 517, 516, 4, 2.55),
            Acknowledged(time=NOW - 200, request="note", detail="learning rate 3e-3 looks stable so far"),
        ],
        LOG,
    )
    import os

    build.put(
        going, "running", created=NOW - 522, started=NOW - 520, pid=os.getpid(),
        pid_started=runs.process_started(os.getpid()),
    )  # fmt: skip
    queued = build.run({**PRETRAIN, "schedule.max_steps": 4000, "name": "longer"}, inputs)
    build.put(
        queued, "queued", created=NOW - 60, reason=f"waiting for the device: {going.id} is in front",
        pid=os.getpid(), pid_started=runs.process_started(os.getpid()),
    )  # fmt: skip
    build.catalog.close()
    return build.project
