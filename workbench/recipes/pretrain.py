"""Recipe of pretraining: one dial, `model.size`, derives the rest; anything derived can be set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import NOT_IDENTITY, Reads, Recipe, Reference, Section, WeightedNames
from workbench.recipes.mixture import Mixture, mixture, phase, phase_texts
from workbench.recipes.training import (
    BatchSection,
    CheckpointSection,
    LaunchSection,
    OptimizerSection,
    derive,
    resolve_batch,
)

Size = Literal["nano", "tiny", "mini", "small", "medium", "large"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a size stands for."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_length: int  # tokens
    batch_size: int  # sequences an optimizer step
    learning_rate: float


# Parameters without embeddings are about 12 · layers · width²: 0.8M, 4.7M, 19M, 85M, 302M, 708M.
SIZES: dict[str, Shape] = {
    "nano": Shape(128, 4, 2, max_length=128, batch_size=16, learning_rate=3e-3),
    "tiny": Shape(256, 6, 4, max_length=256, batch_size=16, learning_rate=2e-3),
    "mini": Shape(448, 8, 7, max_length=512, batch_size=32, learning_rate=1.5e-3),
    "small": Shape(768, 12, 12, max_length=1024, batch_size=256, learning_rate=1e-3),
    "medium": Shape(1024, 24, 16, max_length=1024, batch_size=256, learning_rate=6e-4),
    "large": Shape(1280, 36, 20, max_length=1024, batch_size=512, learning_rate=4e-4),
}  # fmt: skip

MAX_DERIVED_MICRO_BATCH_TOKENS = 16_384  # activations of `small` at this size take about 6 GiB in bfloat16


class ModelSection(Section):
    """The network."""

    size: Size = Field("tiny", description="The dial: width, depth, length, batch and learning rate follow from it.")
    architecture: Literal["llama", "qwen3"] = Field(
        "qwen3", description="Both run everywhere; qwen3 normalises queries and keys, which steadies training."
    )
    hidden_size: int | None = Field(
        None, ge=16, le=65_536, description="Width of the residual stream. Derived from size."
    )
    num_hidden_layers: int | None = Field(None, ge=1, le=1024, description="Transformer blocks. Derived from size.")
    num_attention_heads: int | None = Field(None, ge=1, le=1024, description="Query heads. Derived from size.")
    num_key_value_heads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Key and value heads; fewer than query heads is grouped-query attention. As many, if not set.",
    )
    intermediate_size: int | None = Field(
        None, ge=16, le=1_048_576, description="Width of the gated MLP. Derived: 8/3 of hidden_size, rounded up to 64."
    )
    tie_word_embeddings: bool = Field(True, description="Share input and output embeddings.")
    rope_theta: float = Field(10_000.0, gt=0, description="Base of the rotary position embedding.")
    max_length: int | None = Field(
        None,
        ge=8,
        le=1_048_576,
        description="Sequence length, and the model's context. Derived from size.",
        json_schema_extra={"unit": "tokens"},
    )


class DataSection(Section):
    """How documents become sequences."""

    packing: Literal["documents", "plain"] = Field(
        "documents",
        description="documents: attention stops at document boundaries. plain: it crosses them, as in GPT-2.",
    )
    validation_fraction: float = Field(
        0.05, gt=0, lt=0.9, description="Share of each corpus held out to measure validation loss on."
    )
    validation_split: Literal["auto", "documents", "tail"] = Field(
        "auto",
        description="documents: hold out whole documents by a hash of their text, so that a larger corpus holds out "
        "the same ones. tail: the end of the corpus. auto: documents if there are at least 100.",
    )
    seed: int = Field(
        0, ge=0, description="Seeds the initial weights, the held-out documents and the order of sequences."
    )


class ScheduleSection(Section):
    """The learning rate over the run."""

    max_steps: int = Field(1000, ge=1, description="Optimizer steps to make.", json_schema_extra={"unit": "steps"})
    lr_scheduler_type: Literal["cosine", "wsd"] = Field(
        "cosine",
        description="cosine: falls all the way. wsd: warm-up, stable, then a decay at the end (Hu et al. 2024).",
    )
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    decay_ratio: float = Field(0.2, ge=0, le=1, description="wsd: share of the steps with a falling learning rate.")
    min_learning_rate_ratio: float = Field(
        0.1, ge=0, le=1, description="Where the learning rate ends, as a share of its peak."
    )


class PrecisionSection(Section):
    """Number formats and compilation."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the matrix products; weights stay float32. auto: bfloat16 where the device is fast at it.",
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Compile the step: torch.compile, mx.compile. auto: with the engine pytorch where the run is long "
        "enough to pay for a warm-up of a minute, with mlx on Metal.",
        json_schema_extra=NOT_IDENTITY,
    )


