"""A tokenizer's folder, and the tokenizers of ours: over bytes, so that any text can be written and reads back exactly.

Text is split by a rule that llama.cpp knows by name, so that both tokenise alike.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import durable
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

SPECIAL_TOKENS = [
    "<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{n}|>" for n in range(8)),
]  # fmt: skip
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_PATTERN = rf"{_WORDS}|\p{{N}}|{_REST}"
LLAMA3_PATTERN = rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PATTERNS = {"qwen2": QWEN2_PATTERN, "llama3": LLAMA3_PATTERN, "gpt-2": GPT2_PATTERN}  # smollm's is none alone
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
CONFIG = "tokenizer_config.json"


def new_tokenizer(pre_tokenizer: str = "qwen2", kind: str = "bpe") -> Tokenizer:
    """An untrained tokenizer, "bpe" or "unigram", with the splitting, decoding and post-processing of ours."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE() if kind == "bpe" else models.Unigram())
    by_pattern = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = {
        "qwen2": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"), by_pattern]
        ),
        "llama3": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="isolated"), by_pattern]
        ),
        "gpt-2": lambda: gpt2,
        "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
    }[pre_tokenizer]()
    tokenizer.decoder = decoders.ByteLevel()
    bos = SPECIAL_TOKENS[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, 0)]
    )
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, encoding the texts of special tokens as plain text.

    Raises `WorkbenchError` if there is none or it cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise WorkbenchError(f"{folder} holds no tokenizer.json.", "Train one: workbench tokenizer --corpus NAME.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Train the tokenizer anew.") from None
    tokenizer.encode_special_tokens = True
    return tokenizer


def special_tokens(folder: Path) -> dict[str, str]:
    """The texts that the tokenizer in `folder` names: "bos_token", "eos_token", ... -> text."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = {role: config[role] for role in ("bos_token", "eos_token", "pad_token", "unk_token") if config.get(role)}
    return {role: text["content"] if isinstance(text, dict) else text for role, text in named.items()}


def token_byte_lengths(folder: Path) -> np.ndarray:
    """Bytes of UTF-8 that each id stands for, uint32 [vocab_size]; 0 for special tokens.

    Bits per byte divide by their sum. Raises `WorkbenchError` if the tokenizer is not byte-level.
    """
    import numpy as np

    path = folder / "tokenizer.json"
    load_tokenizer(folder)  # for its errors
    content = json.loads(path.read_text(encoding="utf-8"))
    if not is_byte_level(content):
        raise WorkbenchError(f"{path} is not a byte-level tokenizer.", "Bytes can be counted for those alone.")
    # In a byte-level vocabulary each character stands for one byte.
    lengths = {number: len(text) for text, number in vocabulary(content).items()}
    for added in content["added_tokens"]:
        lengths[added["id"]] = 0 if added["special"] else len(added["content"].encode())
    result = np.zeros(max(lengths) + 1, np.uint32)
    result[list(lengths)] = list(lengths.values())
    return result


def is_byte_level(content: dict[str, Any]) -> bool:
    """Whether a tokenizer.json is over bytes, each written as a character of GPT-2's table."""
    return '"ByteLevel"' in json.dumps(content.get("decoder"))


def vocabulary(content: dict[str, Any]) -> dict[str, int]:
    """Text -> id of a tokenizer.json's model; bytes as characters of GPT-2's table."""
    known = content["model"]["vocab"]
    return {piece: number for number, (piece, _) in enumerate(known)} if isinstance(known, list) else known


def write_tokenizer(tokenizer: Tokenizer, output: Path) -> None:
    """Write a tokenizer of ours, with its settings and chat template, into `output`."""
    # Not by `tokenizer.save`, whose error on a full disk is a bare Exception.
    durable.write_text(output / "tokenizer.json", tokenizer.to_str(pretty=True))
    bos, eos, pad, im_start, im_end = SPECIAL_TOKENS[:5]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "extra_special_tokens": [im_start, im_end],
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    durable.write_json(output / CONFIG, config)
    shutil.copyfile(CHAT_TEMPLATE, output / "chat_template.jinja")
