"""What a pretraining is, apart from the library that computes it: its data, its special tokens, its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.held_out import Tally
from engines.tokenizer import TextTokenizer
from workbench.contract import Estimated, Reporter, Warned
from workbench.corpus.pretraining_data import PretrainingData, pretraining_data
from workbench.errors import WorkbenchError
from workbench.recipes.estimate import PROCESS_BYTES, estimate
from workbench.recipes.mixture import MANY_EPOCHS
from workbench.recipes.pretrain import SIZES, PretrainRecipe

FINAL_EVALUATION = 8  # times `eval_tokens`, for the last validation


def training_data(recipe: PretrainRecipe, inputs: Mapping[str, Path], reporter: Reporter) -> PretrainingData:
    """The batches and what is held out; says where text would be repeated too often."""
    data, size = pretraining_data(recipe, inputs), recipe.batch.batch_size or 1
    windows = sum(item.windows.count for item in data.sources)
    if windows < size:
        message = (
            f"The training text makes {windows:,} sequences of {data.batches.length:,} tokens, fewer than a batch of "
            f"{size:,}: every step sees some of them more than once."
        )
        reporter.emit(Warned(message=message))
    for item in data.sources:
        if item.epochs > MANY_EPOCHS:
            more = "lower its weight, " if len(data.sources) > 1 else ""
            message = (
                f"The training goes {item.epochs:.1f} times through the {item.train_tokens:,} tokens of {item.name}, "
                f"and text teaches little more than {MANY_EPOCHS} times: {more}give it more text, or make fewer steps."
            )
            reporter.emit(Warned(message=message))
    return data


def figures(data: PretrainingData, tallies: Sequence[Tally]) -> dict[str, float]:
    """What was measured on the held-out text of each source.

    The loss over all is the sources' mean by their shares of the training; so are the nats and the bytes of bits per
    byte.
    """
    parts = [item.validation() for item in tallies]
    if len(parts) == 1:
        return {"eval_loss": parts[0].loss, "eval_bits_per_byte": parts[0].bits_per_byte}
    shares = [item.share for item in data.sources]
    whole = Tally()
    for share, tally in zip(shares, tallies, strict=True):
        whole.text_nats += share * tally.text_nats / max(1, tally.tokens)
        whole.bytes += share * tally.bytes / max(1, tally.tokens)
    return {
        "eval_loss": sum(share * part.loss for share, part in zip(shares, parts, strict=True)),
        "eval_bits_per_byte": whole.text_nats / (math.log(2) * whole.bytes),
        **{f"eval_loss_{item.name}": part.loss for item, part in zip(data.sources, parts, strict=True)},
    }


def sources_report(data: PretrainingData) -> dict[str, Any]:
    """What the manifest says of the corpora, by name."""
    return {
        item.name: {
            "share": round(item.share, 6),
            "epochs": round(item.epochs, 4),
            "train_tokens": item.train_tokens,
            "validation_tokens": item.validation.tokens,
            "validation_split": item.split,
        }
        for item in data.sources
    }


def estimated(recipe: PretrainRecipe, data: PretrainingData, *, seconds: float) -> Estimated:
    """What the run will take; `seconds` are measured."""
    expected = estimate(recipe, data.vocab_size)
    return Estimated(
        parameters=expected.parameters,
        memory_bytes=expected.memory_bytes,
        flops=expected.flops,
        tokens=expected.tokens,
        tokens_per_parameter=expected.tokens_per_parameter,
        seconds=seconds,
        epochs={item.name: round(item.epochs, 4) for item in data.sources},
    )


def special_ids(tokenizer: TextTokenizer, vocab_size: int) -> tuple[int, int, int]:
    """(bos, eos, pad); raises `WorkbenchError` if the tokenizer lacks one or has not the shards' vocabulary."""
    missing = [name for name in ("bos", "eos", "pad") if getattr(tokenizer, name) is None]
    if missing:
        raise WorkbenchError(
            f"The tokenizer names no {' and no '.join(missing)} token.", "Train one with `workbench tokenizer`."
        )
    if tokenizer.vocab_size != vocab_size:
        raise WorkbenchError(
            f"The shards were made with a vocabulary of {vocab_size:,} tokens, the tokenizer has "
            f"{tokenizer.vocab_size:,}.",
            "Make the shards anew with this tokenizer.",
        )
    assert tokenizer.bos is not None
    assert tokenizer.eos is not None
    assert tokenizer.pad is not None
    return tokenizer.bos, tokenizer.eos, tokenizer.pad


def refuse_what_cannot_fit(recipe: PretrainRecipe, vocab_size: int, free: int, device: str) -> None:
    """Raises `WorkbenchError`, naming what to lower, if the estimate exceeds the `free` bytes of `device`."""
    free += PROCESS_BYTES  # the estimate counts what this process has already
    needed = estimate(recipe, vocab_size).memory_bytes
    if needed <= free:
        return
    micro = recipe.batch.per_device_batch_size or 1
    remedy = _smaller(recipe)
    while micro > 1:
        micro //= 2
        batch = recipe.batch.model_copy(update={"per_device_batch_size": micro})
        if estimate(recipe.model_copy(update={"batch": batch}), vocab_size).memory_bytes <= free:
            remedy = f"Lower --per-device-batch-size to {micro}: the batch of a step stays the same."
            break
    raise WorkbenchError(
        f"The training needs about {needed / 2**30:.1f} GiB of memory; {device} has {free / 2**30:.1f} GiB free.",
        remedy,
    )


def _smaller(recipe: PretrainRecipe) -> str:
    """What to lower when not one sequence fits: the size, unless other numbers have overruled it."""
    shape, model = SIZES[recipe.model.size], recipe.model
    by_hand = [
        f"--{name.replace('_', '-')}"
        for name in ("hidden_size", "num_hidden_layers")
        if (getattr(model, name) or 0) > getattr(shape, name)
    ]
    if not by_hand:
        return "Choose a smaller --size, or lower --max-length."
    return f"Lower {' or '.join(by_hand)}, set above what --size {recipe.model.size} has, or --max-length."
