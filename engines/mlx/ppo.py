"""The stage `ppo` on MLX: a policy, its frozen reference, a value model and a reward model.

With full fine-tuning they are four models. With an adapter they are two: the reference is the base without the policy's
adapter, and the value model is an adapter on the reward model, with a head of its own. Policy and value model share no
weights: each has its own gradients, clipping and optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engines.mlx.answers import Rows, answer_statistics, rows_of, write
from engines.mlx.folders import open_causal_lm
from engines.mlx.forward import IGNORED, hidden_states
from engines.mlx.lora import add_lora, without_adapter
from engines.mlx.method import PolicyMethod
from engines.mlx.policy import Policy
from engines.mlx.post_training import Workplace, train
from engines.mlx.reward_model import open_reward_model, scores_of, values_of
from engines.mlx.trainer import Inputs, Trainer
from engines.reinforcement.advantages import token_advantages
from engines.reinforcement.answers import Written, answer_means, drawing_of
from engines.reinforcement.ppo import Ppo, Update, parted, passes, require_finite
from engines.reinforcement.prompts import Prompt, Prompts, prompts_of, warn_of_prompts
from engines.reinforcement.same_tokens import foreign_template, refuse_foreign_tokens
from workbench.contract import Job, Reporter, Warned
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.recipes.base import validate
from workbench.recipes.reinforcement import PpoRecipe

VALUE_FOLDER = "value"  # in a checkpoint


def ppo(job: Job, reporter: Reporter) -> None:
    """Raise the reward of a model's answers, or go on from the run's newest whole checkpoint."""
    asked: PpoRecipe = validate(PpoRecipe, job.recipe).resolved()
    base, reward = job.inputs["base"], job.inputs["reward"]
    refuse_foreign_tokens(base, reward)

    def make(place: Workplace, policy: Policy) -> PpoMethod:
        models = open_models(policy, reward, asked, place.dtype)
        recipe = asked.fitted(min(policy.context_length, models.value.context_length))
        prompts = prompts_of(recipe, job.inputs["prompts"], policy.tokenizer)
        method = PpoMethod(Learner(models, recipe, place), prompts)
        for message in warn_of_prompts(prompts, recipe, method.batch_size) + foreign_template(
            policy.tokenizer, models.value.tokenizer
        ):
            reporter.emit(Warned(message=message))
        return method

    train(job, reporter, asked, make)


@dataclass(kw_only=True)
class Models:
    """`reference` and `reward` are None where an adapter that is off plays their part."""

    policy: Policy
    value: Policy
    reference: Any
    reward: Any
    reward_head: mx.array  # of the reward model, [1, width]


def open_models(policy: Policy, reward: Path, recipe: PpoRecipe, dtype: mx.Dtype) -> Models:
    """The others beside the policy. Raises `WorkbenchError` if one cannot be opened."""
    reward_model: Any = None
    reference: Any = None
    critic, config = open_reward_model(reward, dtype if policy.adapted else mx.float32)
    head = mx.array(critic.score.weight)
    if policy.adapted:
        add_lora(critic, recipe.adapter, seed=recipe.seed)
    else:
        # In the number format that the policy is computed in, so that their first divergence is exactly 0.
        reference, _ = open_causal_lm(policy.base, dtype)
        reward_model, _ = open_reward_model(reward, dtype)
    critic.train()
    value = Policy(model=critic, config=config, base=reward, section=recipe.adapter, tokenizer=ChatTokenizer(reward))
    return Models(policy=policy, value=value, reference=reference, reward=reward_model, reward_head=head)


@dataclass(kw_only=True)
class MicroBatch:
    """Answers that go through the models at once, with what is learnt from them; N are their tokens, float32."""

    rows: Rows
    lengths: list[int]
    ended: list[bool]
    log_probs_N: np.ndarray
    reference_N: np.ndarray
    entropy_N: np.ndarray
    values_N: np.ndarray
    scores_B: np.ndarray
    advantages_N: np.ndarray
    returns_N: np.ndarray


class Learner:
    """Satisfies `engines.reinforcement.ppo.Learner`."""

    def __init__(self, models: Models, recipe: PpoRecipe, place: Workplace):
        self.models, self.recipe = models, recipe
        self.kl_coef = recipe.ppo.kl_coef
        self.drawing = drawing_of(models.policy.tokenizer, models.policy.base, recipe.generation)
        self._padded = place.padded
        settings: dict[str, Any] = {"dtype": place.dtype, "seed": recipe.seed, "compiled": place.compiled}
        self.policy_trainer = Trainer(models.policy.model, self.policy_loss, recipe.optimizer, **settings)
        self.value_trainer = Trainer(models.value.model, self.value_loss, recipe.optimizer, **settings)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with self.policy_trainer.evaluating(), self.value_trainer.evaluating():
            yield

    # ------------------------------------------------------------------ answers and what the models say of them

    def write(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        with self.policy_trainer.evaluating():
            return write(self.models.policy.model, prompts, self.drawing, key)

    def score(self, written: Sequence[Written], step: int) -> list[list[MicroBatch]]:
        mini_batches = [[self.scored(part) for part in mini_batch] for mini_batch in parted(written, self.recipe, step)]
        self._estimate_advantages([micro for mini_batch in mini_batches for micro in mini_batch])
        return mini_batches

    def scored(self, written: Sequence[Written]) -> MicroBatch:
        models, temperature = self.models, self.recipe.generation.temperature
        rows = rows_of(written, self.drawing.pad_id, self._padded)
        policy, critic = models.policy.model, models.value.model
        with self.evaluating():
            own = answer_statistics(policy, rows, temperature)
            values_BL = values_of(critic, hidden_states(critic, rows.ids_BL, None))
            with ExitStack() as off:
                if models.reference is None:
                    off.enter_context(without_adapter(policy))
                    off.enter_context(without_adapter(critic))
                reference = answer_statistics(models.reference or policy, rows, temperature)
                scores_B = scores_of(models.reward or critic, rows.ids_BL, rows.last_B, head=models.reward_head)
            mx.eval(own, values_BL, reference.losses, scores_B)
        scores = np.array(scores_B)
        require_finite(scores)
        empty_N = np.empty(0, np.float32)
        return MicroBatch(
            rows=rows,
            lengths=[len(item.answer) for item in written],
            ended=[item.ended for item in written],
            log_probs_N=rows.gathered(-own.losses),
            reference_N=rows.gathered(-reference.losses),
            entropy_N=rows.gathered(own.entropy),
            values_N=rows.gathered(values_BL),
            scores_B=scores,
            advantages_N=empty_N,
            returns_N=empty_N,
        )

    def _estimate_advantages(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Set the advantages and returns of every token."""

        def together(name: str) -> np.ndarray:
            return np.concatenate([getattr(micro, name) for micro in micro_batches])

        advantages_N, returns_N = token_advantages(
            self.recipe.ppo,
            self.kl_coef,
            lengths=[length for micro in micro_batches for length in micro.lengths],
            ended=[ended for micro in micro_batches for ended in micro.ended],
            scores_B=together("scores_B"),
            log_probs_N=together("log_probs_N"),
            reference_N=together("reference_N"),
            values_N=together("values_N"),
        )
        ends = np.cumsum([sum(micro.lengths) for micro in micro_batches])[:-1]
        for micro, gains_N, own_N in zip(
            micro_batches, np.split(advantages_N, ends), np.split(returns_N, ends), strict=True
        ):
            micro.advantages_N, micro.returns_N = gains_N, own_N

    # ------------------------------------------------------------------ learning

    def policy_loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """The clipped objective (Schulman et al. 2017, eq. 7), negated, summed over tokens; where the clip decides."""
        fields, old_BL, gains_BL, scale = inputs
        rows, cliprange = Rows(*fields), self.recipe.ppo.cliprange
        new_BL = -answer_statistics(
            self.models.policy.model, rows, self.recipe.generation.temperature, checkpointed=self._checkpointed
        ).losses
        ratio_BL = mx.exp(new_BL - old_BL)
        free_BL, clipped_BL = -gains_BL * ratio_BL, -gains_BL * mx.clip(ratio_BL, 1 - cliprange, 1 + cliprange)
        counts_BL = rows.targets_BL != IGNORED
        loss = (mx.maximum(free_BL, clipped_BL) * counts_BL).sum() * scale
        return loss, {
            "policy_loss": mx.stop_gradient(loss),
            "clip_fraction": ((clipped_BL > free_BL) & counts_BL).sum() * scale,
        }

    def value_loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """Half the squared error of each token's value, which counts as no nearer than `cliprange_value` to its old one
        (as in Ziegler et al. 2019), summed over tokens; where the clip decides."""
        fields, old_BL, returns_BL, scale = inputs
        rows, cliprange, model = Rows(*fields), self.recipe.ppo.cliprange_value, self.models.value.model
        values_BL = values_of(model, hidden_states(model, rows.ids_BL, None, checkpointed=self._checkpointed))
        near_BL = mx.clip(values_BL, old_BL - cliprange, old_BL + cliprange)
        free_BL, clipped_BL = (values_BL - returns_BL) ** 2, (near_BL - returns_BL) ** 2
        counts_BL = rows.targets_BL != IGNORED
        loss = 0.5 * (mx.maximum(free_BL, clipped_BL) * counts_BL).sum() * scale
        return self.recipe.ppo.vf_coef * loss, {
            "value_loss": mx.stop_gradient(loss),
            "value_clip_fraction": ((clipped_BL > free_BL) & counts_BL).sum() * scale,
        }

    def inputs(self, micro: MicroBatch, scale: float) -> tuple[Inputs, Inputs]:
        """What `policy_loss` and `value_loss` read of answers whose tokens count `scale` each."""
        rows, share = micro.rows, mx.array(scale)
        return (
            (tuple(rows), rows.spread(micro.log_probs_N), rows.spread(micro.advantages_N), share),
            (tuple(rows), rows.spread(micro.values_N), rows.spread(micro.returns_N), share),
        )

    def update(self, mini_batches: Sequence[Sequence[MicroBatch]], step: int, learning_rate: float) -> Update:
        recipe = self.recipe
        value_rate = learning_rate * (recipe.ppo.value_learning_rate or 0.0) / (recipe.optimizer.learning_rate or 1.0)
        sums: dict[str, float] = {}
        norms = []
        for number, place in enumerate(passes(recipe, step, len(mini_batches))):
            mini_batch = mini_batches[place]
            scale = 1.0 / sum(sum(micro.lengths) for micro in mini_batch)
            policy, value = zip(*(self.inputs(micro, scale) for micro in mini_batch), strict=True)
            made = self.policy_trainer.step(number, policy, learning_rate)
            fitted = self.value_trainer.step(number, value, value_rate)
            norms.append(float(made.grad_norm))
            for name, figure in (made.figures | fitted.figures).items():
                sums[name] = sums.get(name, 0.0) + figure
        figures = {name: total / len(norms) for name, total in sums.items()}
        loss = figures["policy_loss"] + recipe.ppo.vf_coef * figures["value_loss"]
        return Update(loss=loss, policy_grad_norm=float(np.max(norms)), figures=figures)

    def try_learning(self, micro: MicroBatch) -> None:
        policy, value = self.inputs(micro, 1.0 / sum(micro.lengths))
        mx.eval(self.policy_trainer.gradients(*policy), self.value_trainer.gradients(*value))

    def answer_figures(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        lengths = [length for micro in micro_batches for length in micro.lengths]
        sums = {
            "reward_mean": sum(float(micro.scores_B.sum(dtype=np.float64)) for micro in micro_batches),
            "kl": sum(float((micro.log_probs_N - micro.reference_N).sum(dtype=np.float64)) for micro in micro_batches),
            "entropy": sum(float(micro.entropy_N.sum(dtype=np.float64)) for micro in micro_batches),
            "response_length": sum(lengths),
            "eos_rate": sum(sum(micro.ended) for micro in micro_batches),
        }
        return answer_means(sums, len(lengths))

    @property
    def _checkpointed(self) -> bool:
        return self.recipe.precision.gradient_checkpointing


class PpoMethod(Ppo, PolicyMethod):
    """Satisfies `engines.mlx.method.Method`."""

    learner: Learner
    recipe: PpoRecipe

    def __init__(self, learner: Learner, prompts: Prompts):
        PolicyMethod.__init__(self, learner.models.policy, learner.recipe)
        Ppo.__init__(self, learner, prompts)
        self.value, self.trainer = learner.models.value, learner.policy_trainer
        self.held_out_text = "\n\n".join(prompt.text for prompt in prompts.held_out)
        self.steps_per_epoch = math.ceil(len(prompts.train) / self.batch_size)
        # 2 a weight and token for writing, 2 for each of four scores, 12 for both models in each pass; over 6.
        self.flops_factor = (10 + 12 * self.recipe.ppo.num_ppo_epochs) / 6.0

    def wait(self) -> None:
        """Nothing: what is timed is evaluated."""

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        raise AssertionError("an iteration has several optimizer steps, each of its own micro-batches")

    def optimizer_state(self) -> dict[str, mx.array]:
        parts = {"policy": self.learner.policy_trainer, "value": self.learner.value_trainer}
        return {f"{part}.{name}": item for part, trainer in parts.items() for name, item in trainer.state().items()}

    def load_optimizer_state(self, arrays: dict[str, mx.array]) -> None:
        for part, trainer in (("policy.", self.learner.policy_trainer), ("value.", self.learner.value_trainer)):
            trainer.load_state(
                {name.removeprefix(part): item for name, item in arrays.items() if name.startswith(part)}
            )

    def write_checkpoint(self, folder: Path) -> None:
        """The policy, and the value model beside it."""
        self.write(folder)
        (folder / VALUE_FOLDER).mkdir()
        self.value.save(folder / VALUE_FOLDER)

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self.policy.restore(folder)
        self.value.restore(folder / VALUE_FOLDER)
