"""What PPO and GRPO reach on a preference with a known rule: the share of the letter "e" in an answer.

    python tests/speed/ppo_learning.py [--seeds 3] [--steps 50] [--method ppo]

A chat model of 0.15M parameters that answers in a few words, and a reward model trained on pairs of such answers. For
every seed it prints the reward model's held-out score and the letter's share before and after, the KL to the base in
nats an answer, length and rate of ended answers. Target: the score rises by 1.5 at a KL below 10 (PPO) and 25 (GRPO).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from engines.pytorch.distributed import Processes
from engines.pytorch.grpo import grpo
from engines.pytorch.policy import open_policy
from engines.pytorch.ppo.answers import write_share
from engines.pytorch.ppo.stage import ppo
from engines.reinforcement.answers import drawing_of
from engines.reinforcement.prompts import read_prompts
from engines.tokenizer import TextTokenizer
from tests.pytorch.conftest import Listener
from tests.pytorch.letter_e import make_world, share
from workbench.contract import Finished, Job
from workbench.recipes.base import validate
from workbench.recipes.load import STAGES

COMMON: dict[str, Any] = {
    "base": "model",
    "reward": "reward",
    "prompts": "prompts",
    "validation_fraction": 0.3,
    "batch": {"batch_size": 64, "per_device_batch_size": 32},
    "generation": {"max_completion_length": 32},
    "optimizer": {"learning_rate": 5e-4},
    "evaluation": {"sample_tokens": 0},
    "precision": {"dtype": "float32"},
}
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ppo": (ppo, {"ppo": {"target_kl": 5.0, "kl_horizon": 500}}),
    "grpo": (grpo, {"num_iterations": 3, "beta": 0.05, "missing_eos_penalty": 1.0}),
}


def mean_share(folder: Path, world: Path, recipe: Any) -> float:
    """Of answers to the held-out prompts."""
    policy = open_policy(folder, recipe.adapter, seed=0, device=torch.device("cpu"), dtype=torch.float32)
    prompts = read_prompts(world / "prompts", policy.tokenizer, longest=200, fraction=0.3, seed=recipe.seed).held_out
    written = write_share(
        policy, prompts, drawing_of(policy.tokenizer, policy.base, recipe.generation), Processes(), (9,)
    )
    texts = TextTokenizer(folder)
    return sum(share(texts.decode(item.answer.tolist())) for item in written) / len(written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--method", choices=METHODS, help="one of them alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        world = make_world(Path(name), steps=200, reward_steps=250)
        for method in [options.method] if options.method else METHODS:
            stage, settings = METHODS[method]
            for seed in range(options.seeds):
                values = COMMON | settings | {"stage": method, "seed": seed, "schedule": {"max_steps": options.steps}}
                recipe = validate(STAGES[method], values).resolved()
                folder = world / f"{method}-{seed}"
                (folder / "output").mkdir(parents=True)
                inputs = {"base": world / "model", "reward": world / "reward", "prompts": world / "prompts"}
                job = Job(
                    run=folder.name,
                    stage=method,
                    recipe=recipe.model_dump(mode="json"),
                    inputs=inputs,
                    output=folder / "output",
                    directory=folder,
                )
                listener = Listener()
                stage(job, listener)
                report = listener.all(Finished)[-1].report
                shares = [mean_share(model, world, recipe) for model in (world / "model", folder / "output")]
                print(
                    f"{method:4} seed {seed}: reward {report['eval_reward_mean_before']:.2f} → "
                    f"{report['eval_reward_mean']:.2f}, KL {report['eval_kl']:.1f}, share of e {shares[0]:.3f} → "
                    f"{shares[1]:.3f}, length {report['eval_response_length_before']:.1f} → "
                    f"{report['eval_response_length']:.1f}, ended {report['eval_eos_rate']:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
