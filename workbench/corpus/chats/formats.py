"""How rows of instruction data are written, found out from the first of them, and read into messages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.corpus.chats.messages import Message, Unfit, message, messages, tools

QUESTIONS = ("prompt", "question", "query", "instruction", "input")
TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
ANSWERS = ("completion", "response", "answer", "output")


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation of a row."""

    messages: list[Message]
    tools: list[Any] | None = None


def detect(rows: Iterable[Any]) -> str | None:
    """The format that most of `rows` have; None where no row has a known one."""
    votes = Counter(found for row in rows if (found := _format_of(row)) is not None)
    return votes.most_common(1)[0][0] if votes else None


def read_chats(row: Any, form: str) -> list[Chat]:
    """The conversations of a row in format `form`: one, or of a task of self-instruct's one for each instance.

    Raises `Unfit` with the reason if it has none.
    """
    if form == "prompts" and isinstance(row, str):
        return [Chat([{"role": "user", "content": row}])]
    if not isinstance(row, Mapping):
        raise Unfit("not an object")
    if form == "self-instruct" or (form == "prompts" and "instances" in row):
        return [READERS[form](instance) for instance in _instances(row)]
    return [READERS[form](row)]


def answered(row: Any, form: str) -> bool:
    """Whether a row of marked answers has a good one."""
    return form != "kto" or is_good(row.get("label"))


def is_good(label: Any) -> bool:
    """A mark on an answer. Raises `Unfit` if it is none."""
    if isinstance(label, str):
        label = {"true": True, "1": True, "false": False, "0": False}.get(label.strip().lower())
    if label not in (True, False):
        raise Unfit("no mark")
    return bool(label)


def answer_of(value: Any) -> list[Message]:
    """An answer alone, as text, a message, or messages. Raises `Unfit`."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if isinstance(value, Mapping):
        return [message(value)]
    return messages(value)


def is_transcript(value: Any) -> bool:
    """Whether it is HH-RLHF's "\\n\\nHuman: … \\n\\nAssistant: …" (Bai et al. 2022)."""
    return isinstance(value, str) and bool(TRANSCRIPT.match(value))


def transcript(text: str) -> list[Message]:
    """The messages of a transcript."""
    found = TRANSCRIPT.split(text)[1:]
    return [
        {"role": SPEAKERS[speaker], "content": said.strip()}
        for speaker, said in zip(found[::2], found[1::2], strict=True)
    ]


def question_of(row: Mapping[str, Any]) -> list[Message]:
    """What was asked: `prompt` as text or messages, or ShareGPT's `conversations`. Raises `Unfit`."""
    listed = next((row[key] for key in ("conversations", "conversation", "messages") if row.get(key)), None)
    if listed is not None and not row.get("prompt"):
        return _with_system(row, messages(listed))
    for key in QUESTIONS:
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            return _with_system(row, [{"role": "user", "content": value}])
        if isinstance(value, Sequence) and value and not isinstance(value, str):
            return _with_system(row, messages(value))
    raise Unfit("no question")


