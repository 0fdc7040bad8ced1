"""The check of an export: the GGUF file against the checkpoint that it was made from."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engines.awkward import AWKWARD_STRINGS, HELD_OUT_TEXT, around_special_tokens
from engines.export_check import (
    CHUNK_TOKENS,
    CONVERSATION,
    WINDOW_TOKENS,
    CheckFailed,
    LogitReport,
    Reference,
    compare_logits,
    held_out_text,
)
from engines.llamacpp.chat_template import compile_template
from engines.llamacpp.checkpoint import Checkpoint
from engines.llamacpp.context import Context
from engines.llamacpp.vocabulary import Vocabulary
from engines.llamacpp.weights import Weights


def check_vocabulary(checkpoint: Checkpoint, vocabulary: Vocabulary, weights: Weights) -> dict[str, Any]:
    """Compare token ids, template and stop tokens; answers with counts for the report.

    Raises `CheckFailed` at the first thing that differs.
    """
    return {
        "strings": _check_token_ids(checkpoint, vocabulary, weights),
        "chat_template": _check_template(checkpoint, weights),
        **_check_stops(vocabulary, weights),
    }


def _check_token_ids(checkpoint: Checkpoint, vocabulary: Vocabulary, weights: Weights) -> int:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint.folder / "tokenizer.json"))
    added = [item["content"] for item in checkpoint.tokenizer.get("added_tokens", [])]
    strings = [*AWKWARD_STRINGS, *around_special_tokens(added[:64]), HELD_OUT_TEXT]
    for special in (True, False):
        tokenizer.encode_special_tokens = not special
        for text in strings:
            if vocabulary.normalizer:  # llama.cpp has no normaliser: its callers must give it such text
                text = unicodedata.normalize(vocabulary.normalizer, text)  # type: ignore[arg-type]
            ours = weights.tokenize(text, special=special)
            theirs = tokenizer.encode(text, add_special_tokens=False).ids
            if ours != theirs:
                place = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), 0)
                raise CheckFailed(
                    f"its token ids differ from the tokenizer's on {text[:60]!r} (special tokens "
                    f"{'parsed' if special else 'as text'}; from token {place} on, {ours[place : place + 4]} instead "
                    f"of {theirs[place : place + 4]})."
                )
    tokenizer.encode_special_tokens = False
    start = tokenizer.encode("x", add_special_tokens=True).ids[:1]
    if vocabulary.bos is not None and (start == [vocabulary.bos]) and not weights.adds_bos:
        raise CheckFailed("the tokenizer begins with BOS, and the GGUF file does not.")
    return len(strings) * 2


def _check_template(checkpoint: Checkpoint, weights: Weights) -> str:
    source = checkpoint.chat_template()
    if weights.chat_template() != source:
        raise CheckFailed("its chat template is not the checkpoint's.")
    if source is None:
        return "none"
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast.from_pretrained(checkpoint.folder)
    names = {"bos_token": weights.bos, "eos_token": weights.eos, "pad_token": weights.pad}
    ours = compile_template(source, {key: weights.text(token) for key, token in names.items() if token is not None})
    compared = 0
    for messages in (CONVERSATION, CONVERSATION[1:], CONVERSATION[1:2]):
        try:
            expected = reference.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except Exception:  # a template may refuse a system message by whatever error it likes
            continue
        if ours(messages) != expected:
            raise CheckFailed("its chat template renders a conversation otherwise than transformers does.")
        compared += 1
    return "same" if compared else "same text; it refuses the conversations of this check"


def _check_stops(vocabulary: Vocabulary, weights: Weights) -> dict[str, list[str]]:
    stops = weights.stops()
    lost = [weights.text(token) for token in vocabulary.stops if token not in stops]
    if lost:
        raise CheckFailed(f"it does not stop at {', '.join(lost)}, where the checkpoint does.")
    return {
        "stop_tokens": [weights.text(token) for token in vocabulary.stops],
        # llama.cpp stops at tokens with the usual names, such as <|im_end|>, whoever made the model.
        "further_stop_tokens": [weights.text(token) for token in stops if token not in vocabulary.stops],
    }


def _gguf_chunks(context: Context, tokens: list[int]) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    context.forget(-1)
    for start in range(0, len(tokens), CHUNK_TOKENS):
        part = tokens[start : start + CHUNK_TOKENS]
        context.decode(part, range(start, start + len(part)), [0] * len(part), range(len(part)))
        yield np.stack([context.logits(place) for place in range(len(part))])


def held_out_tokens(folder: Path, weights: Weights, count: int) -> list[int]:
    """Up to `count` ids of the model's held-out text, or of a paragraph of our own where it has none."""
    # A token is seldom longer than 16 bytes: no need to encode a megabyte for 512 tokens.
    return weights.tokenize(held_out_text(folder)[0][: count * 32], special=False)[:count]


def compare(
    reference: Reference,
    weights: Weights,
    tokens: list[int],
    *,
    context_length: int,
    threads: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogitReport:
    """Run both over `tokens` in windows that begin with BOS (else EOS); see `compare_logits`."""
    length = min(min(context_length, WINDOW_TOKENS) - 1, len(tokens)) + 1
    context = Context(weights, length=length, threads=threads, exact=True)
    try:
        return compare_logits(
            reference,
            lambda part: _gguf_chunks(context, part),
            tokens,
            start=weights.start(),
            context_length=context_length,
            size_bytes=lambda part: sum(len(weights.piece(token)) for token in part),
            progress=progress,
        )
    finally:
        context.close()
