"""A project's own tasks, from rows alone: multiple choice, answers that are compared or matched, perplexity of a text.

| Row | The model | Metrics |
|---|---|---|
| question (or prompt), choices, answer | scores each choice | acc, acc_norm |
| prompt (or question), answer | writes one line | exact_match |
| prompt (or question), regex | writes up to 256 tokens | match |
| text | is scored on it | bits_per_byte, byte_perplexity, word_perplexity |

A `question` is put as "Question: …\\nAnswer:", a `prompt` as it stands.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.benchmarks.task_rows import ADD_IT, TaskRow
from workbench.errors import WorkbenchError

MAX_TOKENS = 256
_LIKE_A_PLACE = re.compile(r"[0-9]|[A-Za-z]")
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKind:
    """One kind of own task. `fields` decide on it, beside `prompt` or `question`."""

    name: str
    fields: tuple[str, ...]
    convert: Callable[[TaskRow], dict[str, Any]]
    settings: Mapping[str, Any]  # of the harness's task


def kind_of(rows: Sequence[TaskRow]) -> OwnKind:
    """The kind of task that rows make, told from the first.

    Raises `WorkbenchError` if they make none.
    """
    first = rows[0]
    for kind in KINDS.values():
        if first.has(*kind.fields) and (kind.name == "text" or first.has("prompt") or first.has("question")):
            return kind
    has = ", ".join(repr(str(name)) for name in first.values) or "nothing"
    what = f"{first.place[0].upper()}{first.place[1:]} makes no question: it has {has}."
    raise WorkbenchError(
        what, "An own task has question, choices and answer, or prompt and answer, or prompt and regex, or text."
    )


def convert(rows: Sequence[TaskRow]) -> tuple[OwnKind, list[dict[str, Any]]]:
    """The kind of task, and its rows in one form.

    Raises `WorkbenchError` that names the row and the field that is missing or wrong.
    """
    kind = kind_of(rows)
    with_choices = next((row for row in rows if row.has("choices")), None)
    if kind.name == "answer" and with_choices is not None:  # forgotten in the first row
        what = f"{rows[0].place[0].upper()}{rows[0].place[1:]} has no field 'choices', which {with_choices.place} has."
        raise WorkbenchError(what, ADD_IT)
    return kind, [kind.convert(row) for row in rows]


def doubt(kind: OwnKind, rows: Sequence[TaskRow]) -> str | None:
    """A sentence where all answers to be written look as if they were a choice's number or letter."""
    if kind.name != "answer" or not all(_LIKE_A_PLACE.fullmatch(str(row.values["answer"]).strip()) for row in rows):
        return None
    first = rows[0]
    return (
        f"The answer of {first.place} is {str(first.values['answer']).strip()}, and no row has choices: the model is "
        "to write just that. If it is the number or the letter of a choice, give every row its choices."
    )


def settings(name: str, kind: str) -> dict[str, Any]:
    """The harness's task of one kind, as its YAML would say it. Every call gives a fresh one."""
    return {
        "task": name,
        "test_split": "test",
        "target_delimiter": " ",
        "num_fewshot": None,
        "metadata": {"version": VERSION},
    } | {key: _copy(value) for key, value in KINDS[kind].settings.items()}


def _prompt(row: TaskRow) -> str:
    if row.has("prompt"):
        return row.text("prompt")
    return f"Question: {row.text('question').strip()}\nAnswer:"


def _choices(row: TaskRow) -> dict[str, Any]:
    choices = row.texts("choices", at_least=2)
    empty = next((n for n, choice in enumerate(choices, 1) if not choice.strip()), None)
    if empty:
        raise row.wrong("choices", f"has an empty entry, number {empty}")
    equal = next((n for n, choice in enumerate(choices, 1) if choice.strip() in map(str.strip, choices[: n - 1])), None)
    if equal:
        raise row.wrong("choices", f"has an entry twice, the second time as number {equal}")
    return {"prompt": _prompt(row), "choices": choices, "answer": _right(row, choices)}


def _right(row: TaskRow, choices: list[str]) -> int:
    """The place of the right choice, given as that choice, as its letter, or as its number from 0."""
    given = row.value("answer")
    if isinstance(given, str) and given in choices:
        return choices.index(given)
    letters = string.ascii_uppercase[: len(choices)]
    if isinstance(given, str) and len(given.strip()) == 1 and given.strip().upper() in letters:
        return letters.index(given.strip().upper())
    if isinstance(given, bool) or not str(given).strip().isdecimal() or int(given) >= len(choices):
        why = f"is neither one of the {len(choices)} choices nor its letter nor its number from 0"
        raise row.wrong("answer", why)
    return int(given)


def _answer(row: TaskRow) -> dict[str, Any]:
    given = row.value("answer")
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = str(given)
    answers = [given] if isinstance(given, str) else row.texts("answer")
    if not all(normal(answer) for answer in answers):
        raise row.wrong("answer", "is empty")
    return {"prompt": _prompt(row), "answer": answers}


def _regex(row: TaskRow) -> dict[str, Any]:
    pattern = row.text("regex")
    try:
        re.compile(pattern)
    except re.error as error:
        raise row.wrong("regex", f"is no regular expression ({error})") from None
    return {"prompt": _prompt(row), "regex": pattern}


def _text(row: TaskRow) -> dict[str, Any]:
    return {"text": row.text("text")}


def normal(text: str) -> str:
    """An answer as it is compared: without regard to case, white space and a full stop at its end."""
    return " ".join(text.split()).removesuffix(".").casefold()


def exact_match(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether an answer is one of those of the row."""
    return {"exact_match": float(normal(results[0]) in map(normal, doc["answer"]))}


def match(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the row's regular expression is found in an answer."""
    return {"match": float(re.search(doc["regex"], results[0]) is not None)}


def _mean(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


KINDS = {
    kind.name: kind
    for kind in (
        OwnKind(
            name="choices",
            fields=("choices", "answer"),
            convert=_choices,
            settings={
                "output_type": "multiple_choice",
                "doc_to_text": "prompt",
                "doc_to_target": "answer",
                "doc_to_choice": "choices",
                "metric_list": [_mean("acc"), _mean("acc_norm")],
            },
        ),
        OwnKind(
            name="regex",
            fields=("regex",),
            convert=_regex,
            settings={
                "output_type": "generate_until",
                "doc_to_text": "prompt",
                "doc_to_target": "regex",
                "process_results": match,
                "metric_list": [_mean("match")],
                "generation_kwargs": {"until": [], "max_gen_toks": MAX_TOKENS, "do_sample": False, "temperature": 0.0},
            },
        ),
        OwnKind(
            name="answer",
            fields=("answer",),
            convert=_answer,
            settings={
                "output_type": "generate_until",
                "doc_to_text": "prompt",
                "doc_to_target": "answer",
                "process_results": exact_match,
                "metric_list": [_mean("exact_match")],
                "generation_kwargs": {
                    "until": ["\n"], "max_gen_toks": MAX_TOKENS, "do_sample": False, "temperature": 0.0,
                },
            },
        ),
        OwnKind(
            name="text",
            fields=("text",),
            convert=_text,
            settings={
                "output_type": "loglikelihood_rolling",
                "doc_to_text": "",
                "doc_to_target": "text",
                "metric_list": [
                    {"metric": name, "aggregation": aggregation, "higher_is_better": False}
                    for name, aggregation in (
                        ("bits_per_byte", "bits_per_byte"),
                        ("byte_perplexity", "weighted_perplexity"),
                        ("word_perplexity", "weighted_perplexity"),
                    )
                ],
            },
        ),
    )
}  # fmt: skip
