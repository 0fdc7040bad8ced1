"""Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) trained on a corpus, and its folder.

Text is split by Qwen 2's pattern, which llama.cpp knows as `qwen2`, so that both tokenise alike.
Every byte is a token of its own, so any text can be written, and reads back exactly.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import durable
from workbench.corpus import documents, sampling
from workbench.corpus.progress import ProgressReport
from workbench.errors import WorkbenchError
from workbench.recipes.corpus import TokenizerRecipe

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

SPECIAL_TOKENS = [
    "<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{n}|>" for n in range(8)),
]  # fmt: skip
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
MEASURED_BYTES = 1 << 20


def train_tokenizer(
    recipe: TokenizerRecipe,
    corpus: Path,
    output: Path,
    progress: ProgressReport,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Train on the corpus in folder `corpus`, write the tokenizer's files into `output`, answer the report."""
    started = time.monotonic()
    tokenizer = new_tokenizer()
    trained_on = _train(tokenizer, recipe, corpus, progress)
    vocab_size = tokenizer.get_vocab_size()
    if vocab_size < recipe.vocab_size:
        warn(
            f"The corpus has text for {vocab_size:,} of the {recipe.vocab_size:,} tokens asked for; "
            "the vocabulary is smaller than that."
        )
    _write(tokenizer, output)
    tokenizer.encode_special_tokens = True
    sample = list(sampling.draw(corpus, MEASURED_BYTES))
    tokens = sum(map(len, tokenizer.encode_batch_fast(sample, add_special_tokens=False)))
    return {
        "vocab_size": vocab_size,
        "bytes_per_token": round(sum(len(text.encode()) for text in sample) / max(tokens, 1), 4),
        "trained_on_bytes": trained_on,
        "seconds": round(time.monotonic() - started, 2),
        "longest_tokens": _longest(tokenizer),
    }


def new_tokenizer() -> Tokenizer:
    """An untrained tokenizer with the splitting, decoding and post-processing of ours."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
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


def token_byte_lengths(folder: Path) -> np.ndarray:
    """Bytes of UTF-8 that each id stands for, uint32 [vocab_size]; 0 for special tokens.

    Bits per byte divide by their sum. Raises `WorkbenchError` if the tokenizer is not byte-level BPE.
    """
    import numpy as np

    path = folder / "tokenizer.json"
    load_tokenizer(folder)  # for its errors
    content = json.loads(path.read_text(encoding="utf-8"))
    if '"ByteLevel"' not in json.dumps(content.get("decoder")):
        raise WorkbenchError(f"{path} is not a byte-level tokenizer.", "Bytes can be counted for those alone.")
    # In a byte-level vocabulary each character stands for one byte.
    lengths = {number: len(text) for text, number in content["model"]["vocab"].items()}
    for added in content["added_tokens"]:
        lengths[added["id"]] = 0 if added["special"] else len(added["content"].encode())
    result = np.zeros(max(lengths) + 1, np.uint32)
    result[list(lengths)] = list(lengths.values())
    return result


def _train(tokenizer: Tokenizer, recipe: TokenizerRecipe, corpus: Path, progress: ProgressReport) -> int:
    """Train on a sample of the corpus; answers its size in bytes."""
    from tokenizers import pre_tokenizers, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained_on = 0
    failures: list[BaseException] = []

    def texts() -> Iterator[str]:
        nonlocal trained_on
        progress.begin("reading", total=documents.text_bytes(corpus), unit="bytes")
        # The trainer shares its work out by sequences: long documents have to come in pieces.
        for piece in sampling.draw(corpus, recipe.sample_mib << 20, advance=progress.advance):
            trained_on += len(piece.encode())
            yield piece
        progress.begin("merging")

    def work() -> None:
        try:
            tokenizer.train_from_iterator(texts(), trainer)
        except BaseException as error:
            failures.append(error)

    # Merging calls nothing back: on a thread of its own it cannot keep a stop from being heard.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        progress.check()
    if failures:
        raise failures[0]
    return trained_on


def _write(tokenizer: Tokenizer, output: Path) -> None:
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
    durable.write_json(output / "tokenizer_config.json", config)
    shutil.copyfile(CHAT_TEMPLATE, output / "chat_template.jinja")


def _longest(tokenizer: Tokenizer) -> list[str]:
    """The ten longest tokens, longest first."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    learnt = (number for number in vocabulary.values() if number >= len(SPECIAL_TOKENS))
    texts = [tokenizer.decode([number]) for number in learnt]
    return sorted(texts, key=lambda text: (-len(text), text))[:10]
