"""What a judge is asked, and how its verdict is read (after MT-Bench: Zheng et al. 2023, figures 5 to 10)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workbench.benchmarks.judging.questions import Question
from workbench.benchmarks.judging.verdicts import Better
from workbench.contract import Message

BETTER = re.compile(r"\[\[\s*(A|B|C|tie)\s*\]\]", re.IGNORECASE)
GRADE = re.compile(r"\[\[\s*(\d{1,2}(?:\.\d+)?)\s*(?:/\s*10)?\s*\]\]")
THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
LOWEST, HIGHEST = 1, 10
PLACES: Mapping[str, Better] = {"a": "first", "b": "second", "c": "tie", "tie": "tie"}
AFTER_VERDICT = " \t\r\n.*_`\"'"

COMPARE = (
    "You compare the answers of two assistants, A and B, to the same user. Which of them stands first was drawn by lot "
    "and means nothing."
)
GRADE_ONE = (
    f"You grade the answer of an assistant to a user from {LOWEST} (useless) to {HIGHEST} (could not be better)."
)
LAST_ONLY = "Judge the answer to the user's last question; what came before is its context."
SAY_BETTER = (
    "First say in a few sentences what is good and bad about each. Then end with your verdict alone on the last line: "
    "[[A]] if the answer of assistant A is better, [[B]] if that of assistant B is, [[C]] if neither is."
)
SAY_GRADE = (
    "First say in a few sentences what is good and bad about it. Then end with your grade alone on the last line, a "
    f"number from {LOWEST} to {HIGHEST} in double brackets, as in [[5]]."
)
ONCE_MORE_BETTER = "That holds no verdict. Reply with nothing but [[A]], [[B]] or [[C]]."
ONCE_MORE_GRADE = f"That holds no grade. Reply with nothing but a number from {LOWEST} to {HIGHEST}, as in [[5]]."
LIKELIER = "Say A or B and nothing else.\nThe better answer is:"
LIKELIER_GRADE = (
    f"Say a number from {LOWEST} to {HIGHEST} in double brackets, as in [[5]], and nothing else.\nThe grade is:"
)


def instruction(question: Question, answers: Sequence[Sequence[str]], rubric: str, *, written: bool) -> str:
    """What a judge is asked about the last of the turns that were answered: of two assistants to compare, A first, or
    of one to grade. `answers`: of each assistant, a text a turn."""
    compared = len(answers) == 2
    turn = len(answers[0])
    parts = [COMPARE if compared else GRADE_ONE, rubric]
    if turn > 1:
        parts.append(LAST_ONLY)
    if any(question.references[turn - 1 : turn]):
        parts.append(f"[A reference answer]\n{question.references[turn - 1]}")
    names = ("assistant A", "assistant B") if compared else ("the assistant",)
    if turn == 1:
        parts.append(f"[The conversation]\n{_told(question.messages)}")
        parts += [_between(f"the answer of {name}", said[0]) for name, said in zip(names, answers, strict=True)]
    else:
        for name, said in zip(names, answers, strict=True):
            talk = [*question.talk(said[:-1]), {"role": "assistant", "content": said[-1]}]
            parts.append(_between(f"the conversation with {name}", _told(talk)))
    if written:
        parts.append(SAY_BETTER if compared else SAY_GRADE)
    else:
        parts.append(LIKELIER if compared else LIKELIER_GRADE)
    return "\n\n".join(parts)


def once_more(asked: str, said: str, *, compared: bool) -> list[Message]:
    """Ask again, after a reply without a verdict."""
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": said},
        {"role": "user", "content": ONCE_MORE_BETTER if compared else ONCE_MORE_GRADE},
    ]


def better_of(said: str) -> Better | None:
    """ "first", "second" or "tie"; None if the reply holds no verdict, or several and does not end in one."""
    found = _verdict(said, BETTER)
    return PLACES[found.lower()] if found is not None else None


def grade_of(said: str) -> float | None:
    """A grade in the range; None if the reply holds none."""
    found = _verdict(said, GRADE)
    grade = float(found) if found is not None else None
    return grade if grade is not None and LOWEST <= grade <= HIGHEST else None


def reason_of(said: str) -> str:
    """The reply without its verdict."""
    text = THOUGHTS.sub("", said)
    for pattern in (BETTER, GRADE):
        if matches := list(pattern.finditer(text)):
            last = matches[-1]
            text = text[: last.start()] + text[last.end() :]
    return text.strip()


def _verdict(said: str, pattern: re.Pattern[str]) -> str | None:
    text = THOUGHTS.sub("", said)
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    # A judge that repeats the instruction names all verdicts, and means none of them.
    alone = len({match[1].lower() for match in matches}) == 1
    at_end = not text[matches[-1].end() :].strip(AFTER_VERDICT)
    return matches[-1][1] if alone or at_end else None


def _told(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _between(what: str, text: str) -> str:
    return f"[Beginning of {what}]\n{text}\n[End of {what}]"
