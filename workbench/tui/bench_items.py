"""One task's items as two models answered them, in the form in which they are read. No Textual here; reading belongs
on a thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from workbench import figures
from workbench.benchmarks.compare import flips, paired
from workbench.benchmarks.results import Item
from workbench.tui import safe
from workbench.tui.bench import Gathered
from workbench.tui.records import Part

BAR = 16  # columns
NAME = 24  # columns at most
TITLE = 160  # characters
INSTRUCTION = 32  # characters that all questions of a task begin with, from which on they are an instruction
MARKS = {1.0: ("✓", "good"), 0.0: ("✗", "bad")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An item of the chosen model, and what the baseline made of it, if that was asked."""

    place: int  # in the list of all
    item: Item
    before: Item | None
    metric: str  # that stands for its task
    flipped: bool
    title: str  # its question on one line, without what the questions of all items of its task begin with

    def value(self, item: Item | None) -> float | None:
        return item.metrics.get(self.metric) if item is not None else None


VIEWS: dict[str, tuple[str, Callable[[Asked], bool]]] = {
    "flipped": ("that flipped", lambda one: one.flipped),
    "all": ("in all", lambda one: True),
    "right": ("right", lambda one: one.value(one.item) == 1.0),
    "wrong": ("wrong", lambda one: one.value(one.item) == 0.0),
}
"""What can be looked at; right and wrong are the chosen model's."""


def read_items(baseline: Gathered | None, chosen: Gathered, task: str) -> list[Asked]:
    """The items of a task, or of a group's tasks, in their order.

    Raises `WorkbenchError` if they cannot be read.
    """
    chosen = chosen.only(task)
    before: dict[int, Item] = {}
    flipped: set[int] = set()
    if baseline is not None:
        baseline = baseline.only(task)
        for name in chosen.results.tasks:
            for first, second in paired(baseline.items.get(name, ()), chosen.items[name]):
                before[id(second)] = first
        if set(chosen.results.tasks) & set(baseline.results.tasks):
            flipped = {id(flip.other) for flip in flips(baseline, chosen, task)}
    found: list[Asked] = []
    for name, figures_of_task in chosen.results.tasks.items():
        for item, title in zip(chosen.items[name], titles(chosen.items[name]), strict=True):
            found.append(
                Asked(
                    place=len(found), item=item, before=before.get(id(item)), metric=figures_of_task.main,
                    flipped=id(item) in flipped, title=title,
                )
            )  # fmt: skip
    return found


def titles(items: Sequence[Item]) -> list[str]:
    """The lines of a task's items, without the words with which all begin, where these are many."""
    lines = [_line(item) for item in items]
    first, last = min(lines, default=""), max(lines, default="")  # what these two share, all share
    alike = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), 0)
    shared = first[:alike].rfind(" ")
    if shared < INSTRUCTION:
        return [line[:TITLE] for line in lines]
    return [f"…{line[shared:]}"[:TITLE] for line in lines]


def _line(item: Item) -> str:
    """Its question on one line; of older benchmarks the end of the prompt, behind the worked examples."""
    if question := item.more.get("question"):
        return " ".join(str(question)[: 2 * TITLE].split())
    lines = [line for line in item.prompt.strip().splitlines() if line.strip()]
    text = lines[-1] if lines else " | ".join(item.choices)
    if len(lines) > 1 and len(text) < 12:  # "Answer:"
        text = lines[-2]
    return " ".join(text[: 2 * TITLE].split())


def mark(value: float | None) -> tuple[str, str]:
    """(text, style name): right, wrong, or the value of a metric that knows neither."""
    if value is None:
        return "–", "muted"
    return MARKS.get(value) or (figures.reading(value), "text")


def probabilities(item: Item) -> list[float]:
    """The softmax over the log-likelihoods of its choices."""
    highest = max(item.log_likelihoods)
    weights = [math.exp(value - highest) for value in item.log_likelihoods]
    return [weight / sum(weights) for weight in weights]


def taken(item: Item, metric: str) -> int:
    """Place of the choice that the model takes: the likeliest; of normalised metrics, the likeliest per character, as
    lm-eval has it."""
    weights = [len(choice) or 1 if metric.startswith("acc_norm") else 1 for choice in item.choices]
    scores = [value / weight for value, weight in zip(item.log_likelihoods, weights, strict=True)]
    return scores.index(max(scores))


