"""GRPO: TRL's loss in our loop, its advantages, every source of rewards, resuming, two processes, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engines.pytorch import rewards
from engines.pytorch.distributed import Processes
from engines.pytorch.folders import open_reward_model
from engines.pytorch.grpo import GrpoMethod, grpo, new_losses
from engines.pytorch.post_training import Workplace
from engines.pytorch.ppo.scoring import LanguageScorer
from engines.pytorch.trl_trainer import frozen_reference
from engines.reinforcement import sources
from engines.reinforcement.advantages import group_advantages
from engines.reinforcement.prompts import Prompt, read_prompts
from tests.pytorch.conftest import Listener
from tests.pytorch.letter_e import make_world, share
from workbench.contract import Finished, Job, Metrics, Started, Stopped
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.fields import nested
from workbench.recipes.reinforcement import GrpoRecipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("letter-e"), steps=120, reward_steps=120)


def recipe_of(**settings: Any) -> GrpoRecipe:
    values = {
        "batch.batch_size": 16,
        "batch.per_device_batch_size": 4,
        "schedule.max_steps": 4,
        "generation.max_completion_length": 16,
        "optimizer.learning_rate": 1e-3,
        "evaluation.sample_tokens": 0,
        "evaluation.eval_steps": 100,
        "precision.dtype": "float32",
        **settings,
    }
    if not {"reward", "reward_pattern", "reward_function", "judge"} & set(values):
        values["reward"] = "reward"
    return validate(GrpoRecipe, {"stage": "grpo", "base": "model", "prompts": "prompts", **nested(values)}).resolved()


def job_of(world: Path, folder: Path, **settings: Any) -> Job:
    output = folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    inputs = {
        "base": world / "model",
        "reward": world / "reward",
        "judge": world / "model",
        "prompts": world / "prompts",
    }
    recipe = recipe_of(**settings).model_dump(mode="json")
    return Job(run=folder.name, stage="grpo", recipe=recipe, inputs=inputs, output=output, directory=folder)


def method_of(world: Path, folder: Path, **settings: Any) -> GrpoMethod:
    recipe = recipe_of(**settings)
    place = Workplace(job_of(world, folder, **settings), recipe, Listener(), Processes())
    policy = place.policy()
    scorer = LanguageScorer(policy.plain, recipe.generation.temperature)
    return GrpoMethod(
        policy,
        recipe,
        place,
        trainer=new_losses(policy, recipe, place, scorer),
        scorer=scorer,
        prompts=read_prompts(world / "prompts", policy.tokenizer, longest=200, fraction=0.1, seed=0),
        sources=sources.open_sources(
            recipe,
            place.job.inputs,
            reward=lambda path: rewards.RewardModel(path, place.device, place.dtype),
            judge=lambda path: rewards.Judge(path, place.device, place.dtype),
        ),
        reference=frozen_reference(policy),
    )


def asked(world: Path, text: str) -> Prompt:
    messages = [{"role": "user", "content": text}]
    return Prompt(messages=messages, ids_L=ChatTokenizer(world / "model").prompt(messages))


# ---------------------------------------------------------------------- the loss


def test_advantages_are_deviations_within_the_group() -> None:
    generator = np.random.default_rng(0)
    given = generator.normal(size=(5, 4)) * generator.uniform(0.1, 9, size=(5, 1)) + generator.normal(size=(5, 1))
    given[3] = 2.0  # nothing to learn from
    gains, spread = group_advantages(given.reshape(-1), 4)
    expected = []
    for group in given:
        mean = sum(group) / 4
        deviation = (sum((value - mean) ** 2 for value in group) / 3) ** 0.5
        expected += [(value - mean) / (deviation + 1e-4) for value in group]
    assert np.allclose(gains, expected, atol=1e-12)
    assert (gains.reshape(5, 4)[3] == 0).all()
    assert spread[3] == 0


@pytest.mark.parametrize("lora", [{}, {"adapter.lora_rank": 4}], ids=["full", "lora"])
def test_the_loss_is_the_clipped_objective_over_all_tokens(world: Path, tmp_path: Path, lora: dict[str, Any]) -> None:
    """TRL's loss of our micro-batches, and its gradient, are those of a NumPy-like sum through transformers' logits."""
    method = method_of(world, tmp_path, **lora, **{"beta": 0.3, "num_iterations": 2, "generation.temperature": 0.8})
    ready = method.answered(0)
    with torch.no_grad():  # away from the reference and from the old probabilities
        for parameter in method.policy.trained():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    method._trainer.current_gradient_accumulation_steps = method._trainer.args.steps_per_generation
    method.policy.model.train()
    found = sum(float(method.backward(inputs)) for inputs in ready.micro)
    gradients = [parameter.grad.clone() for parameter in method.policy.trained()]
    method.optimizer.zero_grad(set_to_none=True)

    total, outside = torch.zeros(()), 0
    for inputs in ready.micro:
        for row in range(len(inputs["prompt_ids"])):
            prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()]
            kept = inputs["completion_mask"][row].bool()
            answer = inputs["completion_ids"][row][kept]
            logits = method.policy.model(input_ids=torch.cat([prompt, answer])[None]).logits[0]
            every = (logits[len(prompt) - 1 : -1] / 0.8).log_softmax(-1)
            new = every.gather(1, answer[:, None])[:, 0]
            ratio = torch.exp(new - inputs["old_per_token_logps"][row][kept])
            gain = inputs["advantages"][row]
            outside += int(((ratio - 1).abs() > 0.2).sum())
            away = inputs["ref_per_token_logps"][row][kept] - new
            objective = (
                torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain) - 0.3 * (away.exp() - away - 1) * ratio
            )
            total = total - objective.sum()
    (total / ready.tokens).backward()
    assert outside > 5
    assert found == pytest.approx(float(total) / ready.tokens, abs=1e-5)
    for gradient, parameter in zip(gradients, method.policy.trained(), strict=True):
        assert torch.allclose(gradient, parameter.grad, atol=1e-5)


def test_the_first_ratio_is_exactly_one(world: Path, tmp_path: Path) -> None:
    method = method_of(world, tmp_path, num_iterations=2)
    method._trainer.current_gradient_accumulation_steps = 1
    method.policy.model.train()
    for inputs in method.answered(0).micro:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        new_BT, _, _ = method._trainer._get_per_token_logps_and_entropies(
            method.policy.model, ids, mask, inputs["completion_ids"].shape[1]
        )
        assert new_BT.requires_grad
        assert torch.equal(new_BT, inputs["old_per_token_logps"])
        assert torch.equal(new_BT, inputs["ref_per_token_logps"])


# ---------------------------------------------------------------------- sources of rewards


def test_the_reward_models_score_is_read_at_the_end_of_the_conversation(world: Path) -> None:
    source = rewards.RewardModel(world / "reward", torch.device("cpu"), torch.float32)
    prompts = [asked(world, "Say 3 words about gold."), asked(world, "Say 4 words about snow and stars.")]
    answers = ["the tree between these", "or"]
    found = source(prompts, answers)
    model = open_reward_model(world / "reward")
    chat = ChatTokenizer(world / "reward")
    for prompt, answer, score in zip(prompts, answers, found, strict=True):
        turns = [*prompt.messages, {"role": "assistant", "content": answer}]
        ids_1L = torch.from_numpy(chat.conversation(turns).ids_L.astype(np.int64))[None]
        assert score == pytest.approx(float(model(input_ids=ids_1L).logits), abs=1e-4)
    assert found[0] > found[1]  # it has learnt the rule


def test_a_pattern_is_searched_for(world: Path) -> None:
    prompt = asked(world, "Say 3 words about gold.")
    assert sources.Pattern(r"^\d+$")([prompt] * 3, ["12", "12 apples", ""]) == [1.0, 0.0, 0.0]
    with pytest.raises(WorkbenchError, match="is no regular expression"):
        sources.Pattern("(")


def test_a_function_of_the_users(world: Path, tmp_path: Path) -> None:
    prompt = asked(world, "Say 3 words about gold.")
    file = tmp_path / "mine.py"
    file.write_text(
        "def gold(prompt, answer):\n    return len(answer) + 100 * ('gold' in prompt)\n\n"
        "def broken(prompt, answer):\n    return 1 / len(answer)\n\ndef words(prompt, answer):\n    return 'good'\n"
    )
    assert sources.Function(f"{file}:gold")([prompt] * 2, ["abc", ""]) == [103.0, 100.0]
    with pytest.raises(WorkbenchError, match=r"failed on the answer ''.*ZeroDivisionError"):
        sources.Function(f"{file}:broken")([prompt], [""])
    with pytest.raises(WorkbenchError, match="gave 'good' for the answer"):
        sources.Function(f"{file}:words")([prompt], [""])
    file.write_text("def several(prompts, answers):\n    return [-0.01] * 500\n")
    with pytest.raises(WorkbenchError) as caught:
        sources.Function(f"{file}:several")([prompt], ["abc"])
    assert len(caught.value.what) < 400
    assert "(prompt: str, answer: str) -> score" in caught.value.remedy
    file.write_text("def gold(prompt, answer):\n    return 1\n\ndef broken(prompt, answer):\n    return 1 / 0\n")
    with pytest.raises(WorkbenchError) as caught:
        sources.Function(f"{file}:silver")
    assert "gold, broken" in caught.value.remedy
    with pytest.raises(WorkbenchError, match="there is no such file"):
        sources.Function("nowhere.py:gold")
    file.write_text("import nothing_of_that_name\n")
    with pytest.raises(WorkbenchError, match="cannot be imported: ModuleNotFoundError"):
        sources.Function(f"{file}:gold")


def test_a_judges_mark_is_the_mean_over_its_digits(world: Path) -> None:
    judge = rewards.Judge(world / "model", torch.device("cpu"), torch.float32)
    prompts = [asked(world, "Say 3 words about gold."), asked(world, "Say 4 words about snow and stars.")]
    found = judge(prompts, ["the tree", "or"])
    assert all(1 <= mark <= 9 for mark in found)
    assert found[0] != found[1]
    chat = ChatTokenizer(world / "model")
    for prompt, answer, mark in zip(prompts, ["the tree", "or"], found, strict=True):
        content = sources.QUESTION.format(request=prompt.text, answer=answer)
        ids = torch.from_numpy(chat.prompt([{"role": "user", "content": content}]).astype(np.int64))[None, -256:]
        logits_V = judge._model(input_ids=ids).logits[0, -1]
        weights = logits_V[judge.digits].softmax(0)
        assert mark == pytest.approx(float((weights * torch.arange(1, 10)).sum()), abs=1e-4)


# ---------------------------------------------------------------------- the stage


def test_a_run_with_several_rewards_reports_each(world: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def short(prompt, answer):\n    return -len(answer) / 100\n")
    settings = {"reward_pattern": "e", "reward_function": f"{file}:short", "beta": 0.05, "num_iterations": 2}
    listener = Listener()
    grpo(job_of(world, tmp_path / "run", **settings), listener)
    steps = [event for event in listener.all(Metrics) if event.loss is not None]
    assert [event.step for event in steps] == [1, 2, 3, 4]
    for event in steps:
        assert set(event.more) == {
            "reward_mean", "reward_pattern_mean", "reward_function_mean", "reward_spread", "kl", "entropy",
            "clip_fraction", "response_length", "eos_rate", "seconds_generation", "seconds_scoring", "seconds_update",
        }  # fmt: skip
        parts = event.more["reward_pattern_mean"] + event.more["reward_function_mean"]
        assert event.more["reward_mean"] == pytest.approx(parts)
    assert steps[0].more["kl"] == 0.0
    assert steps[-1].more["kl"] != 0.0
    report = listener.all(Finished)[-1].report
    assert report["reward_mean"] == steps[-1].more["reward_mean"]
    assert {"kl", "eval_reward_mean", "eval_reward_mean_before", "eval_kl"} <= set(report)


@pytest.mark.parametrize("settings", [{"num_iterations": 2}, {"adapter.lora_rank": 4, "adapter.lora_dropout": 0.1}])
def test_a_stopped_run_goes_on_bit_for_bit(world: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = Listener()
    grpo(job_of(world, tmp_path / "whole", **settings), whole)
    parted, job = Listener(stop_after=4), job_of(world, tmp_path / "parted", **settings)
    grpo(job, parted)
    [stopped] = parted.all(Stopped)
    assert 0 < stopped.step < 4
    rest = Listener()
    grpo(job, rest)
    assert rest.all(Started)[0].step == stopped.step
    assert parted.losses() | rest.losses() == whole.losses()
    name = "adapter_model.safetensors" if "adapter.lora_rank" in settings else "model.safetensors"
    expected, found = (load_file(tmp_path / run / "output" / name) for run in ("whole", "parted"))
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key


@pytest.mark.slow
def test_two_processes_make_the_same_steps(world: Path, tmp_path: Path) -> None:
    settings = {"schedule.max_steps": 2}
    alone = Listener()
    grpo(job_of(world, tmp_path / "alone", **settings), alone)
    job = job_of(world, tmp_path / "two", **settings, **{"launch.kind": "torchrun", "launch.processes": 2})
    job.write(tmp_path / "two" / "job.json")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launcher, "-m", "engines.pytorch", str(tmp_path / "two" / "job.json")],
        check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=240,
    )  # fmt: skip
    events = [json.loads(line) for line in (tmp_path / "two" / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "Metrics" and event["loss"] is not None]
    expected = [event for event in alone.all(Metrics) if event.loss is not None]
    for one, two in zip(expected, steps, strict=True):
        assert two["loss"] == pytest.approx(one.loss, abs=1e-5)
        assert two["grad_norm"] == pytest.approx(one.grad_norm, abs=1e-4)
        for name in ("reward_mean", "kl", "entropy", "response_length", "reward_spread"):
            assert two["more"][name] == pytest.approx(one.more[name], abs=1e-4), name


def test_settings_that_exclude_each_other() -> None:
    with pytest.raises(WorkbenchError, match="needs a source of rewards"):
        validate(GrpoRecipe, {"stage": "grpo", "base": "a", "prompts": "b"}).resolved()
    with pytest.raises(WorkbenchError, match="16 cannot be parted into groups of num_generations 5"):
        recipe_of(num_generations=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_reward_rises_near_the_reference(world: Path, tmp_path: Path, seed: int) -> None:
    """A reward model's held-out score rises from about 1 to 3 in 50 iterations, within 25 nats of the base."""
    listener = Listener()
    settings = {
        "seed": seed,
        "batch.batch_size": 64,
        "batch.per_device_batch_size": 32,
        "schedule.max_steps": 50,
        "generation.max_completion_length": 32,
        "optimizer.learning_rate": 5e-4,
        "num_iterations": 3,
        "beta": 0.05,
        "missing_eos_penalty": 1.0,
        "validation_fraction": 0.3,
    }
    grpo(job_of(world, tmp_path / "run", **settings), listener)
    report = listener.all(Finished)[-1].report
    assert report["eval_reward_mean"] > report["eval_reward_mean_before"] + 1.2
    assert 1.0 < report["eval_kl"] < 25.0
    assert report["eval_eos_rate"] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_answers_get_better_by_the_rule(world: Path, tmp_path: Path, seed: int) -> None:
    """The letter's share itself, from 0.15 to 0.7 in 40 iterations, by a function of the user's."""
    file = tmp_path / "rule.py"
    file.write_text(
        "from tests.pytorch.letter_e import share\n\ndef reward(prompt, answer):\n    return share(answer)\n"
    )
    assert share("tree") == 0.5
    listener = Listener()
    settings = {
        "seed": seed,
        "reward_function": f"{file}:reward",
        "batch.batch_size": 32,
        "batch.per_device_batch_size": 16,
        "schedule.max_steps": 40,
        "generation.max_completion_length": 32,
        "optimizer.learning_rate": 5e-4,
        "num_iterations": 3,
        "beta": 0.05,
        "missing_eos_penalty": 0.2,
        "validation_fraction": 0.3,
    }
    grpo(job_of(world, tmp_path / "run", **settings), listener)
    report = listener.all(Finished)[-1].report
    assert report["eval_reward_mean"] > report["eval_reward_mean_before"] + 0.2
    assert report["eval_kl"] < 10
