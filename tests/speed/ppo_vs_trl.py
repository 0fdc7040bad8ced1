"""PPO here against the last TRL that had it (1.12.0, `trl.experimental.ppo`), at the same settings.

    python3.11 -m venv /tmp/trl-ppo
    /tmp/trl-ppo/bin/pip install "torch==2.13.0" "trl==1.12.0" "transformers<5.24" peft accelerate datasets
    python tests/speed/ppo_vs_trl.py /tmp/trl-ppo/bin/python [--threads 1] [--dtype float32] [--untrained]

Prints the seconds of an iteration, split into writing answers, scoring them and learning from them, of both in
interleaved rounds, and TRL's ÷ ours. Target: at least 1.5. A model of 5M parameters that was trained to give short
answers, 32 answers of up to 53 tokens (TRL's default) an iteration, 4 epochs. TRL writes every answer to the end
and cuts it afterwards, ours stop; with `--untrained` hardly any answer ends early, and both write the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("generation", "scoring", "update")
SETTINGS: dict[str, Any] = {
    "batch_size": 32,
    "per_device_batch_size": 16,
    "response_length": 53,
    "epochs": 4,
    "learning_rate": 1e-5,
}


def ours(world: Path, spec: dict[str, Any]) -> list[list[float]]:
    """Seconds of each iteration's parts."""
    sys.path.insert(0, str(ROOT))
    from engines.pytorch.ppo import iteration
    from engines.pytorch.ppo.stage import ppo
    from tests.pytorch.conftest import Listener
    from workbench.contract import Job, Metrics
    from workbench.recipes.base import validate
    from workbench.recipes.reinforcement import PpoRecipe

    values = {
        "stage": "ppo",
        "base": "model",
        "reward": "reward",
        "prompts": "prompts",
        "batch": {"batch_size": spec["batch_size"], "per_device_batch_size": spec["per_device_batch_size"]},
        "generation": {"max_completion_length": spec["response_length"]},
        "ppo": {"num_ppo_epochs": spec["epochs"]},
        "optimizer": {"learning_rate": spec["learning_rate"]},
        "schedule": {"max_steps": spec["iterations"]},
        "evaluation": {"sample_tokens": 0, "eval_steps": 1000},
        "checkpoints": {"save_steps": 1000},
        "precision": {"dtype": spec["dtype"]},
        "validation_fraction": 0.02,
    }
    folder = Path(tempfile.mkdtemp(dir=world))
    (folder / "output").mkdir()
    job = Job(
        run="ours",
        stage="ppo",
        recipe=validate(PpoRecipe, values).resolved().model_dump(mode="json"),
        inputs={"base": world / "model", "reward": world / "reward", "prompts": world / "prompts"},
        output=folder / "output",
        directory=folder,
    )
    if spec["cpu_seconds"]:
        iteration.time.perf_counter = time.process_time
    listener = Listener()
    ppo(job, listener)
    steps = [event for event in listener.all(Metrics) if event.loss is not None]
    return [[event.more[f"seconds_{part}"] for part in PARTS] for event in steps]


