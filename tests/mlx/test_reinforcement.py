"""PPO and GRPO on MLX: PyTorch's answers, scores, losses, gradients and steps; runs that learn, stop and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="trl is not installed: pip install 'llm-workbench[tuning]'")

from mlx.utils import tree_flatten

from engines.mlx import MlxEngine, answers, device
from engines.mlx import grpo as mlx_grpo
from engines.mlx import ppo as mlx_ppo
from engines.mlx.folders import LORA_PREFIX
from engines.mlx.policy import open_policy
from engines.mlx.post_training import Workplace
from engines.pytorch import rewards
from engines.pytorch.ppo.method import PpoMethod
from engines.reinforcement.prompts import Prompt, read_prompts
from tests.mlx.tuning import check_compiled, check_resuming
from tests.pytorch import test_grpo, test_ppo
from tests.pytorch.conftest import Listener
from tests.pytorch.letter_e import make_world, share
from workbench.contract import CheckpointSaved, Estimated, Finished, Job, Metrics, Sample, Started
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError

LORA = {"adapter.lora_rank": 4}
SMALL = {"engine": "mlx", "batch.batch_size": 8, "evaluation.sample_tokens": 0}
MOVED = 0.02  # how far the trained weights are taken from the base


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("letter-e"), width=32, steps=120, reward_steps=120)


def policy_of(recipe: Any, world: Path) -> Any:
    return open_policy(world / "model", recipe.adapter, seed=0, dtype=device.choose_dtype("float32"))


def ppo_methods(world: Path, folder: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    """PyTorch's and MLX's, from the same weights."""
    recipe: Any = test_ppo.recipe_of(**SMALL | settings).fitted(256)
    learner, prompts = test_ppo.learner_of(world, recipe)
    theirs = PpoMethod(learner, prompts)
    policy = policy_of(recipe, world)
    models = mlx_ppo.open_models(policy, world / "reward", recipe, device.choose_dtype("float32"))
    place = Workplace(test_ppo.job_of(world, folder / "job", **settings), recipe, Listener())
    ours = mlx_ppo.PpoMethod(mlx_ppo.Learner(models, recipe, place), prompts)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (learner.models.policy, learner.models.value):
            for parameter in part.trained():
                parameter += MOVED * torch.randn(parameter.shape, generator=generator)
    (folder / "begin").mkdir()
    learner.models.save(folder / "begin")
    ours.restore(folder / "begin")
    return theirs, ours


def grpo_methods(world: Path, folder: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    """PyTorch's and MLX's, from the same weights."""
    recipe: Any = test_grpo.recipe_of(**SMALL | settings).fitted(256)
    theirs = test_grpo.method_of(world, folder / "theirs", **SMALL | settings)
    policy = policy_of(recipe, world)
    prompts = read_prompts(world / "prompts", policy.tokenizer, longest=200, fraction=0.1, seed=0)
    place = Workplace(test_grpo.job_of(world, folder / "job", **settings), recipe, Listener())
    sources: Any = {"reward": answers.RewardModel(world / "reward", "float32")}
    ours = mlx_grpo.Grpo(policy, recipe, place, prompts, sources)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in theirs.policy.trained():
            parameter += MOVED * torch.randn(parameter.shape, generator=generator)
    (folder / "begin").mkdir()
    theirs.policy.save(folder / "begin")
    ours.restore(folder / "begin")
    return theirs, ours


def by_torch_names(policy: Any, tree: Any) -> dict[str, np.ndarray]:
    """Of trained weights of MLX, or their gradients."""
    flat = dict(tree_flatten(tree))
    if not policy.adapted:
        return {name: np.array(item) for name, item in flat.items()}
    found = {}
    for name, item in flat.items():
        place, _, kind = name.rpartition(".")
        if kind in ("lora_a", "lora_b"):
            found[f"{LORA_PREFIX}{place}.lora_{kind[-1].upper()}.default.weight"] = np.array(item).T
        else:
            found[f"{LORA_PREFIX}{place}.modules_to_save.default.{kind}"] = np.array(item)
    return found


def check_gradients(policy: Any, gradients: Any, module: torch.nn.Module) -> None:
    found = by_torch_names(policy, gradients)
    reference = {name: item.grad.numpy() for name, item in module.named_parameters() if item.requires_grad}
    assert found.keys() == reference.keys()
    for name, gradient in reference.items():
        assert np.abs(found[name] - gradient).max() <= 1e-4 * np.abs(gradient).max() + 1e-9, name


def check_weights(policy: Any, module: torch.nn.Module) -> None:
    found = by_torch_names(policy, policy.model.trainable_parameters())
    for name, item in module.named_parameters():
        if item.requires_grad:
            assert np.abs(found[name] - item.detach().numpy()).max() < 2e-3 * item.abs().max(), name


@pytest.mark.parametrize("settings", [{}, LORA], ids=["full", "lora"])
def test_ppo_is_that_of_pytorch(world: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """The same answers, scores and advantages; on these the same losses and gradients, in 20 steps of both AdamWs."""
    theirs, ours = ppo_methods(world, tmp_path, settings | {"ppo.num_ppo_epochs": 10, "ppo.whiten_rewards": True})
    expected, found = theirs._score(0).mini_batches, ours._score(0).mini_batches
    for mini, own_mini in zip(expected, found, strict=True):
        for micro, own in zip(mini, own_mini, strict=True):
            assert micro.lengths == own.lengths
            assert micro.rows.targets_N.tolist() == own.rows.gathered(own.rows.targets_BL).tolist()
            assert micro.ended_B.tolist() == own.ended
            for name in ("log_probs_N", "reference_N", "entropy_N", "values_N", "scores_B"):
                assert np.allclose(getattr(own, name), getattr(micro, name).detach().numpy(), atol=1e-4), name
            for name in ("advantages_N", "returns_N"):
                assert np.allclose(getattr(own, name), getattr(micro, name).numpy(), atol=1e-3), name
            # What follows is measured on exactly the same rollout.
            own.advantages_N, own.returns_N = micro.advantages_N.numpy(), micro.returns_N.numpy()
            own.log_probs_N, own.values_N = micro.log_probs_N.detach().numpy(), micro.values_N.detach().numpy()
    figures = ours.learner.answer_figures([micro for mini in found for micro in mini])
    reference = theirs.learner.answer_figures([micro for mini in expected for micro in mini])
    assert figures == pytest.approx(reference, rel=1e-4, abs=1e-4)

    micro, own = expected[0][0], found[0][0]
    theirs.learner._learn(micro, 1.0 / sum(micro.lengths))
    policy, value = ours.learner.inputs(own, 1.0 / sum(own.lengths))
    _, gradients = ours.learner.policy_trainer.gradients(*policy)
    check_gradients(ours.policy, gradients, theirs.policy.model)
    _, gradients = ours.learner.value_trainer.gradients(*value)
    check_gradients(ours.value, gradients, theirs.models.value.model)
    theirs.optimizer.zero_grad(set_to_none=True)

    made, own_made = theirs.learner.update(expected, 0, 1e-3), ours.learner.update(found, 0, 1e-3)
    assert own_made.loss == pytest.approx(float(made.loss), abs=1e-3)
    assert own_made.policy_grad_norm == pytest.approx(float(made.policy_grad_norm), rel=1e-2)
    assert own_made.figures == pytest.approx(made.figures, abs=1e-2)
    check_weights(ours.policy, theirs.policy.model)
    check_weights(ours.value, theirs.models.value.model)


@pytest.mark.parametrize("settings", [{}, LORA], ids=["full", "lora"])
def test_grpo_is_that_of_pytorch(world: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """The same answers, rewards and advantages; on these the same loss and gradients, over 20 steps of AdamW."""
    more = {"beta": 0.3, "num_iterations": 20, "generation.temperature": 0.8}
    theirs, ours = grpo_methods(world, tmp_path, settings | more)
    expected, found = theirs.answered(0), ours.answered(0)
    assert found.tokens == expected.tokens
    for name, value in expected.figures.items():
        assert found.figures[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name
    micro = []
    for inputs, (rows, _, _, _, scale) in zip(expected.micro, found.micro, strict=True):
        mask = inputs["completion_mask"].bool()
        assert rows.gathered(rows.targets_BL).tolist() == inputs["completion_ids"][mask].tolist()
        reference = rows.spread(inputs["ref_per_token_logps"][mask].numpy())
        old = rows.spread(inputs["old_per_token_logps"][mask].numpy())
        micro.append((rows, device.mx.array(inputs["advantages"].numpy()), reference, old, scale))
    assert np.allclose(rows.gathered(found.micro[-1][2]), rows.gathered(reference), atol=1e-4)

    theirs._trainer.current_gradient_accumulation_steps = theirs._trainer.args.steps_per_generation
    theirs.policy.model.train()
    lost = theirs.backward(dict(expected.micro[0]))
    loss, gradients = ours.trainer.gradients(*micro[0])
    assert float(loss) == pytest.approx(float(lost), rel=1e-4, abs=1e-6)
    check_gradients(ours.policy, gradients, theirs.policy.model)
    theirs.optimizer.zero_grad(set_to_none=True)
    theirs._trainer._metrics["train"].clear()

    theirs._ready, ours._ready = expected, found
    found.micro = micro
    made, own_made = theirs.optimize(0, 1e-3), ours.optimize(0, 1e-3)
    assert own_made.loss == pytest.approx(float(made.loss), abs=1e-3)
    assert own_made.grad_norm == pytest.approx(float(made.grad_norm), rel=1e-2)
    assert own_made.tokens == made.tokens
    assert own_made.figures.keys() == made.figures.keys()
    assert own_made.figures["clip_fraction"] == pytest.approx(made.figures["clip_fraction"], abs=2e-3)
    check_weights(ours.policy, theirs.policy.model)


def test_the_first_ratio_is_exactly_one(world: Path, tmp_path: Path) -> None:
    _, ours = ppo_methods(world, tmp_path, LORA | {"ppo.num_mini_batches": 1})
    [mini_batch] = ours._score(0).mini_batches
    for micro in mini_batch:
        micro.advantages_N = np.ones_like(micro.advantages_N)
        (fields, old, gains, scale), _ = ours.learner.inputs(micro, 1.0)
        (loss, figures), _ = ours.learner.policy_trainer._gradients(fields, old, gains, scale)
        assert float(loss) == -sum(micro.lengths)  # of as many ratios of 1
        assert float(figures["clip_fraction"]) == 0


def test_models_that_judge_are_those_of_pytorch(world: Path) -> None:
    chat = ChatTokenizer(world / "model")
    questions = [[{"role": "user", "content": text}] for text in ("Say 3 words about gold.", "Say 4 words about snow.")]
    prompts = [Prompt(messages=messages, ids_L=chat.prompt(messages)) for messages in questions]
    texts = ["the tree between these", "or"]
    here = torch.device("cpu"), torch.float32
    for ours, theirs in (
        (answers.RewardModel(world / "reward", "float32"), rewards.RewardModel(world / "reward", *here)),
        (answers.Judge(world / "model", device.choose_dtype("float32")), rewards.Judge(world / "model", *here)),
    ):
        assert ours(prompts, texts) == pytest.approx(theirs(prompts, texts), abs=1e-4)


@pytest.mark.parametrize("stage", ["ppo", "grpo"])
@pytest.mark.parametrize("settings", [{}, LORA], ids=["full", "lora"])
def test_a_stopped_run_goes_on_bit_for_bit(world: Path, tmp_path: Path, stage: str, settings: dict[str, Any]) -> None:
    module: Any = test_ppo if stage == "ppo" else test_grpo
    more = {"ppo.target_kl": 0.5, "ppo.kl_horizon": 100} if stage == "ppo" else {"num_iterations": 2}
    schedule = {"checkpoints.save_steps": 2, "evaluation.sample_tokens": 4}

    def job_of(name: str) -> Job:
        return module.job_of(world, tmp_path / name, **SMALL | settings | more | schedule)

    whole, _ = check_resuming(job_of, stop_after=4)
    assert whole.all(Started)[0].total_steps == 4
    [estimated] = whole.all(Estimated)
    assert estimated.seconds > 0
    assert whole.all(Sample)
    assert [event.step for event in whole.all(CheckpointSaved)] == [2, 4]
    steps = [event for event in whole.all(Metrics) if event.loss is not None]
    assert steps[0].more["kl"] == 0.0  # the base is its own reference
    assert steps[-1].more["kl"] != 0.0
    report = whole.all(Finished)[0].report
    assert {"kl", "eval_reward_mean", "eval_reward_mean_before", "eval_kl", "prompts"} <= set(report)
    assert report["adapter"] == bool(settings)


def test_events_and_figures_are_those_of_pytorch(world: Path, tmp_path: Path) -> None:
    for module, run in ((test_ppo, test_ppo.ppo), (test_grpo, test_grpo.grpo)):
        settings = SMALL | {"schedule.max_steps": 1}
        theirs, ours = Listener(), Listener()
        name = module.__name__.rpartition(".")[2]
        run(module.job_of(world, tmp_path / f"{name}-theirs", **settings), theirs)
        MlxEngine().run(module.job_of(world, tmp_path / f"{name}-ours", **settings), ours)
        kinds = [[type(event).__name__ for event in listener.events] for listener in (theirs, ours)]
        assert kinds[0] == kinds[1]
        for one, other in zip(theirs.all(Metrics), ours.all(Metrics), strict=True):
            assert one.more.keys() == other.more.keys()
        one, other = theirs.all(Metrics)[0].more, ours.all(Metrics)[0].more  # before the first step
        assert other == pytest.approx(one, abs=1e-3)
        assert theirs.all(Finished)[0].report.keys() | {"compiled"} == ours.all(Finished)[0].report.keys()


def test_what_cannot_be_is_said_before_work_starts(world: Path, tmp_path: Path) -> None:
    inputs = {"reward": world / "model"}
    with pytest.raises(WorkbenchError, match="is no reward model: it is a LlamaForCausalLM"):
        MlxEngine().run(test_ppo.job_of(world, tmp_path / "ppo", inputs, **SMALL), Listener())
    with pytest.raises(WorkbenchError, match="leave no room for a prompt"):
        MlxEngine().run(test_grpo.job_of(world, tmp_path / "grpo", **SMALL | {"max_length": 16}), Listener())


@pytest.mark.slow
def test_grpo_raises_the_share_of_the_letter(world: Path, tmp_path: Path) -> None:
    """By a function of the user's."""
    file = tmp_path / "rule.py"
    file.write_text(
        "from tests.pytorch.letter_e import share\n\ndef reward(prompt, answer):\n    return share(answer)\n"
    )
    assert share("tree") == 0.5
    settings = {
        "reward_function": f"{file}:reward", "batch.batch_size": 32, "batch.per_device_batch_size": 16,
        "schedule.max_steps": 30, "generation.max_completion_length": 32, "optimizer.learning_rate": 1e-3,
        "num_iterations": 3, "beta": 0.05, "missing_eos_penalty": 0.2, "validation_fraction": 0.3,
    }  # fmt: skip
    listener = Listener()
    MlxEngine().run(test_grpo.job_of(world, tmp_path / "run", **SMALL | settings), listener)
    report = listener.all(Finished)[-1].report
    assert report["eval_reward_mean"] > report["eval_reward_mean_before"] + 0.15


