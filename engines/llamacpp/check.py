"""The check of an export: the GGUF file against the checkpoint that it was made from."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.llamacpp.awkward import AWKWARD_STRINGS, HELD_OUT_TEXT, around_special_tokens
from engines.llamacpp.chat_template import compile_template
from engines.llamacpp.checkpoint import Checkpoint
from engines.llamacpp.context import Context
from engines.llamacpp.scoring import log_softmax
from engines.llamacpp.vocabulary import Vocabulary
from engines.llamacpp.weights import Weights
from workbench.errors import WorkbenchError

CHUNK_TOKENS = 128  # positions whose logits are held at once: 75 MB for each side at a vocabulary of 150,000
WINDOW_TOKENS = 2048  # texts are compared in windows of at most this, so that memory stays bounded

CONVERSATION = (
    {"role": "system", "content": "You answer briefly."},
    {"role": "user", "content": "What is 1 < 2 && \"a\"?\n  A question with 'quotes'."},
    {"role": "assistant", "content": "True."},
    {"role": "user", "content": "Thanks! 👍"},
)
"""Also rendered without its first message, for templates that refuse one."""


class CheckFailed(WorkbenchError):
    """The GGUF file does not do what the checkpoint does."""

    def __init__(self, what: str):
        super().__init__(
            f"The export was checked and failed: {what}", "The checkpoint is as it was; the export is not kept."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitReport:
    """Both models on the same held-out text; KL is KL(checkpoint || GGUF), in nats a token."""

    tokens: int
    largest_logit_difference: float
    mean_logit_difference: float
    mean_kl: float
    uniform_kl: float  # mean KL(checkpoint || uniform): how much the checkpoint says at all
    top1_agreement: float  # share of places where both find the same token likeliest
    bits_per_byte: float  # the GGUF's
    checkpoint_bits_per_byte: float


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


class Reference:
    """The checkpoint in transformers, in float32."""

    def __init__(self, folder: Path):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # it would draw into the run's log
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()

    @torch.inference_mode()
    def chunks(self, tokens: list[int]) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
        """Logits [chunk, vocab] of `tokens`, chunk after chunk."""
        cache = None
        for start in range(0, len(tokens), CHUNK_TOKENS):
            ids_BL = torch.tensor([tokens[start : start + CHUNK_TOKENS]])
            output = self._model(input_ids=ids_BL, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            yield output.logits[0].numpy()


def _gguf_chunks(context: Context, tokens: list[int]) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    context.forget(-1)
    for start in range(0, len(tokens), CHUNK_TOKENS):
        part = tokens[start : start + CHUNK_TOKENS]
        context.decode(part, range(start, start + len(part)), [0] * len(part), range(len(part)))
        yield np.stack([context.logits(place) for place in range(len(part))])


def held_out_tokens(folder: Path, weights: Weights, count: int) -> list[int]:
    """Up to `count` ids of the model's held-out text, or of a paragraph of our own where it has none."""
    file = folder / "held_out.txt"
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    # A token is seldom longer than 16 bytes: no need to encode a megabyte for 512 tokens.
    return weights.tokenize(((text.strip() and text) or HELD_OUT_TEXT)[: count * 32], special=False)[:count]


def compare_logits(
    reference: Reference,
    weights: Weights,
    tokens: list[int],
    *,
    context_length: int,
    threads: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogitReport:
    """Run both over `tokens` in windows that begin with BOS (else EOS) and score each token once.

    `progress(done, total)` counts tokens and may raise.
    """
    window = min(context_length, WINDOW_TOKENS) - 1
    start = weights.start()
    first = [start] if start is not None else []
    context = Context(weights, length=min(window, len(tokens)) + 1, threads=threads, exact=True)
    totals = dict.fromkeys(("largest", "difference", "kl", "uniform", "agree", "ours", "theirs"), 0.0)
    scored, size_bytes = 0, 0
    try:
        for begin in range(0, len(tokens), window):
            part = tokens[begin : begin + window]
            targets = part if first else part[1:]
            inputs = (first + part)[: len(targets)] or part
            chunks = zip(reference.chunks(inputs), _gguf_chunks(context, inputs), strict=True)
            for number, (theirs_LV, ours_LV) in enumerate(chunks):
                _add(totals, theirs_LV, ours_LV, targets[number * CHUNK_TOKENS :])
                progress(min(begin + (number + 1) * CHUNK_TOKENS, len(tokens)), len(tokens))
            scored += len(targets)
            size_bytes += sum(len(weights.piece(token)) for token in targets)
    finally:
        context.close()
    bits = math.log(2) * max(size_bytes, 1)
    count = max(scored, 1)
    return LogitReport(
        tokens=scored,
        largest_logit_difference=totals["largest"],
        mean_logit_difference=totals["difference"] / count,
        mean_kl=totals["kl"] / count,
        uniform_kl=totals["uniform"] / count,
        top1_agreement=totals["agree"] / count,
        bits_per_byte=totals["ours"] / bits,
        checkpoint_bits_per_byte=totals["theirs"] / bits,
    )


def _add(totals: dict[str, float], theirs_LV: Any, ours_LV: Any, targets: list[int]) -> None:
    """Add a chunk's sums; `targets` are the tokens that follow its places."""
    rows = min(len(theirs_LV), len(targets))
    theirs_LV, ours_LV = theirs_LV[:rows], ours_LV[:rows]
    difference_LV = np.abs(theirs_LV - ours_LV)
    # A NaN must not look like a small number: max() with it would depend on the order.
    totals["largest"] = float(np.fmax(totals["largest"], np.nan_to_num(difference_LV, nan=np.inf).max(initial=0.0)))
    totals["difference"] += float(difference_LV.mean(axis=1).sum())
    p_LV, q_LV = log_softmax(theirs_LV), log_softmax(ours_LV)
    weight_LV = np.exp(p_LV)
    totals["kl"] += float((weight_LV * (p_LV - q_LV)).sum())
    totals["uniform"] += float((weight_LV * p_LV).sum() + rows * math.log(p_LV.shape[1]))
    totals["agree"] += float((theirs_LV.argmax(axis=1) == ours_LV.argmax(axis=1)).sum())
    places = (np.arange(rows), np.array(targets[:rows], dtype=np.int64))
    totals["theirs"] -= float(p_LV[places].sum())
    totals["ours"] -= float(q_LV[places].sum())


def as_plain(report: LogitReport) -> dict[str, float]:
    """For JSON: seven significant digits say all that was measured."""
    return {key: float(f"{value:.7g}") if isinstance(value, float) else value for key, value in asdict(report).items()}