def parts_of(asked: Asked, names: Sequence[str]) -> list[Part]:
    """What there is to read of an item. `names` are those of the baseline, if there is one, and of the chosen model."""
    item, before = asked.item, asked.before
    answered = [(name, one) for name, one in zip(names, [before, item][-len(names) :], strict=True) if one is not None]
    parts = [Part("prompt", item.prompt or "(none: the choices are scored by themselves)")]
    if before is not None and before.prompt != item.prompt:
        parts[:0] = [Part(f"prompt, as {names[0]} saw it", before.prompt)]
        parts[1] = Part(f"prompt, as {names[-1]} saw it", item.prompt)
    if item.choices:
        parts += _choices(asked, answered)
    else:
        if item.target:
            parts.append(Part("wanted", item.target.strip()))
        parts += [part for name, one in answered for part in _answer(asked, name, one)]
    if any(one.truncated for _, one in answered):
        parts.append(Part("cut off", "The beginning of the prompt did not fit into the context.", "warn"))
    measured = [
        f"{_padded(name, answered)}  "
        + "   ".join(f"{metric} {figures.value(value)}" for metric, value in one.metrics.items())
        for name, one in answered
    ]
    return [*parts, Part("metrics", "\n".join(measured), "muted")]


def _choices(asked: Asked, answered: Sequence[tuple[str, Item]]) -> list[Part]:
    parts = []
    shares = [probabilities(one) for _, one in answered]
    for place, choice in enumerate(asked.item.choices):
        by = [name for name, one in answered if taken(one, asked.metric) == place]
        right = place == asked.item.right
        label = f"{place + 1}" + ("  ✓ right" if right else "") + (f"  taken by {' and '.join(by)}" if by else "")
        lines = [choice.strip() or "(nothing)"]
        for (name, one), share in zip(answered, shares, strict=True):
            lines.append(
                f"{_padded(name, answered)}  {bar(share[place])} {share[place]:6.1%}  "
                f"{one.log_likelihoods[place]:8.2f} nats"
            )
        style = "good" if right else "bad" if by else "text"
        parts.append(Part(label, "\n".join(lines), style))
    if asked.metric.startswith("acc_norm"):
        sentence = f"{asked.metric} takes the choice with the highest log-likelihood per character, not the likeliest."
        parts.append(Part("taken", sentence, "muted"))
    return parts


def _answer(asked: Asked, name: str, item: Item) -> list[Part]:
    """What a model wrote, or how likely the text was."""
    text, style = mark(asked.value(item))
    said = {"✓": "right", "✗": "wrong"}.get(text, f"{asked.metric} {text}")
    if item.log_likelihoods and not item.answer:
        sure = ", and it would have written just that" if item.more.get("greedy") else ""
        return [Part(f"{name}, {said}", f"{item.log_likelihoods[0]:,.3f} nats{sure}", style)]
    length = f", {item.tokens:,} tokens" if item.tokens is not None else ""
    outcomes = item.more.get("outcomes") or ([item.more["outcome"]] if "outcome" in item.more else [])
    answers = item.more.get("answers") or [item.answer]
    parts = []
    for number, answer in enumerate(answers):
        label = f"{name}, {said}" if len(answers) == 1 else f"{name}, program {number + 1}"
        ran = f", {outcomes[number]}" if number < len(outcomes) else ""
        passed = ran == ", passed"
        look = style if len(answers) == 1 else "good" if passed else "bad"
        parts.append(Part(f"{label}{ran}{length if len(answers) == 1 else ''}", answer or "(nothing)", look))
    if message := item.more.get("message"):
        parts.append(Part(f"{name}, what the program said", str(message), "muted"))
    return parts


def bar(share: float) -> str:
    filled = round(share * BAR)
    return "█" * filled + "·" * (BAR - filled)


def _padded(name: str, answered: Sequence[tuple[str, Item]]) -> str:
    """A name as wide as the widest, so that what follows lines up."""
    wide = min(NAME, max(cell_len(safe.line(other)) for other, _ in answered))
    text = safe.line(name)
    while cell_len(text) > wide:
        text = text[:-1]
    return text + " " * (wide - cell_len(text))
