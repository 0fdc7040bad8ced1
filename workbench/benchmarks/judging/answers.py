"""What the models answer, turn by turn, kept question by question so that nothing is written twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from workbench import registry
from workbench.benchmarks.judging.ledger import Ledger
from workbench.benchmarks.judging.questions import Question
from workbench.contract import LanguageModel, Message, Sampling
from workbench.corpus.progress import ProgressReport
from workbench.preferences.authors import ModelAuthor, Written
from workbench.preferences.candidates import FILE, Candidates
from workbench.store.artifacts import read_manifest

ANSWERS = "answers.jsonl"
CHUNK = 8  # questions that are answered together
LEAST_ROOM = 4  # tokens that an answer needs; BOS is one more
NO_ROOM = "no room"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model said to one question, a text for each turn.

    `finishes`: "stop", "length" where it was cut off, "no room" where the question filled the context.
    """

    question: str
    model: str
    sample: int  # from 0; above it where candidates hold several answers of a model
    texts: tuple[str, ...]
    finishes: tuple[str, ...]


def ledger(folder: Path) -> Ledger:
    return Ledger(folder / ANSWERS, lambda row: (row["question"], row["model"], row["sample"]))


def answers_in(kept: Ledger) -> list[Answers]:
    return [_answers(row) for row in kept.rows.values()]


def read_answers(folder: Path) -> list[Answers]:
    """Those of an artifact of kind verdicts."""
    return answers_in(ledger(folder))


def open_model(folder: Path, engine: str | None) -> LanguageModel:
    """The model or export in an artifact's folder, in `engine` if that opens it, else in its own."""
    return registry.engine(registry.opener_of_several(folder, engine)).load(folder)


def written_before(candidates: Path, models: Mapping[str, Path]) -> list[Answers]:
    """The answers that candidates hold of `models` (name -> folder of the artifact): it counts which model that is, not
    what it was called."""
    if not (candidates / FILE).is_file():
        return []
    named = {read_manifest(folder).identity: name for name, folder in models.items()}
    manifest = read_manifest(candidates)
    known = {
        name: named.get(manifest.inputs.get(f"models.{place}", {}).get("identity", ""))
        for place, name in enumerate(manifest.recipe.get("models", ()))
    }
    found = []
    for prompt in Candidates(candidates / FILE).prompts.values():
        count: dict[str, int] = {}
        for answer in prompt.answers:
            name = known.get(answer.model)
            if name is None:
                continue
            count[name] = count.get(name, 0) + 1
            found.append(
                Answers(
                    question=prompt.id,
                    model=name,
                    sample=count[name] - 1,
                    texts=(answer.text,),
                    finishes=(answer.finish,),
                )
            )
    return found


def write_answers(
    model: LanguageModel,
    name: str,
    questions: Sequence[Question],
    done: Collection[str],
    kept: Ledger,
    sampling: Sampling,
    progress: ProgressReport,
) -> None:
    """Answer those `questions` into `kept` whose ids are not among the `done`.

    Raises `Interrupted` once a stop was asked for; whole chunks are kept.
    """
    author = ModelAuthor(model, progress.check)
    for start in range(0, len(questions), CHUNK):
        chunk = [question for question in questions[start : start + CHUNK] if question.id not in done]
        if not chunk:
            continue
        texts: list[list[str]] = [[] for _ in chunk]
        finishes: list[list[str]] = [[] for _ in chunk]
        for turn in range(max(question.turns for question in chunk)):
            places = [place for place, question in enumerate(chunk) if turn < question.turns]
            seed = ((sampling.seed or 0) * 1_000_003 + start) * 64 + turn  # draws of its own for each question and turn
            talks = [chunk[place].talk(texts[place]) for place in places]
            said = _answer(model, author, talks, replace(sampling, seed=seed))
            for place, (text, finish) in zip(places, said, strict=True):
                texts[place].append(text)
                finishes[place].append(finish)
        kept.add(
            asdict(Answers(question=question.id, model=name, sample=0, texts=tuple(text), finishes=tuple(finish)))
            for question, text, finish in zip(chunk, texts, finishes, strict=True)
        )
        progress.advance(len(chunk))


def has_room(model: LanguageModel, messages: Sequence[Message], tokens: int = LEAST_ROOM) -> bool:
    """Whether so many tokens fit behind a conversation."""
    asked = len(model.tokenize(model.render(messages), special=True)) + 1  # BOS
    return asked + tokens <= model.context_length


def _answer(
    model: LanguageModel, author: ModelAuthor, talks: Sequence[Sequence[Message]], sampling: Sampling
) -> list[tuple[str, str]]:
    """(text, how it ended) of each."""
    fit = [place for place, talk in enumerate(talks) if has_room(model, talk)]
    written = dict(zip(fit, author.write([talks[place] for place in fit], sampling) if fit else (), strict=True))
    return [_said(written[place]) if place in written else ("", NO_ROOM) for place in range(len(talks))]


def _said(written: Written) -> tuple[str, str]:
    return written.text.strip(), "stop" if written.whole else "length"


def _answers(row: Mapping[str, Any]) -> Answers:
    return Answers(**{**row, "texts": tuple(row["texts"]), "finishes": tuple(row["finishes"])})
