"""What a recipe trains on, from the artifacts that it names: rows to train on, rows held out.

Every engine takes its batches from here, and so does the inspector: what that shows is what is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from workbench.corpus.chats import checks
from workbench.corpus.chats.checks import Finding
from workbench.corpus.chats.conversations import read_conversations
from workbench.corpus.chats.packing import RowOrder, TrainingRows
from workbench.corpus.chats.pairs import Mark, Pair, read_marks, read_pairs
from workbench.corpus.chats.split import held_out_rows, prompt_key
from workbench.corpus.chats.tokens import Asked, ChatTokenizer, Conversation, Encoded
from workbench.corpus.context import context_length
from workbench.corpus.documents import iterate_documents
from workbench.errors import WorkbenchError
from workbench.recipes.base import weighted
from workbench.recipes.preference import KtoRecipe, PreferenceRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe
from workbench.recipes.tuning import DERIVED_LENGTH

HELD_OUT_CHARACTERS = 64 << 10
NOWHERE = np.zeros((0, 2), np.int32)


def max_length(wanted: int | None, base: Path) -> int:
    """The length that sequences are cut to: as wanted, else the context of the model in `base`, 1,024 at most."""
    return wanted or min(DERIVED_LENGTH, context_length(base) or DERIVED_LENGTH)


@dataclass(frozen=True, slots=True)
class Split:
    """Both parts of what SFT and continued pretraining learn from."""

    train: TrainingRows
    held_out: TrainingRows
    text: str  # some of what is held out: the export check's material
    conversations: Sequence[Conversation]  # that the numbers in `train` mean; none for documents
    findings: Sequence[Finding]  # what is wrong with the data; `checks.raise_errors` before training


def conversation_rows(
    recipe: SftRecipe,
    inputs: Mapping[str, Path],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
    packing: bool | None = None,
) -> Split:
    """The conversations of all sets, mixed by their weights where they have any. `packing` overrules the recipe's.

    Raises `WorkbenchError` if a set has too few conversations, or none with something to train on.
    """
    train: list[list[Encoded]] = []
    kept: list[Conversation] = []
    found: list[Finding] = []
    held_out: list[Encoded] = []
    for number in range(len(recipe.data)):
        folder = inputs[f"data.{number}"]
        rows = list(read_conversations(folder))
        out = _divided(
            [prompt_key(row.messages) for row in rows],
            recipe.conversations.validation_fraction,
            recipe.seed,
            f"{folder.name} has {{}} different first question{{}}: too few to hold some out.",
        )
        encoded = tokenizer.conversations(rows, recipe.conversations.train_on)
        found += checks.check_conversations(tokenizer, rows, encoded, max_length=max_length)
        train.append([row for row, held in zip(encoded, out, strict=True) if not held])
        kept += [row for row, held in zip(rows, out, strict=True) if not held]
        held_out += [row for row, held in zip(encoded, out, strict=True) if held]
    packs = recipe.conversations.packing if packing is None else packing
    size, seed = recipe.batch.batch_size or 1, recipe.seed
    weights = [weighted(text)[1] for text in recipe.data] if any("=" in text for text in recipe.data) else None
    sets = train if weights else [row for rows in train for row in rows]
    try:
        learnt = TrainingRows(sets, max_length=max_length, batch_size=size, packing=packs, seed=seed, shares=weights)
        measured = TrainingRows(held_out, max_length=max_length, batch_size=size, packing=packs, seed=seed)
    except WorkbenchError:
        checks.raise_errors(found)  # which shows the row
        raise
    return Split(learnt, measured, _beginning(row.text for row in held_out), kept, found)


def mixture_report(recipe: SftRecipe | ContinueRecipe, rows: TrainingRows) -> dict[str, dict[str, float]]:
    """{"mixture": each set's share of the trained tokens}, where sets are mixed by weights."""
    if not isinstance(recipe, SftRecipe) or not rows.set_shares:
        return {}
    names = [weighted(text)[0] for text in recipe.data]
    return {"mixture": dict(zip(names, rows.set_shares, strict=True))}


def document_rows(
    recipe: ContinueRecipe, corpus: Path, tokenizer: ChatTokenizer, *, max_length: int, packing: bool = True
) -> Split:
    """The documents of a corpus, each as pieces of up to `max_length` tokens that follow one another.

    Of a single document the end is held out. Raises `WorkbenchError` if there are too few to hold some out.
    """
    texts = [text for batch in iterate_documents(corpus) for text in batch.column("text").to_pylist()]
    if len(texts) == 1 and len(parts := _without_end(texts[0], recipe.validation_fraction)) == 2:
        texts, out = parts, np.array([False, True])
    else:
        out = _divided(
            texts,
            recipe.validation_fraction,
            recipe.seed,
            f"{corpus.name} has {{}} document{{}}: too few to hold some out.",
        )
    size = recipe.batch.batch_size or 1

    def rows(held: bool) -> TrainingRows:
        own = (text for text, chosen in zip(texts, out, strict=True) if chosen == held)
        pieces = document_pieces(own, tokenizer, max_length)
        return TrainingRows(pieces, max_length=max_length, batch_size=size, packing=packing, seed=recipe.seed)

    found = [] if tokenizer.end_ids else [checks.without_end(tokenizer)]
    held_text = (text for text, chosen in zip(texts, out, strict=True) if chosen)
    return Split(rows(False), rows(True), _beginning(held_text), (), found)


def document_pieces(texts: Iterable[str], tokenizer: ChatTokenizer, max_length: int) -> Iterator[Encoded]:
    """Documents between BOS and EOS, where the tokenizer has them, in pieces of at most `max_length` tokens.

    The last token of a piece begins the next, so that each but the first is predicted once.
    """
    for text in texts:
        ids_T = tokenizer.document(text)
        for start in range(0, max(1, len(ids_T) - 1), max_length - 1):
            ids_L = ids_T[start : start + max_length]
            trained_L = np.ones(len(ids_L), bool)
            trained_L[:1] = False
            yield Encoded(ids_L, trained_L, np.zeros(len(ids_L), np.int16), NOWHERE, "")


Item = TypeVar("Item", Pair, Mark)


@dataclass(frozen=True, slots=True)
class Judged(Generic[Item]):
    """Pairs or marks: each as (chosen, rejected) or (completion,), of which the answers are trained on.

    Answers are cut at the end, so that prompt and answer fit into the length; `cut` counts them, and `cut_tokens`
    what fell off. A row whose prompt leaves no room for an answer is not there; `untrained` counts those.
    """

    train: list[tuple[Encoded, ...]]
    items: list[Item]  # of `train`
    held_out: list[tuple[Encoded, ...]]
    held_out_items: list[Item]
    order: RowOrder  # of `train`
    cut: int
    cut_tokens: int
    untrained: int
    findings: Sequence[Finding]


def pair_rows(
    recipe: PreferenceRecipe, preferences: Path, tokenizer: ChatTokenizer, *, max_length: int
) -> Judged[Pair]:
    """The pairs of a set, its held-out part made by prompt.

    Raises `WorkbenchError` if there are too few.
    """
    items = list(read_pairs(preferences))
    if not items:
        raise WorkbenchError(
            f"{preferences.name} holds no pairs.", "Import some, or train on its marks: workbench kto."
        )
    return _judged(
        recipe, preferences, items, lambda item: [item.chosen, item.rejected], tokenizer, max_length=max_length
    )


def mark_rows(recipe: KtoRecipe, preferences: Path, tokenizer: ChatTokenizer, *, max_length: int) -> Judged[Mark]:
    """The marked answers of a set; without any, both answers of its pairs, marked good and bad.

    Raises `WorkbenchError` if there are too few.
    """
    items = list(read_marks(preferences)) or [mark for pair in read_pairs(preferences) for mark in _marks(pair)]
    if not items:
        raise WorkbenchError(f"{preferences.name} holds neither marked answers nor pairs.", "Import some.")
    return _judged(recipe, preferences, items, lambda item: [item.completion], tokenizer, max_length=max_length)


def _judged(
    recipe: PreferenceRecipe,
    folder: Path,
    items: list[Item],
    answers: Callable[[Item], list[list[dict]]],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
) -> Judged[Item]:
    few = f"{folder.name} has {{}} different prompt{{}}: too few to hold some out."
    out = _divided([prompt_key(item.prompt) for item in items], recipe.validation_fraction, recipe.seed, few)
    encoded = tokenizer.answers(Asked(item.prompt, answers(item), source=item.source) for item in items)
    found = checks.check_answers(tokenizer, items, encoded, max_length=max_length)
    parts: tuple[list[tuple[Encoded, ...]], list[tuple[Encoded, ...]]] = ([], [])
    kept: tuple[list[Item], list[Item]] = ([], [])
    untrained = 0
    for item, whole, held in zip(items, encoded, out.tolist(), strict=True):
        row = tuple(answer.cut_to(max_length) for answer in whole)
        if all(answer.trained_L.any() for answer in row):
            parts[held].append(row)
            kept[held].append(item)
        else:
            untrained += 1
    over = [len(answer.ids_L) - max_length for row in encoded for answer in row if len(answer.ids_L) > max_length]
    if not parts[0] or not parts[1]:
        checks.raise_errors(found)
        raise WorkbenchError(
            f"Too few rows of {folder.name} have room for their answers within {max_length:,} tokens.",
            "Raise --max-length.",
        )
    order = RowOrder(len(parts[0]), batch_size=recipe.batch.batch_size or 1, seed=recipe.seed)
    return Judged(parts[0], kept[0], parts[1], kept[1], order, len(over), sum(over), untrained, found)


def _marks(pair: Pair) -> list[Mark]:
    return [
        Mark(prompt=pair.prompt, completion=answer, label=label, rater=pair.rater, time=pair.time, source=pair.source)
        for answer, label in ((pair.chosen, True), (pair.rejected, False))
    ]


def _divided(keys: Sequence[str], fraction: float, seed: int, too_few: str) -> np.ndarray:
    """Which rows are held out. `too_few` is the error, with places for the number of keys and a plural's s."""
    out = held_out_rows(keys, fraction, seed)
    if not out.any() or out.all():
        different = len(set(keys))
        raise WorkbenchError(
            too_few.format(different, "" if different == 1 else "s"), "Give at least two, better a hundred."
        )
    return out


def _without_end(text: str, fraction: float) -> list[str]:
    """`text` in two, the second its last `fraction`, parted at the white space in front; one, if there is none."""
    place = next((at for at in range(int(len(text) * (1 - fraction)), 0, -1) if text[at : at + 1].isspace()), 0)
    return [part for part in (text[:place], text[place:].lstrip()) if part.strip()]


def _beginning(texts: Iterable[str]) -> str:
    """Some of the texts, enough for the export's check."""
    kept: list[str] = []
    length = 0
    for text in texts:
        if length > HELD_OUT_CHARACTERS:
            break
        kept.append(text)
        length += len(text)
    return "\n\n".join(kept)
