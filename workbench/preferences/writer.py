"""The stage `candidates`: several answers to each prompt, appended prompt by prompt so that ranking can begin."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import durable, registry
from workbench.contract import Job, LanguageModel, Message, Progress, Reporter, Sampling
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import FILE, Answer, Candidates, Prompt
from workbench.recipes.chats import CandidatesRecipe

CHUNK = 8  # prompts that a model answers before the next model takes its turn


class Interrupted(Exception):
    """The run was asked to stop."""


def write_candidates(recipe: CandidatesRecipe, job: Job, reporter: Reporter) -> dict[str, Any] | None:
    """Answer what is not answered yet into `job.output`; the report, None if it was stopped.

    The file grows in the run's folder, where a resumed run and the Arena find it.
    """
    prompts = chosen_prompts(recipe, job.inputs)
    path = job.directory / FILE
    durable.cut_torn_line(path)
    done = Candidates(path).prompts
    waiting = [(number, messages) for number, messages in enumerate(prompts) if prompt_id(number, messages) not in done]
    models = _open(recipe, job) if waiting else []
    try:
        with open(path, "a", encoding="utf-8") as file:
            start, size = 0, 1  # the first prompts go alone, so that ranking can begin
            while start < len(waiting):
                chunk = waiting[start : start + size]
                file.write("".join(prompt.line() for prompt in answered(recipe, models, chunk, reporter)))
                file.flush()
                os.fsync(file.fileno())
                start += len(chunk)
                size = min(CHUNK, 2 * size)
                finished = len(prompts) - len(waiting) + start
                reporter.emit(Progress(done=finished, total=len(prompts), unit="prompts", phase="answering"))
    except Interrupted:
        return None
    finally:
        for model, _, _ in models:
            model.close()
    shutil.copyfile(path, job.output / FILE)
    return report(recipe, Candidates(path))


def answered(
    recipe: CandidatesRecipe,
    models: Sequence[tuple[LanguageModel, str, str]],
    prompts: Sequence[tuple[int, list[Message]]],
    reporter: Reporter,
) -> Iterator[Prompt]:
    """The prompts with `per_prompt` answers each; the models, then the temperatures, take turns.

    `models`: (model, name, kind). A prompt is its number and its messages. Raises `Interrupted`.
    """
    answers: dict[int, list[Answer]] = {number: [] for number, _ in prompts}
    for turn in range(recipe.per_prompt):
        model, name, kind = models[turn % len(models)]
        temperature = recipe.temperatures[turn // len(models) % len(recipe.temperatures)]
        seed = recipe.seed * 1_000_003 + prompts[0][0] * 64 + turn
        sampling = Sampling(
            max_tokens=recipe.max_tokens, temperature=temperature, top_p=recipe.top_p, top_k=0, seed=seed
        )
        rendered = [model.render(messages) for _, messages in prompts]
        texts, finishes = ["" for _ in prompts], ["stop" for _ in prompts]
        for token in model.generate(rendered, sampling):
            if reporter.should_stop():
                raise Interrupted
            texts[token.prompt] += token.text
            finishes[token.prompt] = token.finish or finishes[token.prompt]
        for (number, messages), text, finish in zip(prompts, texts, finishes, strict=True):
            answers[number].append(
                Answer(
                    id=f"{prompt_id(number, messages)}-{turn + 1}",
                    model=name,
                    kind=kind,
                    temperature=temperature,
                    seed=seed,
                    text=text.strip(),
                    finish=finish,
                )
            )
    for number, messages in prompts:
        yield Prompt(id=prompt_id(number, messages), messages=messages, answers=answers[number])


def prompt_id(number: int, messages: Sequence[Message]) -> str:
    """Short, unique within a set, and other for other words."""
    words = "\0".join(f"{message['role']}\0{message['content']}" for message in messages)
    return f"{number + 1}-{hashlib.sha256(words.encode()).hexdigest()[:6]}"


def chosen_prompts(recipe: CandidatesRecipe, inputs: Mapping[str, Path]) -> list[list[Message]]:
    """Conversations up to their last question, what was typed, and beginnings of documents; each once.

    Raises `WorkbenchError` if there are none.
    """
    found: list[list[Message]] = [[{"role": "user", "content": text}] for text in recipe.typed if text.strip()]
    if "prompts" in inputs:
        found += questions(inputs["prompts"])
    if "corpus" in inputs:
        assert recipe.max_prompts is not None
        found += beginnings(inputs["corpus"], recipe.max_prompts, recipe.beginning, recipe.seed)
    found = list({json.dumps(messages, sort_keys=True): messages for messages in found}.values())
    if not found:
        raise WorkbenchError("There is no question among the prompts.", "Give conversations that hold a user's turn.")
    if recipe.max_prompts is not None and recipe.max_prompts < len(found):
        places = sorted(random.Random(recipe.seed).sample(range(len(found)), recipe.max_prompts))
        found = [found[place] for place in places]
    if recipe.system:
        system: Message = {"role": "system", "content": recipe.system}
        return [[system, *(m for m in messages if m["role"] != "system")] for messages in found]
    return found


def questions(chats: Path) -> list[list[Message]]:
    """The conversations in a folder of kind chats, up to their last question."""
    from workbench.corpus.chats.conversations import read_conversations

    found: list[list[Message]] = []
    for row in read_conversations(chats):
        messages: list[Message] = [dict(message) for message in row.messages]
        while messages and messages[-1]["role"] != "user":
            messages.pop()
        if messages:
            found.append(messages)
    return found


def beginnings(corpus: Path, number: int, characters: int, seed: int) -> list[list[Message]]:
    """The beginnings of `number` documents, drawn evenly, cut after a word."""
    from workbench.corpus import documents

    total = documents.count_documents(corpus)
    places = set(random.Random(seed).sample(range(total), min(number, total)))
    found: list[list[Message]] = []
    place = 0
    for batch in documents.iterate_documents(corpus):
        for text in batch.column("text"):
            if place in places and (head := text.as_py()[: characters + 1].strip()):
                cut = head.rfind(" ") if len(head) > characters else len(head)
                found.append([{"role": "user", "content": head[: cut if cut > 0 else characters]}])
            place += 1
    return found


def report(recipe: CandidatesRecipe, candidates: Candidates) -> dict[str, Any]:
    answers = [answer for prompt in candidates.prompts.values() for answer in prompt.answers]
    pairs = sum(len(prompt.answers) * (len(prompt.answers) - 1) // 2 for prompt in candidates.prompts.values())
    return {
        "prompts": len(candidates.prompts),
        "answers": len(answers),
        "pairs": pairs,
        "by_model": dict(Counter(answer.model for answer in answers)),
        "cut_off": sum(answer.finish == "length" for answer in answers),
        "characters": sum(len(answer.text) for answer in answers),
    }


def _open(recipe: CandidatesRecipe, job: Job) -> list[tuple[LanguageModel, str, str]]:
    models = []
    for number, name in enumerate(recipe.models):
        folder = job.inputs[f"models.{number}"]
        kind = "model" if registry.openers(folder) == registry.WHOLE else "export"
        models.append((registry.engine(registry.opener_of_several(folder, recipe.engine)).load(folder), name, kind))
    return models
