"""The stage self-instruct: new instructions and answers from a few examples (Wang et al. 2022), filtered.

Each round shows examples and asks for more instructions; those that are too short or long, speak of what a text
model cannot see, or resemble a kept one are dropped, the others are answered and perhaps judged. What a round came
to is one line on disk, so that a stopped run goes on.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.contract import LanguageModel, Message, Sampling
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.formats import detect, read_chats
from workbench.corpus.chats.intake import LOOKED_AT
from workbench.corpus.chats.messages import Unfit
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import Row, find_rows, read_rows
from workbench.corpus.chats.table import EXCERPT_CHARACTERS
from workbench.corpus.progress import ProgressReport
from workbench.errors import WorkbenchError
from workbench.preferences.authors import Author
from workbench.preferences.similarity import most_similar, words
from workbench.recipes.instructions import SelfInstructRecipe
from workbench.wording import amount

ROUNDS = "rounds.jsonl"
REQUESTS = 4  # a round
ASKED_FOR = 4  # instructions a request
BARREN = 10  # rounds in a row that bring nothing: 40 requests, after which no more is to be hoped for
NEW_SHARE = 0.25  # of the examples are written ones: 2 of 8, as in the paper
INSTRUCTION_TOKENS = 192
SHORTEST, LONGEST = 3, 150  # words of an instruction
UNSEEN = re.compile(r"\b(images?|pictures?|photos?|graphs?|diagrams?|files?|maps?|draw|plot|video|audio|music)\b", re.I)
NUMBERED = re.compile(r"^\s*(?:\*\*)?(\d+)\s*[.):]\s*(.+)$")
UNNUMBERED, CUT_OFF = "no numbered line", "cut off in its first line"  # answers without an instruction
EXAMPLES = "Here are tasks that people gave to an assistant:\n\n{listed}"
REQUEST = (
    "{examples}\n\nCome up with {count} more tasks of other kinds, on other subjects. Write one task a line, with its "
    "number in front, starting at {first}. Write nothing else."
)
VERDICT = (
    "Instruction: {instruction}\n\nAnswer: {answer}\n\nIs this a correct and helpful answer to the instruction? "
    "Reply with Yes or No."
)


@dataclass(slots=True)
class Kept:
    """What there is so far."""

    tasks: list[dict[str, str]] = field(default_factory=list)  # instruction, answer
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)  # of what was dropped: reason, text
    rounds: int = 0

    def take(self, line: Mapping[str, Any]) -> None:
        """Add what a round came to."""
        self.tasks += line["kept"]
        self.dropped.update(item["reason"] for item in line["dropped"])
        self.examples += line["dropped"]
        self.rounds += 1


def self_instruct(
    recipe: SelfInstructRecipe,
    directory: Path,
    output: Path,
    author: Author,
    judge: LanguageModel | None,
    progress: ProgressReport,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Write conversations into the folder `output`, answer the report. `directory` keeps rounds over attempts.

    Raises `WorkbenchError` if there are no seed tasks, or nothing was kept.
    """
    seeds = seed_instructions(recipe.sources)
    progress.begin("writing", total=recipe.rows, unit="instructions")
    path = directory / ROUNDS
    found = Kept()
    durable.cut_torn_line(path)
    for kept in durable.whole_lines(path):
        found.take(json.loads(kept))
    progress.advance(len(found.tasks))
    barren = 0  # of this attempt: one that is resumed may have another server behind the address
    with open(path, "a", encoding="utf-8") as file:
        while len(found.tasks) < recipe.rows and found.rounds < recipe.max_rounds and barren < BARREN:
            before = len(found.tasks)
            line = _round(recipe, seeds, found, author, judge)
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            found.take(line)
            barren = 0 if line["kept"] else barren + 1
            progress.advance(min(len(found.tasks), recipe.rows) - before)
    who = "the server" if recipe.endpoint else "the model"
    with ConversationWriter(output, reviewed=True) as conversations, Rejects(output) as rejects:
        for number, task in enumerate(found.tasks[: recipe.rows], 1):
            turns = [
                {"role": "user", "content": task["instruction"]},
                {"role": "assistant", "content": task["answer"]},
            ]
            conversations.add(turns, None, f"self-instruct:{number}")
        for item in found.examples:
            unread = item["reason"] in (UNNUMBERED, CUT_OFF)
            rejects.add(f"{who} answered" if unread else "self-instruct", item["reason"], item["text"])
        if not conversations.rows:
            remedy = (
                f"Try another model, or a higher --temperature{'.' if barren == BARREN else ', or more --max-rounds.'}"
            )
            raise rejects.nothing_left("instruction", remedy)
    progress.end()
    if conversations.rows < recipe.rows:
        found_ones = amount(conversations.rows, "instructions", "were")
        last = f"; the last {BARREN} brought none" if barren == BARREN else ""
        warn(f"{found_ones} found, of {recipe.rows:,}, in {amount(found.rounds, 'rounds')}{last}.")
    return {
        "rows": conversations.rows,
        "turns": 2 * conversations.rows,
        "format": "self-instruct",
        "seeds": len(seeds),
        "rounds": found.rounds,
        "to_review": conversations.rows,
        "dropped": dict(found.dropped.most_common()),
    }


