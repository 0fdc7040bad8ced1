"""A preference with a known rule: of two answers the one with the higher share of the letter "e" is better.

Everything is real and small: a tokenizer, a chat model that answers in 2 to 10 words of a list, a reward model trained
on pairs of such answers, and prompts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from pydoc_data import topics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from tokenizers import pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from workbench import durable
from workbench.corpus.chats.tokens import OUR_TEMPLATE, ChatTokenizer
from workbench.corpus.tokenizer import SPECIAL_TOKENS, new_tokenizer

VOCABULARY = 700
SUBJECTS = ("summer", "music", "rivers", "bread", "night", "work", "paper", "gold", "trees", "cars", "snow", "math")


def share(text: str) -> float:
    """Of the letter "e" among all letters."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return letters.count("e") / max(1, len(letters))


def words() -> list[str]:
    """The 300 most frequent words of 3 to 9 letters in Python's language reference."""
    text = " ".join(topics.topics.values()).lower()
    found = Counter(re.findall(r"\b[a-z]{3,9}\b", text))
    return sorted(word for word, _ in found.most_common(300))


def questions() -> list[str]:
    return [
        f"Say {number} words about {subject}{also}."
        for subject in SUBJECTS
        for number in range(2, 6)
        for also in ("", " and stars")
    ]


def answer(generator: np.random.Generator, vocabulary: Sequence[str]) -> str:
    return " ".join(generator.choice(vocabulary, generator.integers(2, 11)))


def make_world(folder: Path, *, width: int = 64, layers: int = 2, steps: int = 250, reward_steps: int = 250) -> Path:
    """`model/`, `reward/` and `prompts/` in `folder`, as the store keeps artifacts."""
    vocabulary = words()
    generator = np.random.default_rng(0)
    conversations = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer(generator, vocabulary)}]
        for question in questions()
        for _ in range(20)
    ]
    _tokenizer(folder / "tokenizer", [f"{turn['content']} " for row in conversations for turn in row])
    chat = ChatTokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=chat.vocab_size,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=chat.end_ids[0],
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    _imitate(model, chat, conversations, steps)
    _save(model, folder / "tokenizer", folder / "model")
    reward = _reward(model, chat, vocabulary, reward_steps)
    _save(reward, folder / "tokenizer", folder / "reward")
    write_prompts(folder / "prompts", questions())
    return folder


def write_prompts(folder: Path, texts: Sequence[str]) -> None:
    """A set of prompts, as `import-chat --format prompts` makes it."""
    folder.mkdir(exist_ok=True)
    rows = [json.dumps([{"role": "user", "content": text}]) for text in texts]
    empty = pa.array([None] * len(rows), pa.string())
    table = pa.table({"messages": rows, "tools": empty, "source": [f"prompts:{n}" for n in range(len(rows))]})
    pq.write_table(table, folder / "conversations.parquet", compression="zstd")


def _tokenizer(folder: Path, texts: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=False))
    durable.write_json(folder / "tokenizer_config.json", names)
    (folder / "chat_template.jinja").write_text(OUR_TEMPLATE.read_text(encoding="utf-8"))


def _imitate(
    model: LlamaForCausalLM, chat: ChatTokenizer, conversations: list[list[dict[str, str]]], steps: int
) -> None:
    """Supervised fine-tuning on the answers."""
    encoded = [chat.conversation(row) for row in conversations]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = np.random.default_rng(1)
    for step in range(steps):
        rows = [encoded[row] for row in generator.integers(0, len(encoded), 16)]
        width = max(len(row.ids_L) for row in rows)
        ids_BL = torch.full((16, width), 2)
        labels_BL = torch.full((16, width), -100)
        for row, item in enumerate(rows):
            ids_BL[row, : len(item.ids_L)] = torch.from_numpy(item.ids_L.astype(np.int64))
            labels_BL[row, : len(item.ids_L)] = torch.from_numpy(np.where(item.trained_L, item.ids_L, -100))
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        logits_BLV = model(input_ids=ids_BL).logits[:, :-1]
        F.cross_entropy(logits_BLV.flatten(0, 1), labels_BL[:, 1:].flatten(), ignore_index=-100).backward()
        optimizer.step()
        optimizer.zero_grad()


def _reward(
    model: LlamaForCausalLM, chat: ChatTokenizer, vocabulary: Sequence[str], steps: int
) -> LlamaForSequenceClassification:
    """Bradley-Terry on pairs of answers to one question."""
    config = LlamaConfig(**(model.config.to_dict() | {"num_labels": 1}))
    torch.manual_seed(0)
    reward = LlamaForSequenceClassification(config)
    reward.model.load_state_dict(model.model.state_dict())
    optimizer = torch.optim.AdamW(reward.parameters(), lr=1e-3)
    generator = np.random.default_rng(2)
    pairs, every = 16, questions()
    for _ in range(steps):
        rows = []
        for question in generator.choice(every, pairs):
            both = sorted((answer(generator, vocabulary) for _ in range(2)), key=share)
            for text in both:
                turns = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
                rows.append(chat.conversation(turns).ids_L)
        width = max(len(row) for row in rows)
        ids_BL = np.full((len(rows), width), 2, np.int64)
        for row, ids_L in enumerate(rows):
            ids_BL[row, : len(ids_L)] = ids_L
        hidden_BLD = reward.model(torch.from_numpy(ids_BL)).last_hidden_state
        last_BD = hidden_BLD[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
        scores_P2 = reward.score(last_BD).view(pairs, 2)
        (-F.logsigmoid(scores_P2[:, 1] - scores_P2[:, 0]).mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return reward


def _save(model: torch.nn.Module, tokenizer: Path, folder: Path) -> None:
    model.save_pretrained(folder)
    for path in tokenizer.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