def theirs(world: Path, spec: dict[str, Any]) -> list[list[float]]:
    """The same of TRL: its functions are timed where one part goes over into the next."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        PreTrainedTokenizerFast,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(world / "model" / "tokenizer.json"), pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    tokenizer.padding_side = "left"
    rows = json.loads((world / "prompts.json").read_text())
    marks: list[list[float]] = []
    clock = time.process_time if spec["cpu_seconds"] else time.perf_counter
    generate, forward = ppo_trainer.batch_generation, ppo_trainer.forward

    def timed_generation(*arguments: Any, **named: Any) -> Any:
        begin = clock()
        found = generate(*arguments, **named)
        marks.append([begin, clock()])
        return found

    def timed_forward(*arguments: Any, **named: Any) -> Any:
        if torch.is_grad_enabled() and len(marks[-1]) == 2:
            marks[-1].append(clock())
        return forward(*arguments, **named)

    class Timed(PPOTrainer):
        def log(self, *arguments: Any, **named: Any) -> None:
            marks[-1].append(clock())

    ppo_trainer.batch_generation, ppo_trainer.forward = timed_generation, timed_forward
    arguments = PPOConfig(
        output_dir=str(world / "trl"),
        per_device_train_batch_size=spec["per_device_batch_size"],
        gradient_accumulation_steps=spec["batch_size"] // spec["per_device_batch_size"],
        num_mini_batches=1,
        num_ppo_epochs=spec["epochs"],
        total_episodes=spec["iterations"] * spec["batch_size"],
        local_rollout_forward_batch_size=spec["batch_size"],
        response_length=spec["response_length"],
        learning_rate=spec["learning_rate"],
        temperature=1.0,
        stop_token="eos",
        missing_eos_penalty=1.0,
        num_sample_generations=0,
        bf16=spec["dtype"] == "bfloat16",
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )

    def reward_model() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(world / "reward", num_labels=1)

    trainer = Timed(
        args=arguments,
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(world / "model"),
        ref_model=AutoModelForCausalLM.from_pretrained(world / "model"),
        reward_model=reward_model(),
        value_model=reward_model(),
        train_dataset=Dataset.from_dict({"input_ids": rows}),
        eval_dataset=Dataset.from_dict({"input_ids": rows[:2]}),
    )
    trainer.train()
    return [[later - earlier for earlier, later in itertools.pairwise(mark)] for mark in marks]


def make_world(folder: Path, trained: bool) -> None:
    """A model of 5M parameters, a reward model, and prompts, as text and as ids."""
    sys.path.insert(0, str(ROOT))
    from tests.pytorch import letter_e
    from workbench.corpus.chats.tokens import ChatTokenizer

    letter_e.make_world(folder, width=256, layers=6, steps=100 if trained else 0, reward_steps=5)
    chat = ChatTokenizer(folder / "model")
    ids = [
        chat.prompt([{"role": "user", "content": question}]).tolist()
        for question in letter_e.questions()
        for _ in range(4)
    ]
    (folder / "prompts.json").write_text(json.dumps(ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="of the environment with TRL 1.12.0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=4, help="in each round; the first is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--untrained", action="store_true", help="a model whose answers hardly ever end early")
    parser.add_argument(
        "--cpu-seconds", action="store_true", help="of the processor, not of the clock: on a machine with other work"
    )
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    spec = SETTINGS | {"iterations": options.iterations, "dtype": options.dtype, "cpu_seconds": options.cpu_seconds}
    if options.side:
        found = (ours if options.side == "ours" else theirs)(options.world, spec)
        print("SECONDS " + json.dumps(found))
        return
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    pythons = {"ours": sys.executable, "theirs": options.python}
    seconds: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder:
        make_world(Path(folder), not options.untrained)
        for _ in range(options.rounds):
            for side, python in pythons.items():
                command = [python, __file__, options.python, "--side", side, "--world", folder]
                command += ["--iterations", str(options.iterations), "--dtype", options.dtype]
                command += ["--cpu-seconds"] * options.cpu_seconds
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                lines = [line for line in done.stdout.splitlines() if line.startswith("SECONDS ")]
                if not lines:
                    sys.exit(done.stderr)
                seconds[side] += json.loads(lines[0].removeprefix("SECONDS "))[1:]
    medians = {}
    for side, iterations in seconds.items():
        parts = [statistics.median(part) for part in zip(*iterations, strict=True)]
        medians[side] = [*parts, statistics.median(sum(iteration) for iteration in iterations)]
        named = ", ".join(f"{name} {value:.3f}" for name, value in zip((*PARTS, "all"), medians[side], strict=True))
        print(f"{side:6}: seconds an iteration: {named}")
    ratios = [their / our for our, their in zip(medians["ours"], medians["theirs"], strict=True)]
    named = ", ".join(f"{name} {ratio:.2f}" for name, ratio in zip((*PARTS, "all"), ratios, strict=True))
    print(f"theirs ÷ ours: {named}")


if __name__ == "__main__":
    main()