@pytest.mark.slow
def test_ppo_raises_the_reward_near_the_reference(world: Path, tmp_path: Path) -> None:
    """From 0.52 to 0.88; with three times as many answers to 1.09, and PyTorch's to 1.12."""
    settings = {
        "batch.batch_size": 32, "batch.per_device_batch_size": 32, "schedule.max_steps": 30,
        "generation.max_completion_length": 32, "optimizer.learning_rate": 1e-3, "ppo.num_mini_batches": 1,
        "ppo.num_ppo_epochs": 4, "ppo.target_kl": 5.0, "ppo.kl_horizon": 500, "validation_fraction": 0.3,
    }  # fmt: skip
    listener = Listener()
    MlxEngine().run(test_ppo.job_of(world, tmp_path / "run", **SMALL | settings), listener)
    report = listener.all(Finished)[-1].report
    assert report["eval_reward_mean"] > report["eval_reward_mean_before"] + 0.25
    assert report["eval_kl"] < 15


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ppo", "grpo"])
def test_a_compiled_step_gives_the_same_losses(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    module: Any = test_ppo if stage == "ppo" else test_grpo
    few = {"schedule.max_steps": 2, "generation.max_completion_length": 6}
    more = {"ppo.num_mini_batches": 1} if stage == "ppo" else {"num_iterations": 2, "beta": 0.1}
    check_compiled(lambda name: module.job_of(world, tmp_path / name, **SMALL | few | more), monkeypatch)
