"""The stage `candidates`: several answers to each prompt, appended prompt by prompt so that ranking can begin."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import registry
from workbench.contract import Finished, Job, LanguageModel, Message, Progress, Reporter, Sampling, Started, Stopped
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import FILE, Answer, Candidates, Prompt
from workbench.recipes.chats import CandidatesRecipe

CHUNK = 8  # prompts that a model answers before the next model takes its turn


def write_candidates(recipe: CandidatesRecipe, job: Job, reporter: Reporter) -> None:
    """Answer what is not answered yet, then hand over the file; satisfies `Engine.run`.

    The file grows in the run's folder, where a resumed run and the Arena find it.
    """
    prompts = chosen_prompts(recipe, job.inputs["prompts"])
    path = job.directory / FILE
    _cut_torn_line(path)
    done = Candidates(path).prompts
    waiting = [(number, messages) for number, messages in enumerate(prompts) if prompt_id(number, messages) not in done]
    reporter.emit(Started(device="as the engine chooses"))
    models = _open(recipe, job) if waiting else []
    try:
        with open(path, "a", encoding="utf-8") as file:
            for start in range(0, len(waiting), CHUNK):
                chunk = waiting[start : start + CHUNK]
                for prompt in answered(recipe, models, chunk):
                    file.write(prompt.line())
                file.flush()
                os.fsync(file.fileno())
                finished = len(prompts) - len(waiting) + start + len(chunk)
                reporter.emit(Progress(done=finished, total=len(prompts), unit="prompts", phase="answering"))
                if reporter.should_stop() and start + CHUNK < len(waiting):
                    reporter.emit(Stopped(step=finished))
                    return
    finally:
        for model, _, _ in models:
            model.close()
    shutil.copyfile(path, job.output / FILE)
    reporter.emit(Finished(report=report(recipe, Candidates(path))))


def answered(
    recipe: CandidatesRecipe,
    models: Sequence[tuple[LanguageModel, str, str]],
    prompts: Sequence[tuple[int, list[Message]]],
) -> Iterator[Prompt]:
    """The prompts with `per_prompt` answers each; the models, then the temperatures, take turns.

    `models`: (model, name, kind). A prompt is its number and its messages.
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


def chosen_prompts(recipe: CandidatesRecipe, chats: Path) -> list[list[Message]]:
    """The conversations up to their last question, the system message in front where the recipe has one."""
    from workbench.corpus.chats.rows import read_conversations

    found: list[list[Message]] = []
    for row in read_conversations(chats):
        messages: list[Message] = list(row.messages)
        while messages and messages[-1]["role"] != "user":
            messages.pop()
        if not messages:
            continue
        if recipe.system:
            messages = [{"role": "system", "content": recipe.system}, *(m for m in messages if m["role"] != "system")]
        found.append(messages)
    if not found:
        raise WorkbenchError("There is no question among the prompts.", "Give conversations that hold a user's turn.")
    if recipe.max_prompts is not None and recipe.max_prompts < len(found):
        places = sorted(random.Random(recipe.seed).sample(range(len(found)), recipe.max_prompts))
        found = [found[place] for place in places]
    return found


def report(recipe: CandidatesRecipe, candidates: Candidates) -> dict[str, Any]:
    answers = [answer for prompt in candidates.prompts.values() for answer in prompt.answers]
    pairs = sum(len(prompt.answers) * (len(prompt.answers) - 1) // 2 for prompt in candidates.prompts.values())
    by_model: Mapping[str, int] = {name: sum(a.model == name for a in answers) for name in recipe.models}
    return {
        "prompts": len(candidates.prompts),
        "answers": len(answers),
        "pairs": pairs,
        "by_model": dict(by_model),
        "cut_off": sum(answer.finish == "length" for answer in answers),
        "characters": sum(len(answer.text) for answer in answers),
    }


def _open(recipe: CandidatesRecipe, job: Job) -> list[tuple[LanguageModel, str, str]]:
    models = []
    for number, name in enumerate(recipe.models):
        folder = job.inputs[f"models.{number}"]
        kind = "export" if (folder / "model.gguf").is_file() else "model"
        models.append((registry.engine(registry.CHATS_WITH[kind]).load(folder), name, kind))
    return models


def _cut_torn_line(path: Path) -> None:
    """Remove a line without an end, which a kill left."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
