"""Preferences as rows that others read: TRL's formats, HH-RLHF's, and conversations to imitate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.corpus.chats.messages import Message
from workbench.corpus.chats.pairs import Mark, Pair, read_marks, read_pairs
from workbench.errors import WorkbenchError
from workbench.preferences import collect
from workbench.preferences.candidates import Candidates
from workbench.preferences.judgements import Book
from workbench.preferences.sets import CandidateSet

FORMATS = ("trl", "trl-implicit", "kto", "hh-rlhf", "messages")
HH_SPEAKERS = {"user": "Human", "assistant": "Assistant"}

Rows = Iterator[dict[str, Any]]


def rows_of_set(item: CandidateSet, form: str, rater: str | None = None) -> Rows:
    """What was judged in a set of candidates, by `rater` or by all; `messages` are the rewritten answers.

    Raises `WorkbenchError` if a file is damaged, or a row cannot be written in `form`.
    """
    candidates, book = Candidates(item.candidates), Book(item.judgements)
    if rater is not None:
        book.keep(rater)
    if form == "messages":
        yield from collect.conversations(candidates, book)
    elif form == "kto":
        yield from map(kto, collect.marks(candidates, book))
    else:
        yield from map(PAIR_FORMATS[form], collect.preferences(candidates, book))


def rows_of_folder(folder: Path, form: str, rater: str | None = None) -> Rows:
    """The preferences in a folder; `messages` are the better answers. Raises as `rows_of_set`."""
    if form == "kto":
        yield from (kto(mark) for mark in read_marks(folder) if rater in (None, mark.rater))
        return
    pairs = (pair for pair in read_pairs(folder) if rater in (None, pair.rater))
    yield from map(messages if form == "messages" else PAIR_FORMATS[form], pairs)


def trl(pair: Pair) -> dict[str, Any]:
    """TRL's preference format, with the prompt by itself."""
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, **_about(pair)}


def trl_implicit(pair: Pair) -> dict[str, Any]:
    """TRL's preference format, with the prompt at the beginning of both conversations."""
    return {"chosen": [*pair.prompt, *pair.chosen], "rejected": [*pair.prompt, *pair.rejected], **_about(pair)}


def hh_rlhf(pair: Pair) -> dict[str, Any]:
    """The two texts of Anthropic's HH-RLHF (Bai et al. 2022). Raises `WorkbenchError` for a role that it lacks."""
    return {"chosen": _dialogue([*pair.prompt, *pair.chosen]), "rejected": _dialogue([*pair.prompt, *pair.rejected])}


def kto(mark: Mark) -> dict[str, Any]:
    """TRL's format of single answers, marked good or bad."""
    return {
        "prompt": mark.prompt, "completion": mark.completion, "label": mark.label, "rater": mark.rater,
        "time": mark.time, "tags": list(mark.tags),
    }  # fmt: skip


def messages(pair: Pair) -> dict[str, Any]:
    """The conversation with the better answer."""
    return {"messages": [*pair.prompt, *pair.chosen], "rater": pair.rater, "time": pair.time}


PAIR_FORMATS: dict[str, Callable[[Pair], dict[str, Any]]] = {
    "trl": trl, "trl-implicit": trl_implicit, "hh-rlhf": hh_rlhf,
}  # fmt: skip


def save_dataset(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write a folder that `datasets.load_from_disk` reads.

    Raises `WorkbenchError` if the library is missing, or the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WorkbenchError(f"{folder} is there already.", "Give the name of a new folder.")
    try:
        import datasets
    except ImportError:
        raise WorkbenchError(
            "A folder of Hugging Face's datasets needs that library, which is not installed.",
            "Install it: pip install datasets. Or leave --output out: the rows come as JSON lines.",
        ) from None
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(list(rows)).save_to_disk(str(folder))


def _about(pair: Pair) -> dict[str, Any]:
    return {"margin": pair.margin, "rater": pair.rater, "time": pair.time, "tags": list(pair.tags)}


def _dialogue(turns: Sequence[Message]) -> str:
    unknown = {turn["role"] for turn in turns} - HH_SPEAKERS.keys()
    if unknown:
        raise WorkbenchError(
            f"HH-RLHF knows no {', '.join(sorted(unknown))} turns, and a prompt has one.", "Export as --format trl."
        )
    return "".join(f"\n\n{HH_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns)
