"""A real little corpus: Python's own language reference, tokenised to shards."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data import topics
from typing import Any

import pytest

from workbench.contract import Event, Job, Metrics
from workbench.recipes.base import validate
from workbench.recipes.fields import nested
from workbench.recipes.pretrain import PretrainRecipe

VOCAB_SIZE = 600


@dataclass
class Listener:
    """A reporter that remembers, and asks for what a test wants after so many polls (at least one a step)."""

    events: list[Event] = field(default_factory=list)
    stop_after: int | None = None
    checkpoint_after: int | None = None
    polls: int = 0

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def should_stop(self) -> bool:
        self.polls += 1
        return self.stop_after is not None and self.polls > self.stop_after

    def checkpoint_requested(self) -> bool:
        return self.checkpoint_after == self.polls

    def all(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def losses(self) -> dict[int, float]:
        """Loss of each step."""
        return {event.step: event.loss for event in self.all(Metrics) if event.loss is not None}


@dataclass(frozen=True)
class Workspace:
    """Folders of artifacts as the store keeps them, and jobs on them."""

    folder: Path

    def job(self, name: str = "run", **settings: Any) -> Job:
        """A pretraining of a 100,000-parameter model; `settings` are `section__field`."""
        values = {
            "model.size": "nano",
            "model.hidden_size": 64,
            "model.num_hidden_layers": 2,
            "model.num_attention_heads": 2,
            "model.max_length": 64,
            "batch.batch_size": 8,
            "schedule.max_steps": 12,
            "precision.compile": "never",
            "evaluation.sample_tokens": 8,
            "evaluation.eval_tokens": 1024,
        }
        values |= {key.replace("__", "."): value for key, value in settings.items()}
        plain = {"stage": "pretrain", "corpus": "docs", "tokenizer": "bpe", **nested(values)}
        recipe = validate(PretrainRecipe, plain).resolved()
        run, output = self.folder / name, self.folder / name / "output"
        output.mkdir(parents=True, exist_ok=True)
        return Job(
            run=name,
            stage="pretrain",
            recipe=recipe.model_dump(mode="json"),
            inputs={"tokenizer": self.folder / "tokenizer", "shards": self.folder / "shards"},
            output=output,
            directory=run,
        )


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return [text for _, text in sorted(topics.topics.items())][:60]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """A tokenizer of 600 tokens and the shards of some 60 documents."""
    import numpy as np
    from tokenizers import pre_tokenizers, trainers

    from workbench import durable
    from workbench.corpus.shards import ShardWriter, document_key
    from workbench.corpus.tokenizer import SPECIAL_TOKENS, new_tokenizer

    folder = tmp_path_factory.mktemp("artifacts")
    (folder / "tokenizer").mkdir()
    (folder / "shards").mkdir()
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    names = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=False))
    durable.write_json(folder / "tokenizer" / "tokenizer_config.json", names)
    (folder / "tokenizer" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with ShardWriter(folder / "shards", vocab_size=VOCAB_SIZE, shard_tokens=20_000) as writer:
        for text in documents:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            writer.extend(np.array([0, *ids, 1]), np.array([len(ids) + 2]), np.array([document_key(text.encode())]))
        writer.finish()
    return folder


@pytest.fixture
def workspace(tmp_path: Path, artifacts: Path) -> Workspace:
    for name in ("tokenizer", "shards"):
        (tmp_path / name).symlink_to(artifacts / name)
    return Workspace(tmp_path)
