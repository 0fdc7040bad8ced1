"""Recipes that train on answers which the model writes itself: GRPO and PPO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import FUNCTION, PATH_OR_NAME, Reads, Section
from workbench.recipes.tuning import DERIVED_LENGTH, TuningRecipe, TuningScheduleSection

DERIVED_ANSWER = 128  # tokens, where nothing is said and the context allows it


class GenerationSection(Section):
    """How answers are written."""

    max_completion_length: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description=f"Longest answer. Derived: {DERIVED_ANSWER}, or half of a sequence where that is less.",
        json_schema_extra={"unit": "tokens"},
    )
    temperature: float = Field(1.0, gt=0, description="Of drawing tokens; 1 samples from the policy itself.")

    @property
    def longest(self) -> int:
        """Tokens of the longest answer, where sequences have room for it."""
        return self.max_completion_length or DERIVED_ANSWER


class StepsSection(TuningScheduleSection):
    """How long, in optimizer steps: there is no last row of the data to reach."""

    max_steps: int | None = Field(
        100,
        ge=1,
        description="Iterations: answers written, scored and learnt from.",
        json_schema_extra={"unit": "steps"},
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = Field(
        "constant", description="How the learning rate falls to 0 after the warm-up; constant: not at all."
    )


class ReinforcementRecipe(TuningRecipe):
    """What both have in common: prompts, and how answers are written."""

    full_learning_rate: ClassVar[float] = 1e-6
    lora_learning_rate: ClassVar[float] = 1e-5

    prompts: str = Field(
        description="Prompts to answer: a file (jsonl, txt) or conversations of the project.",
        json_schema_extra=PATH_OR_NAME,
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=0.9, description="Share of the prompts held out; at most 64 of them are answered to evaluate."
    )
    schedule: StepsSection = Field(default_factory=StepsSection)
    generation: GenerationSection = Field(default_factory=GenerationSection)

    def require_fit(self, context: int) -> None:
        self.fitted(context)

    def fitted(self, context: int) -> Self:
        """The recipe with max_length and max_completion_length set; `context` is the smallest, in tokens, of the
        models that read a prompt with its answer.

        Raises `WorkbenchError` if answers leave no room for a prompt, or sequences are longer than the context.
        """
        TuningRecipe.require_fit(self, context)
        length = self.max_length or min(DERIVED_LENGTH, context)
        answer = self.generation.max_completion_length or min(DERIVED_ANSWER, length // 2)
        if answer >= length:
            raise WorkbenchError(
                f"Answers of {answer:,} tokens leave no room for a prompt: a sequence can have {length:,} tokens.",
                f"Set --max-completion-length to {length // 2} or less.",
            )
        generation = self.generation.model_copy(update={"max_completion_length": answer})
        return self.model_copy(update={"max_length": length, "generation": generation})


class GrpoRecipe(ReinforcementRecipe):
    """Group relative policy optimization (Shao et al. 2024): answers to a prompt are compared with each other."""

    reads: ClassVar[Mapping[str, Reads]] = {"base": "model", "prompts": "chats", "reward": "reward", "judge": "model"}
    default_name: ClassVar[str] = "{base}-grpo"

    stage: Literal["grpo"] = "grpo"
    reward: str | None = Field(None, description="The reward model that scores answers.")
    reward_pattern: str | None = Field(
        None, description="A regular expression: an answer in which it is found scores 1, any other 0."
    )
    reward_function: str | None = Field(
        None,
        description="A Python function (prompt, answer) -> score of yours: FILE.py:NAME. It runs as you.",
        json_schema_extra=FUNCTION,
    )
    judge: str | None = Field(None, description="A model that is asked for a mark from 1 to 9.")
    num_generations: int = Field(4, ge=2, le=64, description="Answers to each prompt; batch_size is a multiple of it.")
    num_iterations: int = Field(1, ge=1, le=64, description="Optimizer steps on the same answers, in each iteration.")
    beta: float = Field(0.0, ge=0, description="Weight of the KL divergence to the base model.")
    epsilon: float = Field(0.2, gt=0, lt=1, description="The ratio of probabilities is clipped to 1 ± this.")
    missing_eos_penalty: float = Field(0.0, ge=0, description="Taken from the reward of an answer that was cut off.")

    def resolved(self) -> Self:
        given = [name for name in ("reward", "reward_pattern", "reward_function", "judge") if getattr(self, name)]
        if not given:
            raise WorkbenchError(
                "GRPO needs a source of rewards, and none is given.",
                "Give one or more of --reward, --reward-pattern, --reward-function, --judge; several are added up.",
            )
        result = super().resolved()
        size, groups = result.batch.batch_size or 1, self.num_generations * self.launch.processes
        if size % groups:
            each = f" for each of {self.launch.processes} processes" if self.launch.processes > 1 else ""
            raise WorkbenchError(
                f"batch_size {size} cannot be parted into groups of num_generations {self.num_generations}{each}.",
                f"Set it to {-(-size // groups) * groups}.",
            )
        return result


class PpoSection(Section):
    """The method's own settings (Schulman et al. 2017; Ziegler et al. 2019)."""

    num_ppo_epochs: int = Field(4, ge=1, le=64, description="Passes over each batch of answers.")
    num_mini_batches: int = Field(1, ge=1, description="Optimizer steps a pass; batch_size is a multiple of it.")
    cliprange: float = Field(0.2, gt=0, lt=1, description="The ratio of probabilities is clipped to 1 ± this.")
    cliprange_value: float = Field(0.2, gt=0, description="A value may move this far from its old one.")
    vf_coef: float = Field(0.1, ge=0, description="Weight of the value loss.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount of later rewards.")
    lam: float = Field(0.95, ge=0, le=1, description="Of generalized advantage estimation (Schulman et al. 2016).")
    kl_coef: float = Field(
        0.05,
        ge=0,
        description="Penalty on each token's divergence from the base model. The kl that is reported is estimated from "
        "the answers: by chance it can be a little below 0.",
    )
    target_kl: float | None = Field(
        None, gt=0, description="Adapt kl_coef to keep the KL of an answer near this. Not set: kl_coef is fixed.",
        json_schema_extra={"unit": "nats"},
    )  # fmt: skip
    kl_horizon: int = Field(
        10_000, ge=1, description="How slowly kl_coef adapts.", json_schema_extra={"unit": "answers"}
    )
    whiten_rewards: bool = Field(False, description="Scale a batch's rewards to a variance of 1.")
    missing_eos_penalty: float = Field(1.0, ge=0, description="Taken from the score of an answer that was cut off.")
    value_learning_rate: float | None = Field(
        None, gt=0, description="Peak learning rate of the value model. Derived: the policy's."
    )


