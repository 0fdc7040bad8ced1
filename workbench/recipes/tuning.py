"""What the recipes of post-training share: adapters, batches, schedule, evaluation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import NOT_IDENTITY, Recipe, Section
from workbench.recipes.training import BatchSection, CheckpointSection, LaunchSection, OptimizerSection, resolve_batch

MAX_DERIVED_MICRO_BATCH_TOKENS = 8_192  # activations of a model of 135M at this size take about 7 GiB in bfloat16
DERIVED_LENGTH = 1_024  # tokens, where no length is given and the context allows it


class AdapterSection(Section):
    """LoRA (Hu et al. 2021): train small matrices beside frozen weights. Without a rank, all weights are trained."""

    lora_rank: int | None = Field(
        None, ge=1, le=4096, description="Rank of the added matrices. Not set: full fine-tuning."
    )
    lora_alpha: float | None = Field(
        None, gt=0, description="Their scale is lora_alpha / lora_rank. Derived: twice the rank."
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: list[str] = Field(
        default_factory=lambda: ["all-linear"],
        min_length=1,
        description="Layers that get an adapter, by the end of their name (q_proj, v_proj); all-linear: every one.",
    )
    use_dora: bool = Field(
        False,
        description="Learn how long each output's weights are apart from where they point (DoRA, Liu et al. 2024); "
        "needs lora_rank.",
    )
    quantize_base: Literal["none", "nf4", "mlx-4bit", "mlx-8bit"] = Field(
        "none",
        description="Hold the frozen weights in 4 or 8 bits (QLoRA, Dettmers et al. 2023): nf4 with the engine "
        "pytorch, mlx-4bit and mlx-8bit with mlx; needs lora_rank.",
    )


class TuningOptimizerSection(OptimizerSection):
    """AdamW with the defaults of fine-tuning."""

    weight_decay: float = Field(0.0, ge=0, description="Decoupled decay of matrices; norms and biases have none.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the squared gradient's running mean.")


class TuningScheduleSection(Section):
    """How long, and the learning rate over the run."""

    num_train_epochs: float = Field(1.0, gt=0, description="Passes over the data, if max_steps is not set.")
    max_steps: int | None = Field(
        None, ge=1, description="Optimizer steps to make, instead of epochs.", json_schema_extra={"unit": "steps"}
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = Field(
        "cosine", description="How the learning rate falls to 0 after the warm-up; constant: not at all."
    )
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate.")


class TuningPrecisionSection(Section):
    """Number format and what is recomputed to save memory."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the matrix products; trained weights stay float32. auto: bfloat16 where the device is fast.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Compute activations twice instead of keeping them: a third slower, far less memory.",
        json_schema_extra=NOT_IDENTITY,
    )


class TuningEvaluationSection(Section):
    """What is measured and sampled during training."""

    eval_steps: int | None = Field(
        None, ge=1, description="Evaluate and sample every this many steps. Derived: ten times a run.",
        json_schema_extra={"unit": "steps", **NOT_IDENTITY},
    )  # fmt: skip
    sample_prompts: list[str] = Field(
        default_factory=lambda: ["Who are you?"],
        description="Questions to answer at each evaluation.",
        json_schema_extra=NOT_IDENTITY,
    )
    sample_tokens: int = Field(
        64,
        ge=0,
        description="Length of those samples; 0 writes none.",
        json_schema_extra={"unit": "tokens", **NOT_IDENTITY},
    )


class TuningRecipe(Recipe):
    """A stage that trains a model further. Subclasses add their data and their method's own settings."""

    produces: ClassVar[str] = "model"
    batch_sequences: ClassVar[int] = 16  # an optimizer step, if nothing is said
    full_learning_rate: ClassVar[float] = 2e-5
    lora_learning_rate: ClassVar[float] = 2e-4

    engine: str = Field("pytorch", description="The engine that trains: pytorch, or mlx (Apple silicon).")
    base: str = Field(description="The model to begin with.")
    max_length: int | None = Field(
        None,
        ge=8,
        le=1_048_576,
        description="Sequences are cut to this. Derived: the model's context, at most 1,024.",
        json_schema_extra={"unit": "tokens"},
    )
    seed: int = Field(0, ge=0, description="Seeds the order of the data, adapters, dropout and the held-out split.")
    adapter: AdapterSection = Field(default_factory=AdapterSection)
    batch: BatchSection = Field(default_factory=BatchSection)
    optimizer: TuningOptimizerSection = Field(default_factory=TuningOptimizerSection)
    schedule: TuningScheduleSection = Field(default_factory=TuningScheduleSection)
    precision: TuningPrecisionSection = Field(default_factory=TuningPrecisionSection)
    evaluation: TuningEvaluationSection = Field(default_factory=TuningEvaluationSection)
    checkpoints: CheckpointSection = Field(default_factory=CheckpointSection)
    launch: LaunchSection = Field(default_factory=LaunchSection)

    def uses_accelerator(self) -> bool:
        return True

    def weight_format(self) -> str | None:
        return None if self.adapter.quantize_base == "none" else self.adapter.quantize_base

    def resolved(self) -> Self:
        adapter, optimizer = self.adapter.model_copy(), self.optimizer.model_copy()
        if adapter.lora_rank is not None and adapter.lora_alpha is None:
            adapter.lora_alpha = 2.0 * adapter.lora_rank
        if optimizer.learning_rate is None:
            optimizer.learning_rate = self.full_learning_rate if adapter.lora_rank is None else self.lora_learning_rate
        batch = resolve_batch(
            self.batch,
            self.batch_sequences,
            processes=self.launch.processes,
            most=max(2, MAX_DERIVED_MICRO_BATCH_TOKENS // (self.max_length or DERIVED_LENGTH)),
        )
        update: dict[str, Any] = {"name": self.title(), "adapter": adapter, "optimizer": optimizer, "batch": batch}
        steps = self.schedule.max_steps
        if steps is not None:  # else they follow from the size of the data, in the engine
            if self.evaluation.eval_steps is None:
                update["evaluation"] = self.evaluation.model_copy(update={"eval_steps": max(1, steps // 10)})
            if self.checkpoints.save_steps is None:
                update["checkpoints"] = self.checkpoints.model_copy(update={"save_steps": max(1, steps // 5)})
        self._check()
        return self.model_copy(update=update)

    def require_fit(self, context: int) -> None:
        """Raises `WorkbenchError` if sequences are to be longer than `context`, the tokens that their readers take."""
        if self.max_length is not None and self.max_length > context:
            raise WorkbenchError(
                f"max_length is {self.max_length:,} tokens, and the context is {context:,}.",
                f"Set --max-length to {context} at most.",
            )

    def _check(self) -> None:
        """Raises `WorkbenchError` for settings that exclude each other."""
        adapter = self.adapter
        if adapter.lora_rank is None:
            for name, left in (
                ("lora_alpha", None), ("lora_dropout", 0.0), ("target_modules", ["all-linear"]), ("use_dora", False),
                ("quantize_base", "none"),
            ):  # fmt: skip
                if getattr(adapter, name) != left:
                    raise _needs_rank(f"adapter.{name}")
        self.launch.check()


def _needs_rank(field: str) -> WorkbenchError:
    return WorkbenchError(
        f"{field} is set, but full fine-tuning has no adapter.", "Set lora_rank too, for example --lora-rank 16."
    )
