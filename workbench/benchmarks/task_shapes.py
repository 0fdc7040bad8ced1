"""How rows of the standard tasks' data may look, and what they become: the columns that the harness's tasks read.

A task's data may come with the columns of the hub's data set, which the harness expects, or in another form that is
about: already processed (a query with its choices), or as the task's authors published them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.benchmarks import harness
from workbench.benchmarks.task_rows import TaskRow
from workbench.errors import WorkbenchError

LETTERS = string.ascii_uppercase
MBPP = "google-research-datasets/mbpp"
MMLU = "cais/mmlu"
MMLU_TABLE = ("question", "A", "B", "C", "D", "answer")
WIKITEXT = "EleutherAI/wikitext_document_level"
MBPP_TEST = range(
    11, 511
)  # ids of the test split; the others are for prompting, training and validation (MBPP's README)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One form of a task's rows. `convert` makes the hub's columns of one."""

    fields: tuple[str, ...]  # that every row has; the first row decides on the shape
    convert: Callable[[TaskRow], dict[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the harness's task, where the shape needs others


def shapes(task: str) -> Sequence[Shape]:
    """The forms in which a task's rows are known; the hub's first.

    Raises `WorkbenchError` if the harness has no such task.
    """
    return _known(task) or [_as_templates_say(harness.settings(task))]


def is_known(task: str) -> bool:
    """Whether every field of the task's rows is checked here, rather than only those that its templates name."""
    return bool(_known(task))


def columns(task: str) -> Sequence[str]:
    """The columns of the table without a header as which the task's authors published it; empty for most tasks."""
    return MMLU_TABLE if harness.settings(task).get("dataset_path") == MMLU else ()


def convert(
    task: str, rows: Sequence[TaskRow], *, examples: bool = False
) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """Rows with the hub's columns, and the settings in which they differ from the hub's.

    `examples`: the rows are to draw worked examples from, rather than to ask.
    Raises `WorkbenchError` that names the row and the field that is missing or wrong.
    """
    known = shapes(task)
    shape = next((item for item in known if rows[0].has(*item.fields)), None)
    if shape is None:
        # Of several forms the one that lacks the least was meant.
        meant = min(known, key=lambda item: sum(not rows[0].has(name) for name in item.fields))
        try:
            for name in meant.fields:
                rows[0].value(name)
        except WorkbenchError as error:
            if len(known) == 1:
                raise
            forms = "; or ".join(", ".join(item.fields) for item in known)
            raise WorkbenchError(error.what, f"Rows of {task} have {forms}. Nothing was added.") from None
    assert shape is not None
    for row in rows:
        for name in shape.fields:
            row.value(name)
    made = [shape.convert(row) for row in rows]
    if harness.settings(task).get("dataset_path") == MBPP and not examples:
        made = [row for row in made if row["task_id"] in MBPP_TEST]
        if not made:
            what = f"None of the {len(rows):,} rows is of MBPP's test split."
            raise WorkbenchError(what, "Its task_id goes from 11 to 510; nothing was added.")
    return made, shape.settings


def _plain(*texts: str, **choices: Sequence[str]) -> Shape:
    """Columns that are texts, and one that is the number of the right answer (named `choices` in words)."""

    def columns(row: TaskRow) -> dict[str, Any]:
        made: dict[str, Any] = {name: row.text(name) for name in texts}
        return made | {name: row.place_of(name, len(words), words) for name, words in choices.items()}

    return Shape(fields=(*texts, *choices), convert=columns)


def _hellaswag(row: TaskRow) -> dict[str, Any]:
    """The hub's columns; `ctx_b` may be missing where `ctx` is there, which by the authors' README of the data is
    `ctx_a`, and behind it, where it is not empty, a space and `ctx_b`."""
    endings = row.texts("endings", at_least=2)
    first = row.text("ctx_a")
    if row.has("ctx_b") or not row.has("ctx"):
        second = row.text("ctx_b", empty=True)
    elif row.text("ctx").startswith(first):
        second = row.text("ctx").removeprefix(first).removeprefix(" ")
    else:
        raise row.wrong("ctx", "does not begin with ctx_a")
    return {
        "activity_label": row.text("activity_label"),
        "ctx_a": first,
        "ctx_b": second,
        "endings": endings,
        "label": str(row.place_of("label", len(endings))),
    }


def _hellaswag_processed(right: str) -> Callable[[TaskRow], dict[str, Any]]:
    def columns(row: TaskRow) -> dict[str, Any]:
        choices = row.texts("choices", at_least=2)
        return {"query": row.text("query"), "choices": choices, "label": str(row.place_of(right, len(choices)))}

    return columns


def _arc(row: TaskRow) -> dict[str, Any]:
    choices = row.inner("choices")
    texts, labels = choices.texts("text", at_least=2), choices.texts("label", at_least=2)
    key = row.text("answerKey")
    if len(texts) != len(labels):
        raise row.wrong("choices", "has not as many texts as labels")
    if key not in labels:
        raise row.wrong("answerKey", f"is none of {', '.join(labels)}")
    return {"question": row.text("question"), "choices": {"text": texts, "label": labels}, "answerKey": key}


def _arc_processed(row: TaskRow) -> dict[str, Any]:
    choices = row.texts("choices", at_least=2)
    right = row.place_of("gold", len(choices), LETTERS[: len(choices)])
    question = row.text("query").removeprefix("Question: ").removesuffix("\nAnswer:")
    labels = list(LETTERS[: len(choices)])
    return {"question": question, "choices": {"text": choices, "label": labels}, "answerKey": labels[right]}


def _arc_published(row: TaskRow) -> dict[str, Any]:
    """As the authors' file has it: the choices, each with its letter, inside the question."""
    if isinstance(row.value("question"), str):
        row.value("choices")  # the hub's form was meant, which has them beside the question
    question = row.inner("question")
    listed = question.value("choices")
    if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
        raise row.wrong("question", "has no list of choices with text and label")
    choices = [TaskRow(f"choice {n} of {row.place}", item) for n, item in enumerate(listed, 1)]
    made = {"text": [item.text("text") for item in choices], "label": [item.text("label") for item in choices]}
    return _arc(TaskRow(row.place, {**row.values, "question": question.text("stem"), "choices": made}))


def _mmlu(row: TaskRow) -> dict[str, Any]:
    choices = row.texts("choices", at_least=4) if row.has("choices") else [row.text(name) for name in "ABCD"]
    if len(choices) != 4:
        raise row.wrong("choices", f"has {len(choices)} entries where 4 are needed")
    return {"question": row.text("question"), "choices": choices, "answer": row.place_of("answer", 4, "ABCD")}


def _truthful(row: TaskRow) -> dict[str, Any]:
    made: dict[str, Any] = {"question": row.text("question")}
    for name in ("mc1_targets", "mc2_targets"):
        targets = row.inner(name)
        choices = targets.texts("choices", at_least=2)
        made[name] = {"choices": choices, "labels": targets.numbers("labels", len(choices))}
    if made["mc1_targets"]["labels"][0] != 1:
        raise row.wrong("mc1_targets", "does not have the right answer first")
    return made


def _truthful_table(row: TaskRow) -> dict[str, Any]:
    """The authors' table, as their multiple-choice file was made of it: each answer closed by a full stop."""
    best, right, wrong = (
        _answers(row, name) for name in ("Best Answer", "Correct Answers", "Incorrect Answers")
    )  # fmt: skip
    if len(best) > 1:
        best = [_closed(row.text("Best Answer"))]
    return {
        "question": row.text("Question").strip(),
        "mc1_targets": {"choices": best + wrong, "labels": [1] + [0] * len(wrong)},
        "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)},
    }


def _truthful_written(row: TaskRow) -> dict[str, Any]:
    return {
        "question": row.text("question"),
        "best_answer": row.text("best_answer"),
        "correct_answers": row.texts("correct_answers"),
        "incorrect_answers": row.texts("incorrect_answers"),
    }


def _truthful_written_table(row: TaskRow) -> dict[str, Any]:
    return {
        "question": row.text("Question"),
        "best_answer": row.text("Best Answer"),
        "correct_answers": [item.strip() for item in row.text("Correct Answers").split(";") if item.strip()],
        "incorrect_answers": [item.strip() for item in row.text("Incorrect Answers").split(";") if item.strip()],
    }


def _answers(row: TaskRow, name: str) -> list[str]:
    return [_closed(item) for item in row.text(name).split(";") if item.strip()]


def _closed(answer: str) -> str:
    answer = answer.strip()
    return answer if answer.endswith(".") else f"{answer}."


def _lambada(row: TaskRow) -> dict[str, Any]:
    text = row.text("text")
    if " " not in text:
        raise row.wrong("text", "is one word, of which none is left to predict")
    return {"text": text}


def _blimp(row: TaskRow) -> dict[str, Any]:
    return {name: row.text(name) for name in ("sentence_good", "sentence_bad")} | (
        {"UID": row.text("UID")} if row.has("UID") else {}
    )


def _mbpp(row: TaskRow) -> dict[str, Any]:
    return {
        "task_id": row.place_of("task_id", 10**6),
        "text": row.text("text"),
        "code": row.text("code"),
        "test_list": row.texts("test_list", at_least=3),
        "test_setup_code": str(row.values.get("test_setup_code") or ""),
    }


def _humaneval(row: TaskRow) -> dict[str, Any]:
    names = ("task_id", "prompt", "entry_point", "test")
    return {name: row.text(name) for name in names} | {
        "canonical_solution": str(row.values.get("canonical_solution") or "")
    }


def _page(row: TaskRow) -> dict[str, Any]:
    return {"page": row.text("page")}


def _boolq(row: TaskRow) -> dict[str, Any]:
    name = "label" if row.has("label") else "answer"  # as the authors' file calls it
    words = ("false", "true") if isinstance(row.value(name), str) else ()
    return {
        "passage": row.text("passage"), "question": row.text("question"), "label": row.place_of(name, 2, words),
    }  # fmt: skip


def _winogrande(row: TaskRow) -> dict[str, Any]:
    if "_" not in row.text("sentence"):
        raise row.wrong("sentence", "has no blank '_'")
    number = row.place_of("answer", 3)
    if number == 0:
        raise row.wrong("answer", "is neither 1 nor 2")
    return {name: row.text(name) for name in ("sentence", "option1", "option2")} | {"answer": str(number)}


def _copa(row: TaskRow) -> dict[str, Any]:
    if row.text("question") not in ("cause", "effect"):
        raise row.wrong("question", "is neither 'cause' nor 'effect'")
    names = ("premise", "choice1", "choice2", "question")
    return {name: row.text(name) for name in names} | {"label": row.place_of("label", 2)}


_NLI = ("entailment", "not_entailment")
_AS_TEXT = {"process_docs": None}  # rows are processed already

_TABLE = ("Question", "Best Answer", "Correct Answers", "Incorrect Answers")

# By the data set on the hub that tasks read, and its part where parts differ.
_KNOWN: dict[str, Sequence[Shape]] = {
    "Rowan/hellaswag": [
        Shape(fields=("activity_label", "ctx_a", "endings", "label"), convert=_hellaswag),
        Shape(fields=("query", "choices", "label"), convert=_hellaswag_processed("label"), settings=_AS_TEXT),
        Shape(fields=("query", "choices", "gold"), convert=_hellaswag_processed("gold"), settings=_AS_TEXT),
    ],
    "allenai/ai2_arc": [
        Shape(fields=("question", "choices", "answerKey"), convert=_arc),
        Shape(fields=("query", "choices", "gold"), convert=_arc_processed),
        Shape(fields=("question", "answerKey"), convert=_arc_published),
    ],
    MMLU: [
        Shape(fields=("question", "choices", "answer"), convert=_mmlu),
        Shape(fields=MMLU_TABLE, convert=_mmlu),
    ],
    "truthfulqa/truthful_qa:multiple_choice": [
        Shape(fields=("question", "mc1_targets", "mc2_targets"), convert=_truthful),
        Shape(fields=_TABLE, convert=_truthful_table),
    ],
    "truthfulqa/truthful_qa:generation": [
        Shape(fields=("question", "best_answer", "correct_answers", "incorrect_answers"), convert=_truthful_written),
        Shape(fields=_TABLE, convert=_truthful_written_table),
    ],
    "EleutherAI/lambada_openai": [Shape(fields=("text",), convert=_lambada)],
    "cimec/lambada": [Shape(fields=("text",), convert=_lambada)],
    "nyu-mll/blimp": [Shape(fields=("sentence_good", "sentence_bad"), convert=_blimp)],
    "openai/gsm8k": [_plain("question", "answer")],
    "openai/openai_humaneval": [Shape(fields=("task_id", "prompt", "entry_point", "test"), convert=_humaneval)],
    MBPP: [Shape(fields=("task_id", "text", "code", "test_list"), convert=_mbpp)],
    WIKITEXT: [Shape(fields=("page",), convert=_page)],
    "nyu-mll/glue:cola": [_plain("sentence", label=("unacceptable", "acceptable"))],
    "nyu-mll/glue:rte": [_plain("sentence1", "sentence2", label=_NLI)],
    "aps/super_glue:rte": [_plain("premise", "hypothesis", label=_NLI)],
    "aps/super_glue:boolq": [
        Shape(fields=("passage", "question", "label"), convert=_boolq),
        Shape(fields=("passage", "question", "answer"), convert=_boolq),
    ],
    "aps/super_glue:copa": [Shape(fields=("premise", "choice1", "choice2", "question", "label"), convert=_copa)],
    "baber/piqa": [_plain("goal", "sol1", "sol2", label=("0", "1"))],
    "allenai/winogrande": [Shape(fields=("sentence", "option1", "option2", "answer"), convert=_winogrande)],
}


def _known(task: str) -> Sequence[Shape]:
    settings = harness.settings(task)
    hub, part = settings.get("dataset_path"), settings.get("dataset_name")
    return _KNOWN.get(f"{hub}:{part}") or _KNOWN.get(str(hub)) or ()


def _as_templates_say(settings: Mapping[str, Any]) -> Shape:
    """Of any other task: the columns that its templates read, as they stand."""
    import jinja2.meta

    read: set[str] = set()
    environment = jinja2.Environment()
    for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
        template = settings.get(key)
        if not isinstance(template, str) or isinstance(template, harness.Function):
            continue
        if template.isidentifier():
            read.add(template)
        else:
            read |= jinja2.meta.find_undeclared_variables(environment.parse(template))
    if settings.get("process_docs"):
        read = set()  # what a function reads cannot be told from outside; the rows are tried out
    return Shape(fields=tuple(sorted(read)), convert=lambda row: dict(row.values))
