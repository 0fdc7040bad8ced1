"""Judging by a stated rule, or with a model: what stands in for a person where nobody ranks."""

from __future__ import annotations

import itertools
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench import registry
from workbench.contract import LanguageModel, Message
from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.corpus.progress import ProgressReport
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import FILE, Answer, Candidates, Prompt
from workbench.preferences.collect import answer, messages, source
from workbench.recipes.chats import JudgeRecipe

STEADY = 0.5  # share of the verdicts that hold in both orders, below which a judge is warned of


def judge(
    recipe: JudgeRecipe,
    candidates: Path,
    model: Path | None,
    output: Path,
    progress: ProgressReport,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Judge all pairs of the candidates in a folder into preferences in the folder `output`; the report.

    Raises `WorkbenchError` if not one pair has a better answer.
    """
    prompts = list(Candidates(candidates / FILE).prompts.values())
    progress.begin("judging", total=len(prompts), unit="prompts")
    if recipe.rule == "model":
        assert model is not None
        opened = registry.engine(registry.opener(model, recipe.engine)).load(model)
        verdicts: Verdicts = ModelVerdicts(opened, recipe.question)
    else:
        verdicts = RuleVerdicts(rule(recipe))
    rater = recipe.model if recipe.rule == "model" else f"rule {recipe.rule}"
    seen: set[str] = set()
    try:
        with PreferenceWriter(output) as writer:
            for prompt in prompts:
                _judge_prompt(prompt, verdicts, writer, rater or "", seen)
                progress.advance(1)
    finally:
        verdicts.close()
    progress.end()
    report = verdicts.report()
    if (alike := report.get("same_in_both_orders")) is not None and alike < STEADY:
        warn(f"The judge said the same in both orders of only {alike:.0%} of the pairs: its verdicts are weak.")
    if not writer.pairs:
        raise WorkbenchError(
            f"By the rule {recipe.rule} no answer is better than another.",
            "Choose another rule, or have other answers written.",
        )
    return {"pairs": writer.pairs, "marks": writer.marks, "prompts": len(seen), **report}


def _judge_prompt(prompt: Prompt, verdicts: Verdicts, writer: PreferenceWriter, rater: str, seen: set[str]) -> None:
    """Its pairs; and the answers that always won marked good, those that always lost marked bad."""
    now = time.time()
    won: dict[str, list[bool]] = {}
    for first, second in itertools.combinations(prompt.answers, 2):
        if first.text.strip() == second.text.strip():
            continue
        better = verdicts.better(prompt, first, second)
        if better is None:
            continue
        chosen, rejected = (first, second) if better else (second, first)
        won.setdefault(chosen.id, []).append(True)
        won.setdefault(rejected.id, []).append(False)
        writer.add(
            Pair(
                prompt=messages(prompt),
                chosen=[answer(chosen.text)],
                rejected=[answer(rejected.text)],
                rater=rater,
                time=now,
                source=source(prompt),
            )
        )
        seen.add(prompt.id)
    for item in prompt.answers:
        outcomes = set(won.get(item.id, ()))
        if len(outcomes) == 1:
            mark = Mark(
                prompt=messages(prompt), completion=[answer(item.text)], label=outcomes.pop(), rater=rater, time=now,
                source=source(prompt),
            )  # fmt: skip
            writer.add(mark)


class Verdicts(ABC):
    """Says of two answers which is better, and counts."""

    def __init__(self) -> None:
        self.ties = 0

    @abstractmethod
    def better(self, prompt: Prompt, first: Answer, second: Answer) -> bool | None:
        """True: the first, False: the second, None: neither."""

    def report(self) -> dict[str, Any]:
        return {"ties": self.ties}

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Free what it holds."""


class RuleVerdicts(Verdicts):
    """The answer with the higher value is better."""

    def __init__(self, value: Callable[[str], float]):
        super().__init__()
        self.value = value

    def better(self, prompt: Prompt, first: Answer, second: Answer) -> bool | None:
        a, b = self.value(first.text), self.value(second.text)
        self.ties += a == b
        return None if a == b else a > b


class ModelVerdicts(Verdicts):
    """What a model holds likelier, "A" or "B": the log odds of the two orders are averaged, which takes its liking for
    a place out (as Zhao et al. 2021 do with a prompt without content)."""

    def __init__(self, model: LanguageModel, question: str):
        super().__init__()
        self.model, self.question = model, question
        self.first_shown_won: list[bool] = []
        self.alike = 0  # verdicts that did not turn with the order

    def better(self, prompt: Prompt, first: Answer, second: Answer) -> bool | None:
        there = self._prefers_first(prompt, first.text, second.text)
        back = self._prefers_first(prompt, second.text, first.text)
        self.first_shown_won += [there > 0, back > 0]
        self.alike += (there > 0) != (back > 0)
        self.ties += there == back
        return None if there == back else there > back

    def _prefers_first(self, prompt: Prompt, first: str, second: str) -> float:
        """Log odds of "A" against "B"."""
        return prefers(self.model, instruction(self.question, prompt, first, second))

    def report(self) -> dict[str, Any]:
        asked = len(self.first_shown_won)
        return {
            "same_in_both_orders": round(2 * self.alike / asked, 4) if asked else None,
            "first_shown_won": round(sum(self.first_shown_won) / asked, 4) if asked else None,
            **super().report(),
        }

    def close(self) -> None:
        self.model.close()


def prefers(model: LanguageModel, asked: str) -> float:
    """Log odds of the reply "A" against "B" to what is asked, in nats."""
    messages: list[Message] = [{"role": "user", "content": asked}]
    context = model.render(messages)
    space = "" if model.chat_template else " "
    a, b = model.score([(context, f"{space}A"), (context, f"{space}B")])
    return a.log_likelihood - b.log_likelihood


def instruction(question: str, prompt: Prompt, first: str, second: str) -> str:
    """What a judging model is asked."""
    talk = "\n".join(f"{message['role']}: {message['content']}" for message in prompt.messages)
    return (
        f"{question}\n\n[Conversation]\n{talk}\n\n[Answer A]\n{first}\n\n[Answer B]\n{second}\n\n"
        "Say A or B and nothing else.\nThe better answer is:"
    )


def rule(recipe: JudgeRecipe) -> Callable[[str], float]:
    """What the better answer has more of."""
    match recipe.rule:
        case "longest":
            return len
        case "shortest":
            return lambda text: -len(text)
        case "regex":
            pattern = re.compile(recipe.pattern)
            return lambda text: float(pattern.search(text) is not None)
    letter = recipe.letter.lower()

    def share(text: str) -> float:
        letters = [character for character in text.lower() if character.isalpha()]
        return letters.count(letter) / len(letters) if letters else 0.0

    return share
