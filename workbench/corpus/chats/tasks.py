"""The stage template-chat: rows of classification, question answering and summarisation as conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from workbench.corpus.chats import phrasings
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.intake import mended
from workbench.corpus.chats.messages import Unfit, canonical
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import BadRow, Row, find_rows, read_rows
from workbench.corpus.duplicates import Duplicates
from workbench.corpus.progress import ProgressReport
from workbench.recipes.instructions import TemplateChatRecipe

MOST_LABELS = 24  # that an instruction lists
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def template_chat(
    recipe: TemplateChatRecipe, output: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Write the recipe's rows as conversations into the folder `output`, answer the report.

    Raises `WorkbenchError` if a source does not exist, or not one row has the fields.
    """
    sources = find_rows(recipe.sources)
    for line in sources.left_out:
        warn(f"{line}.")

    def rows(phase: str) -> Iterator[Row | BadRow]:
        progress.begin(phase, total=sum(file.size for file in sources.files) or None, unit="bytes")
        for file in sources.files:
            yield from read_rows(file, progress.advance)

    labels = _labels(recipe, rows("looking")) if recipe.task == "classification" else []
    duplicates = Duplicates()
    used: Counter[int] = Counter()
    keys: list[str] = []  # of the first row
    repaired = 0
    with ConversationWriter(output) as conversations, Rejects(output) as rejects:
        for number, row in enumerate(rows("writing")):
            if isinstance(row, BadRow):
                rejects.add(row.source, row.reason, row.excerpt)
                continue
            if not keys and isinstance(row.value, Mapping):
                keys = list(row.value)
            try:
                values, answer = _values(row.value, recipe)
                if not duplicates.is_new(canonical([values, answer])):
                    raise Unfit("duplicate")
            except Unfit as why:
                rejects.add(row.source, str(why), row.value)
                continue
            choice = xxhash.xxh3_64_intdigest(str(number).encode(), recipe.seed % 2**64) % recipe.phrasings
            used[choice] += 1
            question = _phrasings(recipe, values, labels)[choice].format(**values, labels=_listed(labels))
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            conversations.add(turns, None, row.source)
            repaired += row.repaired
        if not conversations.rows:
            remedy = "Say where things stand: --text-field, --question-field, --answer-field."
            raise rejects.nothing_left("conversation", f"{remedy} There are: {', '.join(map(repr, keys))}.")
    progress.end()
    rejects.tell(warn)
    if repaired:
        warn(mended(repaired))
    return {
        "rows": conversations.rows,
        "turns": 2 * conversations.rows,
        "repaired": repaired,
        "format": recipe.task,
        "labels": labels,
        "phrasings": [used[number] for number in range(recipe.phrasings)],
    } | rejects.report()


def _phrasings(recipe: TemplateChatRecipe, values: Mapping[str, str], labels: Sequence[str]) -> Sequence[str]:
    if recipe.task == "classification":
        return phrasings.CLASSIFICATION if labels else phrasings.OPEN_CLASSIFICATION
    if recipe.task == "summarisation":
        return phrasings.SUMMARY
    if "choices" in values:
        return phrasings.CHOICE
    return phrasings.QUESTION_ABOUT if "text" in values else phrasings.QUESTION


def _values(row: Any, recipe: TemplateChatRecipe) -> tuple[dict[str, str], str]:
    """(what the instruction is filled with, the answer). Raises `Unfit`."""
    if not isinstance(row, Mapping):
        raise Unfit("not an object")
    fields = {"text": recipe.text_field, "question": recipe.question_field}
    values = {name: _text(row, field) for name, field in fields.items() if field}
    assert recipe.answer_field is not None
    if recipe.choices_field:
        choices = _choices(row.get(recipe.choices_field))
        right = _chosen(row.get(recipe.answer_field), choices)
        if "text" in values:
            values["question"] = f"{values.pop('text')}\n\n{values['question']}"
        values["choices"] = "\n".join(f"{LETTERS[n]}. {choice}" for n, choice in enumerate(choices))
        return values, f"{LETTERS[right]}. {choices[right]}"
    if recipe.task == "classification":
        return values, _label(row.get(recipe.answer_field), recipe)
    return values, _text(row, recipe.answer_field)


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
        value = value[0]  # several answers that are right
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Unfit(f"no {field!r}")
    if not value.strip():
        raise Unfit(f"empty {field!r}")
    return value.strip()


def _label(value: Any, recipe: TemplateChatRecipe) -> str:
    names = recipe.label_names
    if isinstance(value, str) and names and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool):
        value = int(value) if names else str(value).lower()
    if isinstance(value, int) and names:
        if not 0 <= value < len(names):
            raise Unfit("a label without a name")
        return names[value]
    if value is None or not str(value).strip():
        raise Unfit(f"no {recipe.answer_field!r}")
    return str(value).strip()


def _choices(value: Any) -> list[str]:
    if isinstance(value, Mapping):  # {"text": [...], "label": [...]}
        value = value.get("text")
    if not isinstance(value, (list, tuple)) or not 2 <= len(value) <= len(LETTERS):
        raise Unfit("no choices")
    return [str(choice).strip() for choice in value]


def _chosen(answer: Any, choices: list[str]) -> int:
    """Which of the choices is right: given by its number from 0, its letter, or its words."""
    if isinstance(answer, str):
        said = answer.strip()
        if said in choices:
            return choices.index(said)
        if len(said) == 1 and said.upper() in LETTERS[: len(choices)]:
            return LETTERS.index(said.upper())
        answer = int(said) if said.isdigit() else None
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise Unfit("an answer that is none of the choices")


def _labels(recipe: TemplateChatRecipe, rows: Iterator[Row | BadRow]) -> list[str]:
    """The labels that the instruction lists; none where there are too many for that."""
    if recipe.label_names:
        return list(recipe.label_names)
    found: set[str] = set()
    for row in rows:
        if isinstance(row, Row) and isinstance(row.value, Mapping):
            try:
                found.add(_label(row.value.get(recipe.answer_field), recipe))
            except Unfit:
                continue
        if len(found) > MOST_LABELS:
            return []
    return sorted(found)


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:-1]) + f" or {labels[-1]}" if len(labels) > 1 else "".join(labels)
