"""A tiny model with a tokenizer, conversations, preferences, and jobs on them, for the tests of post-training."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from engines.pytorch.model import save_model
from workbench import durable
from workbench.contract import Job
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.corpus.tokenizer import SPECIAL_TOKENS, new_tokenizer
from workbench.recipes.base import Recipe, validate
from workbench.recipes.fields import nested
from workbench.recipes.models import ImportModelRecipe, MergeAdapterRecipe
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, RewardRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe

VOCAB_SIZE = 340
SUBJECTS = ["cat", "dog", "king", "bird", "teacher", "river", "garden", "moon", "stone", "apple"]
VERBS = ["sees", "likes", "follows", "paints", "hears", "carries", "forgets", "finds"]
RECIPES: dict[str, type[Recipe]] = {
    "sft": SftRecipe,
    "continue": ContinueRecipe,
    "reward": RewardRecipe,
    "dpo": DpoRecipe,
    "orpo": OrpoRecipe,
    "kto": KtoRecipe,
    "merge-adapter": MergeAdapterRecipe,
    "import-model": ImportModelRecipe,
}


def sentence(draw: random.Random) -> str:
    return f"The {draw.choice(SUBJECTS)} {draw.choice(VERBS)} the {draw.choice(SUBJECTS)}."


def write_tokenizer(folder: Path) -> None:
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    draw = random.Random(0)
    tokenizer.train_from_iterator([sentence(draw) for _ in range(500)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=False))
    durable.write_json(folder / "tokenizer_config.json", names)


def write_model(folder: Path, *, width: int = 48, layers: int = 2, seed: int = 0) -> Path:
    """An untrained llama of some 80,000 parameters with a tokenizer of 340 tokens and no chat template."""
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    save_model(LlamaForCausalLM(config), folder)
    (folder / "held_out.txt").write_text("The cat sees the moon. " * 20)
    return folder


def write_chats(folder: Path, rows: int = 80, seed: int = 0) -> Path:
    """Conversations in which the answer repeats the question's sentence, of one or two turns."""
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    with ConversationWriter(folder) as writer:
        for number in range(rows):
            messages = []
            for _ in range(draw.choice([1, 1, 2])):
                said = sentence(draw)
                messages += [{"role": "user", "content": f"Repeat: {said}"}, {"role": "assistant", "content": said}]
            writer.add(messages, None, f"rows.jsonl:{number + 1}")
    return folder


def share_of_e(text: str) -> float:
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return letters.count("e") / max(1, len(letters))


def write_preferences(folder: Path, pairs: int = 200, seed: int = 0, margins: bool = False) -> Path:
    """Pairs of which the answer with the higher share of the letter e is chosen; the same as marks."""
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    with PreferenceWriter(folder) as writer:
        for number in range(pairs):
            prompt = [{"role": "user", "content": f"Say {number}: {sentence(draw)}"}]
            while True:
                texts = [" ".join(sentence(draw) for _ in range(draw.randint(1, 2))) for _ in range(2)]
                if share_of_e(texts[0]) != share_of_e(texts[1]):
                    break
            texts.sort(key=share_of_e, reverse=True)
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in texts)
            margin = 1.0 + draw.random() if margins else None
            source = f"pairs.jsonl:{number + 1}"
            writer.add(Pair(prompt=prompt, chosen=chosen, rejected=rejected, margin=margin, source=source))
            answer, label = draw.choice([(chosen, True), (rejected, False)])
            writer.add(Mark(prompt=prompt, completion=answer, label=label, source=source))
    return folder


@dataclass(frozen=True)
class TuningWorkspace:
    """Artifacts as the store lays them out: `models/<name>`, `chats/<name>`, ..."""

    folder: Path

    def job(self, stage: str, name: str, inputs: dict[str, str], **settings: Any) -> Job:
        """`inputs`: role -> "models/base" and the like; `settings` are `section__field`."""
        kind = RECIPES[stage]
        values: dict[str, Any] = {}
        if stage not in ("merge-adapter", "import-model"):
            values = {
                "schedule.max_steps": 12,
                "batch.batch_size": 4,
                "precision.dtype": "float32",
                "evaluation.sample_tokens": 6,
                "optimizer.learning_rate": 1e-3,
            }
        values |= {key.replace("__", "."): value for key, value in settings.items()}
        named: dict[str, Any] = {}
        for role, where in inputs.items():
            field, _, number = role.partition(".")
            item = Path(where).name
            named[field] = [*named.get(field, []), item] if number else item
        recipe = validate(kind, {"stage": stage, **named, **nested(values)}).resolved()
        place = "rewards" if stage == "reward" else "models"
        output = self.folder / place / name
        output.mkdir(parents=True, exist_ok=True)
        directory = self.folder / "runs" / name
        directory.mkdir(parents=True, exist_ok=True)
        return Job(
            run=name,
            stage=stage,
            recipe=recipe.model_dump(mode="json"),
            inputs={role: self.folder / where for role, where in inputs.items()},
            output=output,
            directory=directory,
        )
