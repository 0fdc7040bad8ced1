"""Our post-training against plain TRL: the same model, rows, batch, learning rate and number format.

    python -m tests.speed.tuning_vs_trl [sft|reward|dpo ...] [--rounds N]

Prints tokens/s (padding does not count) of ours ÷ TRL's from interleaved rounds, twice: with the same settings
(no packing, no gradient checkpointing), target at least 1.0; and ours as it comes (packed, without padding) ÷ TRL
as it comes (padded, gradient checkpointing), on rows of uneven lengths, target at least 1.3.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pydoc_data.topics as topics

import numpy as np
import torch
import trl
from datasets import Dataset
from tokenizers import pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from engines.pytorch import PyTorchEngine
from engines.pytorch.model import save_model
from tests.pytorch.tuning_workspace import RECIPES, TuningWorkspace
from workbench import durable
from workbench.contract import Event, Metrics
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.pairs import Pair, PreferenceWriter
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.corpus.chats.training_data import conversation_rows, pair_rows
from workbench.corpus.tokenizer import SPECIAL_TOKENS, new_tokenizer
from workbench.recipes.base import validate

VOCAB_SIZE = 8192
MAX_LENGTH = 512
BATCH = 8
STEPS = 14
WARM_UP = 4
INPUTS = {
    "sft": {"base": "models/base", "data.0": "chats/rows"},
    "reward": {"base": "models/base", "preferences": "preferences/pairs"},
    "dpo": {"base": "models/base", "preferences": "preferences/pairs"},
}


class Listener:
    """Remembers when each step was made."""

    def __init__(self) -> None:
        self.steps: list[Metrics] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Metrics) and event.loss is not None:
            self.steps.append(event)

    def should_stop(self) -> bool:
        return False

    def checkpoint_requested(self) -> bool:
        return False


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.time())


def uneven(draw: random.Random, text: str) -> str:
    """A beginning of `text`, of a length as answers have: mostly short, some long."""
    return text[: min(len(text), int(draw.lognormvariate(5.5, 1.0)))].strip() or "Yes."


def write_workspace(folder: Path) -> TuningWorkspace:
    draw = random.Random(0)
    texts = [text for _, text in sorted(topics.topics.items())]
    base = folder / "models" / "base"
    base.mkdir(parents=True)
    tokenizer = new_tokenizer()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.save(str(base / "tokenizer.json"))
    names = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=False))
    durable.write_json(base / "tokenizer_config.json", names)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=256, intermediate_size=768, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=MAX_LENGTH, bos_token_id=0,
        eos_token_id=1, pad_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip
    save_model(LlamaForCausalLM(config), base)
    (folder / "chats" / "rows").mkdir(parents=True)
    (folder / "preferences" / "pairs").mkdir(parents=True)
    with (
        ConversationWriter(folder / "chats" / "rows") as chats,
        PreferenceWriter(folder / "preferences" / "pairs") as pairs,
    ):
        for number in range(400):
            question = f"Question {number}: {draw.choice(texts)[:60].strip()}?"
            one, two = (uneven(draw, draw.choice(texts)) for _ in range(2))
            asked = [{"role": "user", "content": question}]
            chats.add([*asked, {"role": "assistant", "content": one}], None, f"{number}")
            answers = [[{"role": "assistant", "content": text}] for text in (one, two)]
            pairs.add(Pair(prompt=asked, chosen=answers[0], rejected=answers[1], source=str(number)))
    return TuningWorkspace(folder)


def settings(stage: str, *, packing: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "schedule__max_steps": STEPS, "batch__batch_size": BATCH, "batch__per_device_batch_size": BATCH,
        "max_length": MAX_LENGTH, "evaluation__sample_tokens": 0, "evaluation__eval_steps": STEPS + 1,
        "checkpoints__save_steps": STEPS + 1, "precision__dtype": "auto", "optimizer__learning_rate": 1e-5,
    }  # fmt: skip
    if stage == "sft":
        values["conversations__packing"] = packing
    return values


def of_ours(workspace: TuningWorkspace, stage: str, *, packing: bool) -> float:
    """Tokens per second."""
    job = workspace.job(stage, f"{stage}-{time.monotonic_ns()}", INPUTS[stage], **settings(stage, packing=packing))
    listener = Listener()
    PyTorchEngine().run(job, listener)
    first, last = listener.steps[WARM_UP - 1], listener.steps[-1]
    assert first.tokens is not None
    assert last.tokens is not None
    return (last.tokens - first.tokens) / (last.time - first.time)


def of_trl(workspace: TuningWorkspace, stage: str, *, defaults: bool) -> float:
    """Tokens per second of TRL's own trainer on the same rows in the same order, as many a step."""
    job = workspace.job(stage, f"trl-{time.monotonic_ns()}", INPUTS[stage], **settings(stage, packing=False))
    recipe: Any = validate(RECIPES[stage], job.recipe)
    base = workspace.folder / "models" / "base"
    tokenizer = ChatTokenizer(base)
    rows, tokens = _rows(stage, recipe, job.inputs, tokenizer)
    kind, config = {
        "sft": (trl.SFTTrainer, trl.SFTConfig),
        "reward": (trl.RewardTrainer, trl.RewardConfig),
        "dpo": (trl.DPOTrainer, trl.DPOConfig),
    }[stage]
    half = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported() or torch.cuda.is_available()
    same = {} if defaults else {"gradient_checkpointing": False}
    arguments = config(
        output_dir=str(job.directory / "trl"), max_steps=STEPS, per_device_train_batch_size=BATCH,
        learning_rate=1e-5, report_to="none", save_strategy="no", disable_tqdm=True, bf16=half,
        use_cpu=not torch.cuda.is_available(), max_length=MAX_LENGTH, **same,
    )  # fmt: skip
    if stage == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    else:
        model = AutoModelForCausalLM.from_pretrained(base)
    more = {"ref_model": AutoModelForCausalLM.from_pretrained(base)} if stage == "dpo" else {}
    clock = Clock()

    class Sequential(kind):  # type: ignore[misc, valid-type]
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    trainer = Sequential(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), callbacks=[clock],
        processing_class=PreTrainedTokenizerFast(
            tokenizer_file=str(base / "tokenizer.json"), eos_token="<|eos|>", pad_token="<|pad|>"
        ), **more,
    )  # fmt: skip
    trainer.train()
    trained = sum(tokens[WARM_UP * BATCH : STEPS * BATCH])
    return trained / (clock.ends[-1] - clock.ends[WARM_UP - 1])