def common_beginning(one: list[Message], other: list[Message]) -> int:
    """How many messages both begin with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _format_of(row: Any) -> str | None:
    if isinstance(row, str):
        return "prompts"
    if not isinstance(row, Mapping):
        return None
    has = {key for key, value in row.items() if value is not None}
    listed = next((row[key] for key in ("messages", "conversations", "conversation") if key in has), None)
    if {"chosen", "rejected"} <= has:
        return "preference"
    if "label" in has and (listed is not None or "completion" in has):
        return "kto"
    if listed is not None:
        first = listed[0] if isinstance(listed, Sequence) and not isinstance(listed, str) and listed else None
        if isinstance(first, Mapping) and "from" in first:
            return "sharegpt"
        if isinstance(first, Mapping) and not any(message_.get("role") in ("assistant", "tool") for message_ in listed):
            return "prompts"
        return "chatml"
    if {"instruction", "instances"} <= has:
        return "self-instruct"
    if "instruction" in has and has & {"output", "response"}:
        return "alpaca"
    if has & set(QUESTIONS) and has & set(ANSWERS):
        return "prompt-completion"
    return "prompts" if has & set(QUESTIONS) else None


def _listed(row: Mapping[str, Any]) -> Chat:
    listed = next((row[key] for key in ("messages", "conversations", "conversation") if row.get(key)), None)
    if listed is None:
        raise Unfit("no messages")
    return Chat(_with_system(row, messages(listed)), tools(row.get("tools", row.get("functions"))))


def _alpaca(row: Mapping[str, Any]) -> Chat:
    """instruction, input, output (Taori et al. 2023), perhaps with `system` and earlier turns in `history`."""
    instruction, given = row.get("instruction"), row.get("input") or row.get("context")  # the latter is Dolly's
    if not isinstance(instruction, str):
        raise Unfit("no question")
    output = next((row[key] for key in ("output", "response") if row.get(key) is not None), None)
    if output is None:
        raise Unfit("no answer")
    turns: list[Message] = []
    for turn in row.get("history") or []:
        if not isinstance(turn, Sequence) or len(turn) != 2 or not all(isinstance(part, str) for part in turn):
            raise Unfit("history is not pairs of texts")
        turns += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    question = f"{instruction}\n\n{given}" if isinstance(given, str) and given.strip() else instruction
    turns.append({"role": "user", "content": question})
    return Chat(_with_system(row, turns + answer_of(output)))


def _instances(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The instances of a task of self-instruct's (Wang et al. 2022), each as a row of its own with the instruction."""
    instances = row.get("instances")
    if not isinstance(instances, Sequence) or not instances or not all(isinstance(item, Mapping) for item in instances):
        raise Unfit("no instances")
    return [{"instruction": row.get("instruction"), **item} for item in instances]


def _prompt_completion(row: Mapping[str, Any]) -> Chat:
    asked = question_of({key: value for key, value in row.items() if key not in ANSWERS})
    answer = next((row[key] for key in ANSWERS if row.get(key) is not None), None)
    if answer is None:
        raise Unfit("no answer")
    return Chat(asked + answer_of(answer), tools(row.get("tools")))


def _preference(row: Mapping[str, Any]) -> Chat:
    """The better answer of a pair."""
    if row.get("chosen") is None:
        raise Unfit("no answer")
    chosen = transcript(row["chosen"]) if is_transcript(row["chosen"]) else answer_of(row["chosen"])
    if any(turn["role"] == "user" for turn in chosen):  # the prompt stands in the answers
        return Chat(chosen, tools(row.get("tools")))
    return Chat(question_of(row) + chosen, tools(row.get("tools")))


def _kto(row: Mapping[str, Any]) -> Chat:
    if not is_good(row.get("label")):
        raise Unfit("marked as bad")
    return _listed(row) if row.get("messages") or row.get("conversations") else _prompt_completion(row)


def _prompts(row: Mapping[str, Any]) -> Chat:
    """Everything up to the last question."""
    if row.get("input") and isinstance(row.get("instruction"), str):
        asked = _alpaca({**row, "output": "-"}).messages
    elif {"chosen", "rejected"} <= set(row) and not any(
        row.get(key) for key in (*QUESTIONS, "conversations", "messages")
    ):
        asked = _preference(row).messages
    else:
        asked = question_of(row)
    while asked and asked[-1]["role"] != "user":
        asked.pop()
    if not asked:
        raise Unfit("no question")
    return Chat(asked, tools(row.get("tools")))


def _with_system(row: Mapping[str, Any], turns: list[Message]) -> list[Message]:
    """`turns` after the row's own system message, if they have none."""
    system = row.get("system", row.get("system_prompt"))
    if isinstance(system, str) and system.strip() and turns[0]["role"] != "system":
        return [{"role": "system", "content": system}, *turns]
    return turns


READERS: Mapping[str, Callable[[Mapping[str, Any]], Chat]] = {
    "chatml": _listed,
    "sharegpt": _listed,
    "alpaca": _alpaca,
    "self-instruct": _alpaca,
    "prompt-completion": _prompt_completion,
    "preference": _preference,
    "kto": _kto,
    "prompts": _prompts,
}