def seed_instructions(sources: Sequence[str]) -> list[str]:
    """The instructions of seed tasks: self-instruct's own rows, or conversations, by their first question.

    Raises `WorkbenchError` if there are fewer than two.
    """
    found: dict[str, None] = {}
    for file in find_rows(sources).files:
        rows = [row.value for row in read_rows(file, lambda _: None) if isinstance(row, Row)]
        form = detect(rows[:LOOKED_AT]) or "prompts"
        form = "prompts" if form == "self-instruct" else form  # whose tasks need no answers here
        for row in rows:
            try:
                found[_instruction(row, form)] = None
            except Unfit:
                continue
    if len(found) < 2:
        raise WorkbenchError(
            f"The sources hold {amount(len(found), 'seed tasks')}.",
            "Give at least two, better many.",
        )
    return list(found)


def _instruction(row: Any, form: str) -> str:
    text = next(turn["content"] for turn in read_chats(row, form)[0].messages if turn["role"] == "user")
    text = " ".join(text.split())
    if not SHORTEST <= len(words(text)) <= LONGEST:
        raise Unfit("no example")
    return text


def _round(
    recipe: SelfInstructRecipe, seeds: Sequence[str], found: Kept, author: Author, judge: LanguageModel | None
) -> dict[str, Any]:
    """One round: what was kept and what was dropped."""
    draw = random.Random(f"{recipe.seed}-{found.rounds}")
    written = [task["instruction"] for task in found.tasks]
    shown = [_examples(recipe, seeds, written, draw) for _ in range(REQUESTS)]
    sampling = Sampling(
        max_tokens=INSTRUCTION_TOKENS,
        temperature=recipe.temperature,
        top_k=0,
        seed=recipe.seed * 1_000_003 + found.rounds,
    )
    answers = author.write([_request(examples, author.chats) for examples in shown], sampling)
    known = [words(text) for text in (*seeds, *written)]
    dropped: list[dict[str, str]] = []
    new: list[str] = []
    for examples, answer in zip(shown, answers, strict=True):
        text = answer.text if author.chats else f"{len(examples) + 1}. {answer.text}"
        read = instructions_in(text, whole=answer.whole)
        if not read:
            excerpt = " ".join(answer.text.split())[:EXCERPT_CHARACTERS]
            dropped.append({"reason": UNNUMBERED if answer.whole else CUT_OFF, "text": excerpt})
        for instruction in read:
            if reason := unfit(instruction, known, recipe.max_similarity):
                dropped.append({"reason": reason, "text": instruction})
            else:
                new.append(instruction)
                known.append(words(instruction))
    kept = []
    for instruction, answer in zip(new, _answered(recipe, new, author, sampling), strict=True):
        text = answer.text.strip()
        reason = "" if text and answer.whole else "answer cut off" if text else "empty answer"
        if not reason and judge is not None and not _is_good(judge, instruction, text):
            reason = "judged bad"
        if reason:
            dropped.append({"reason": reason, "text": instruction})
        else:
            kept.append({"instruction": instruction, "answer": text})
    return {"kept": kept, "dropped": dropped}


def _examples(
    recipe: SelfInstructRecipe, seeds: Sequence[str], written: Sequence[str], draw: random.Random
) -> list[str]:
    new = min(len(written), round(recipe.examples * NEW_SHARE))
    chosen = draw.sample(list(seeds), min(len(seeds), recipe.examples - new)) + draw.sample(list(written), new)
    draw.shuffle(chosen)
    return chosen


def _request(examples: Sequence[str], chats: bool) -> list[Message]:
    listed = "\n".join(f"{number}. {text}" for number, text in enumerate(examples, 1))
    shown, first = EXAMPLES.format(listed=listed), len(examples) + 1
    if chats:
        shown = REQUEST.format(examples=shown, count=ASKED_FOR, first=first)
    else:
        shown += f"\n{first}."  # goes on from here
    return [{"role": "user", "content": shown}]


def _answered(
    recipe: SelfInstructRecipe, instructions: Sequence[str], author: Author, sampling: Sampling
) -> Sequence[Any]:
    if not instructions:
        return []
    form = "{}" if author.chats else "Task: {}\nAnswer:"
    prompts: list[list[Message]] = [[{"role": "user", "content": form.format(text)}] for text in instructions]
    stop = () if author.chats else ("\nTask:",)
    return author.write(
        prompts,
        Sampling(
            max_tokens=recipe.max_tokens,
            temperature=recipe.temperature / 2,
            top_k=0,
            seed=sampling.seed,
            stop=stop,
        ),
    )


def instructions_in(text: str, *, whole: bool) -> list[str]:
    """The numbered lines of an answer; of one that was cut off, without the last."""
    lines = text.splitlines()
    found = []
    for line in lines if whole else lines[:-1]:
        if match := NUMBERED.match(line):
            found.append(" ".join(match.group(2).replace("**", "").strip(" \"'").split()))
    return found


def unfit(instruction: str, known: Sequence[list[str]], max_similarity: float) -> str:
    """Why an instruction is dropped, "" if it is not (Wang et al. 2022, section 2.2)."""
    said = words(instruction)
    if len(said) < SHORTEST:
        return "too short"
    if len(said) > LONGEST:
        return "too long"
    if UNSEEN.search(instruction):
        return "not about text"
    if not instruction[0].isalnum():
        return "odd beginning"
    if most_similar(said, known, enough=max_similarity) >= max_similarity:
        return "similar to another"
    return ""


def _is_good(judge: LanguageModel, instruction: str, answer: str) -> bool:
    """Whether the judge would rather say yes."""
    asked = judge.render([{"role": "user", "content": VERDICT.format(instruction=instruction, answer=answer)}])
    space = "" if judge.chat_template is not None else " "
    yes, no = judge.score([(asked, f"{space}Yes"), (asked, f"{space}No")])
    return yes.log_likelihood > no.log_likelihood
