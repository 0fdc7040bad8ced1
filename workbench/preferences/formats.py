"""How preferences are written by others, found out from the first rows, and read into pairs and marks.

TRL's formats with explicit and implicit prompt, as text and as messages; Anthropic's HH-RLHF transcripts
(Bai et al. 2022); ShareGPT pairs; single answers with a label, as KTO reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from workbench.corpus.chats.formats import answer_of, common_beginning, is_good, is_transcript, question_of, transcript
from workbench.corpus.chats.messages import Message, Unfit, check_order, messages, says_nothing
from workbench.corpus.chats.pairs import Mark, Pair


def detect(rows: Iterable[Any]) -> str | None:
    """The format that most of `rows` have; None where no row has a known one."""
    votes = Counter(found for row in rows if (found := _format_of(row)) is not None)
    return votes.most_common(1)[0][0] if votes else None


def read_preference(row: Any, form: str, source: str) -> Pair | Mark:
    """The pair or the mark of a row in format `form`. Raises `Unfit` with the reason if it has none."""
    if not isinstance(row, Mapping):
        raise Unfit("not an object")
    about: dict[str, Any] = {
        "rater": next((row[key] for key in ("rater", "annotator") if isinstance(row.get(key), str)), ""),
        "time": _time(row.get("time", row.get("timestamp"))),
        "source": source,
        "tags": tuple(tag for tag in row.get("tags") or () if isinstance(tag, str)),
    }
    if form == "kto":
        return _mark(row, about)
    if row.get("chosen") is None or row.get("rejected") is None:
        raise Unfit("no answer")
    prompt, chosen, rejected = _transcripts(row) if form == "hh-rlhf" else _answers(row)
    _check(prompt, chosen, rejected)
    return Pair(prompt=prompt, chosen=chosen, rejected=rejected, margin=_margin(row), **about)


def _format_of(row: Any) -> str | None:
    if not isinstance(row, Mapping):
        return None
    has = {key for key, value in row.items() if value is not None}
    if {"chosen", "rejected"} <= has:
        if "prompt" not in has and is_transcript(row["chosen"]):
            return "hh-rlhf"
        return "sharegpt" if has & {"conversations", "conversation"} else "trl"
    return "kto" if "label" in has else None


def _answers(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    """(prompt, chosen, rejected): the prompt as it is given, or else what both answers begin with."""
    chosen, rejected = row["chosen"], row["rejected"]
    explicit = any(row.get(key) for key in ("prompt", "question", "instruction", "conversations", "conversation"))
    if explicit:
        asked = question_of(row)
        return asked, _without_prompt(asked, answer_of(chosen)), _without_prompt(asked, answer_of(rejected))
    if isinstance(chosen, str) and isinstance(rejected, str):
        begin = _common_text(chosen, rejected)
        asked = [{"role": "user", "content": chosen[:begin].strip()}]
        return asked, answer_of(chosen[begin:].strip()), answer_of(rejected[begin:].strip())
    return _divided(messages(chosen), messages(rejected))


def _transcripts(row: Mapping[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    """HH-RLHF's: "\\n\\nHuman: … \\n\\nAssistant: …", whose last answers differ."""
    if not is_transcript(row["chosen"]) or not is_transcript(row["rejected"]):
        raise Unfit("not a transcript")
    return _divided(transcript(row["chosen"]), transcript(row["rejected"]))


def _divided(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """What both conversations begin with, up to a question, and how each goes on.

    Raises `Unfit` if they answer different questions.
    """
    begin = common_beginning(chosen, rejected)
    if all(_asks(turns[begin:]) for turns in (chosen, rejected)) and not _asks(chosen[:begin]):
        raise Unfit("the questions differ")
    while begin and chosen[begin - 1]["role"] == "assistant":
        begin -= 1
    return chosen[:begin], chosen[begin:], rejected[begin:]


def _asks(turns: list[Message]) -> bool:
    return any(turn["role"] == "user" for turn in turns)


def _without_prompt(asked: list[Message], answer: list[Message]) -> list[Message]:
    """The answer alone, where it was written after the prompt once more."""
    return answer[len(asked) :] if answer[: len(asked)] == asked else answer


def _common_text(one: str, other: str) -> int:
    """Where two texts part, at a word's beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    place = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    while place and not one[place - 1].isspace():
        place -= 1
    return place


def _check(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> None:
    """Raises `Unfit` unless both answer the prompt, and differ."""
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        raise Unfit("no question")
    for answer in (chosen, rejected):
        if not answer:
            raise Unfit("no answer")
        if all(says_nothing(turn) for turn in answer):
            raise Unfit("empty answer")
        check_order([*prompt, *answer])
        if answer[-1]["role"] != "assistant":
            raise Unfit("no answer to the last question")
    if [_stripped(turn) for turn in chosen] == [_stripped(turn) for turn in rejected]:
        raise Unfit("chosen = rejected")


def _stripped(turn: Message) -> Message:
    return {**turn, "content": turn["content"].strip()}


def _mark(row: Mapping[str, Any], about: Mapping[str, Any]) -> Mark:
    label = is_good(row.get("label"))
    if row.get("completion") is not None:
        asked = question_of(row)
        answer = _without_prompt(asked, answer_of(row["completion"]))
    else:
        turns = question_of(row)
        place = max((n for n, turn in enumerate(turns) if turn["role"] == "user"), default=-1) + 1
        asked, answer = turns[:place], turns[place:]
    if not asked or asked[-1]["role"] not in ("user", "tool"):
        raise Unfit("no question")
    if not answer:
        raise Unfit("no answer")
    if all(says_nothing(turn) for turn in answer):
        raise Unfit("empty answer")
    check_order([*asked, *answer])
    return Mark(prompt=asked, completion=answer, label=label, **about)


def _margin(row: Mapping[str, Any]) -> float | None:
    """How much better: `margin`, or the difference of the scores of both."""
    scores = [row.get("score_chosen"), row.get("score_rejected")]
    value = row.get("margin")
    if value is None and all(isinstance(score, (int, float)) for score in scores):
        value = scores[0] - scores[1]  # type: ignore[operator]
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _time(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