class EvaluationSection(Section):
    """What is measured and sampled during training."""

    eval_steps: int | None = Field(
        None, ge=1, description="Validate and sample every this many steps. Derived: ten times a run.",
        json_schema_extra={"unit": "steps", **NOT_IDENTITY},
    )  # fmt: skip
    eval_tokens: int | None = Field(
        None,
        ge=256,
        description="Held-out tokens to measure on, at most; the last validation takes up to eight times as many. "
        "Derived: a tenth of what is trained on between validations, from 8,192 to 65,536.",
        json_schema_extra={"unit": "tokens", **NOT_IDENTITY},
    )
    sample_prompts: list[str] = Field(
        default_factory=lambda: ["The "],
        description="Texts to continue at each validation.",
        json_schema_extra=NOT_IDENTITY,
    )
    sample_tokens: int = Field(
        48,
        ge=0,
        description="Length of those samples; 0 writes none.",
        json_schema_extra={"unit": "tokens", **NOT_IDENTITY},
    )


class PretrainRecipe(Recipe):
    """Train a model from scratch on a corpus, or on a mixture of several."""

    produces: ClassVar[str] = "model"
    reads: ClassVar[Mapping[str, Reads]] = {"corpus": "corpus", "tokenizer": "tokenizer"}
    default_name: ClassVar[str] = "{corpus}-base"

    stage: Literal["pretrain"] = "pretrain"
    engine: str = Field("pytorch", description="The engine that trains: pytorch, or mlx (Apple silicon).")
    corpus: WeightedNames = Field(
        min_length=1,
        description="The corpus to train on; several make a mixture, with weights as shares of the tokens: "
        "--corpus web=0.7 --corpus code=0.3. Their shards are made when missing.",
    )
    phases: Annotated[list[str], BeforeValidator(phase_texts)] = Field(
        default_factory=list,
        description="Other mixtures later in the training: '0.9: good=0.8, web=0.2' is for its last tenth.",
        json_schema_extra={"flag": "--phase"},
    )
    tokenizer: str = Field(description="The tokenizer to use.")
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    batch: BatchSection = Field(default_factory=BatchSection)
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    schedule: ScheduleSection = Field(default_factory=ScheduleSection)
    precision: PrecisionSection = Field(default_factory=PrecisionSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    checkpoints: CheckpointSection = Field(default_factory=CheckpointSection)
    launch: LaunchSection = Field(default_factory=LaunchSection)

    def uses_accelerator(self) -> bool:
        return True

    def mixtures(self) -> list[Mixture]:
        """What is trained on, from the beginning and from each phase on.

        Raises `WorkbenchError` for what is no mixture, and for phases that are not in order.
        """
        found = [mixture(self.corpus), *map(phase, self.phases)]
        for earlier, later in itertools.pairwise(found):
            if later.at <= earlier.at:
                what = f"The phase at {later.at:g} stands behind the one at {earlier.at:g}."
                raise WorkbenchError(what, "Give phases in the order in which they begin.")
        return found

    def sources(self) -> list[str]:
        """The corpora of all mixtures, each once."""
        return list(dict.fromkeys(name for item in self.mixtures() for name in item.names))

    def shards_roles(self) -> dict[str, str]:
        """The roles of the shards that are made of the sources: of one `shards`, of more `shards.0`, `shards.1`, …"""
        sources = self.sources()
        return {"shards": sources[0]} if len(sources) == 1 else {f"shards.{n}": name for n, name in enumerate(sources)}

    def references(self) -> list[Reference]:
        others = [item for item in super().references() if item.kinds != ("corpus",)]
        return [Reference(f"corpus.{n}", name, ("corpus",)) for n, name in enumerate(self.sources())] + others

    def identity(self) -> dict[str, Any]:
        plain = super().identity()
        places = {name: place for place, name in enumerate(self.sources())}
        later = [[item.at, [places[name] for name in item.names], item.weights] for item in self.mixtures()[1:]]
        del plain["phases"]
        return plain | ({"phases": later} if later else {})

    def resolved(self) -> PretrainRecipe:
        self.mixtures()
        shape = SIZES[self.model.size]
        model = self.model.model_copy()
        derive(
            model, hidden_size=shape.hidden_size, num_hidden_layers=shape.num_hidden_layers, max_length=shape.max_length
        )
        assert model.hidden_size is not None
        if model.num_attention_heads is None:
            head = shape.hidden_size // shape.num_attention_heads
            model.num_attention_heads = max(1, model.hidden_size // head)
        derive(
            model,
            num_key_value_heads=model.num_attention_heads,
            intermediate_size=-(-model.hidden_size * 8 // 3 // 64) * 64,
        )
        optimizer = self.optimizer.model_copy()
        derive(optimizer, learning_rate=shape.learning_rate)
        steps = self.schedule.max_steps
        evaluation = self.evaluation.model_copy()
        batch = resolve_batch(
            self.batch,
            shape.batch_size,
            processes=self.launch.processes,
            most=MAX_DERIVED_MICRO_BATCH_TOKENS // (model.max_length or 1),
        )
        derive(evaluation, eval_steps=max(1, steps // 10))
        between = (evaluation.eval_steps or 1) * (batch.batch_size or 1) * (model.max_length or 1)
        # A tenth of the tokens, forward only, takes a thirtieth of the time.
        derive(evaluation, eval_tokens=min(65_536, max(8_192, between // 10)))
        checkpoints = self.checkpoints.model_copy()
        derive(checkpoints, save_steps=max(1, steps // 5))
        self.launch.check()
        result = self.model_copy(
            update={
                "name": self.title(),
                "model": model,
                "batch": batch,
                "optimizer": optimizer,
                "evaluation": evaluation,
                "checkpoints": checkpoints,
            }
        )
        _check_heads(model)
        if self.schedule.lr_scheduler_type == "wsd" and self.schedule.warmup_ratio + self.schedule.decay_ratio > 1:
            raise WorkbenchError(
                f"schedule: warmup_ratio {self.schedule.warmup_ratio} and decay_ratio {self.schedule.decay_ratio} "
                "add up to more than the whole run.",
                "Lower one of them.",
            )
        return result


def _check_heads(model: ModelSection) -> None:
    width, heads, groups = model.hidden_size or 0, model.num_attention_heads or 1, model.num_key_value_heads or 1
    if width % heads or (width // heads) % 2:
        fitting = [n for n in range(1, width // 2 + 1) if width % n == 0 and (width // n) % 2 == 0]
        near = min(fitting, key=lambda n: abs(n - heads), default=1)
        raise WorkbenchError(
            f"num_attention_heads {heads} does not divide hidden_size {width} into heads of even width.",
            f"The nearest that does is {near}.",
        )
    if heads % groups:
        raise WorkbenchError(
            f"num_key_value_heads {groups} does not divide num_attention_heads {heads}.",
            f"It can be one of {', '.join(str(n) for n in range(1, heads + 1) if heads % n == 0)}.",
        )
