"""What a pretraining is, apart from the library that computes it: its data, its special tokens, its memory."""

from __future__ import annotations

from engines.tokenizer import TextTokenizer
from workbench.contract import Reporter, Warned
from workbench.corpus.packing import Batches, TokenStream, split
from workbench.corpus.shards import Shards
from workbench.errors import WorkbenchError
from workbench.recipes.estimate import PROCESS_BYTES, estimate
from workbench.recipes.pretrain import SIZES, PretrainRecipe


def training_data(recipe: PretrainRecipe, shards: Shards, reporter: Reporter) -> tuple[Batches, TokenStream]:
    """The training batches and the held-out stream."""
    data, length, size = recipe.data, recipe.model.max_length or 1, recipe.batch.batch_size or 1
    parts = split(shards, method=data.validation_split, fraction=data.validation_fraction, seed=data.seed)
    batches = Batches(parts.train, length=length, batch_size=size, seed=data.seed)
    if batches.windows < size:
        reporter.emit(
            Warned(
                message=f"The training text makes {batches.windows:,} sequences of {length:,} tokens, fewer than a "
                f"batch of {size:,}: every step sees some of them more than once."
            )
        )
    return batches, parts.validation


def special_ids(tokenizer: TextTokenizer, shards: Shards) -> tuple[int, int, int]:
    """(bos, eos, pad); raises `WorkbenchError` if the tokenizer lacks one or is not the shards'."""
    missing = [name for name in ("bos", "eos", "pad") if getattr(tokenizer, name) is None]
    if missing:
        raise WorkbenchError(
            f"The tokenizer names no {' and no '.join(missing)} token.", "Train one with `workbench tokenizer`."
        )
    if tokenizer.vocab_size != shards.vocab_size:
        raise WorkbenchError(
            f"The shards were made with a vocabulary of {shards.vocab_size:,} tokens, the tokenizer has "
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