def _rows(stage: str, recipe: Any, inputs: Any, tokenizer: ChatTokenizer) -> tuple[list[dict[str, Any]], list[int]]:
    """(rows as TRL's collator takes them, tokens of each), in the order of our batches."""
    if stage == "sft":
        split = conversation_rows(recipe, inputs, tokenizer, max_length=MAX_LENGTH)
        sequences = [item for step in range(STEPS) for item in split.train.batch(step).sequences]
        rows = [
            {"input_ids": item.ids_L.tolist(), "labels": np.where(item.trained_L, item.ids_L, -100).tolist()}
            for item in sequences
        ]
        return rows, [len(item.ids_L) for item in sequences]
    judged = pair_rows(recipe, inputs["preferences"], tokenizer, max_length=MAX_LENGTH)
    chosen = [judged.train[number] for step in range(STEPS) for number in judged.order.batch(step)]
    counts = [len(one.ids_L) + len(two.ids_L) for one, two in chosen]
    if stage == "reward":
        return [{"chosen_ids": one.ids_L.tolist(), "rejected_ids": two.ids_L.tolist()} for one, two in chosen], counts
    rows = []
    for one, two in chosen:
        start = int(one.trained_L.argmax())
        rows.append({"prompt_ids": one.ids_L[:start].tolist(), "chosen_ids": one.ids_L[start:].tolist(),
                     "rejected_ids": two.ids_L[start:].tolist()})  # fmt: skip
    return rows, counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", default=["sft", "reward", "dpo"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = write_workspace(Path(folder))
        for stage in given.stages:
            for defaults in (False, True):
                ours, theirs = [], []
                for number in range(given.rounds):
                    theirs.append(of_trl(workspace, stage, defaults=defaults))
                    ours.append(of_ours(workspace, stage, packing=defaults))
                    print(f"  {stage} round {number}: {ours[-1]:,.0f} against {theirs[-1]:,.0f} tokens/s", flush=True)
                ratios = [one / two for one, two in zip(ours, theirs, strict=True)]
                what = "as they come" if defaults else "same settings"
                print(
                    f"{stage}, {what}: ours ÷ TRL {statistics.median(ratios):.2f} "
                    f"({min(ratios):.2f} to {max(ratios):.2f}), {torch.get_num_threads()} threads",
                    flush=True,
                )


if __name__ == "__main__":
    sys.exit(main())