class PpoRecipe(ReinforcementRecipe):
    """Proximal policy optimization: raise a reward model's score, near the base model."""

    reads: ClassVar[Mapping[str, Reads]] = {"base": "model", "prompts": "chats", "reward": "reward"}
    default_name: ClassVar[str] = "{base}-ppo"

    stage: Literal["ppo"] = "ppo"
    reward: str = Field(description="The reward model that scores answers.")
    ppo: PpoSection = Field(default_factory=PpoSection)

    def resolved(self) -> Self:
        result = super().resolved()
        size = (result.batch.batch_size or 1) // self.launch.processes
        update: dict[str, Any] = {}
        if size % self.ppo.num_mini_batches:
            fewer = range(1, min(self.ppo.num_mini_batches, size + 1))
            fitting = max(number for number in fewer if size % number == 0)
            each = " of each process" if self.launch.processes > 1 else ""
            raise WorkbenchError(
                f"The {size} answers{each} cannot be parted into {self.ppo.num_mini_batches} mini-batches.",
                f"Set num_mini_batches to {fitting}, or raise batch_size.",
            )
        if self.adapter.lora_dropout:
            raise WorkbenchError(
                f"lora_dropout is {self.adapter.lora_dropout}, and PPO trains without dropout: it compares the "
                "probabilities of one answer at two times.",
                "Leave lora_dropout out.",
            )
        if self.ppo.value_learning_rate is None:
            update["ppo"] = self.ppo.model_copy(update={"value_learning_rate": result.optimizer.learning_rate})
        return result.model_copy(update=update)
