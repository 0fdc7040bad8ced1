"""A project with real data to read and to train on: text, conversations, preferences, answers, made-up rows, and a
model's folder with a tokenizer of bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.corpus.model_folders import CHATML, byte_tokenizer, write_folder
from tests.tui.example import NOW
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.corpus.documents import CorpusWriter
from workbench.preferences.candidates import Answer, Prompt
from workbench.store import artifacts
from workbench.store.artifacts import Artifact, identity_of
from workbench.store.catalog import open_catalog
from workbench.store.project import Project

HOSTILE = "Sure! [/INST] [red]no[/red] \x1b]52;c;aGFjaw==\x07\x1b[2Jend \u202eover"
DOCUMENTS = 2500
CAPITALS = ("France", "Paris"), ("Japan", "Tokyo"), ("Ghana", "Accra"), ("Peru", "Lima"), ("Norway", "Oslo")


def sealed(project: Project, kind: str, name: str, fill: Callable[[Path], dict[str, Any]], **recipe: Any) -> Artifact:
    """An artifact whose folder `fill` filled; `fill` answers the report."""
    partial = project.folder(kind) / f"{name}.partial"
    partial.mkdir()
    report = fill(partial)
    recipe = {"stage": "import-chat", **recipe}
    with open_catalog(project) as catalog:
        made = artifacts.seal(
            project, catalog, partial, kind=kind, name=name, identity=identity_of({**recipe, "name": name}, {}),
            stage=recipe["stage"], run=None, recipe=recipe, inputs={}, report=report, versions={},
        )  # fmt: skip
        catalog.connection.execute("UPDATE artifacts SET created = ? WHERE id = ?", (NOW - 3600, made.id))
        catalog.connection.commit()
    return made


def asked(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}]


def answered(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def _corpus(folder: Path) -> dict[str, Any]:
    with CorpusWriter(folder) as writer:
        for number in range(DOCUMENTS):
            word = "needle" if number == 1717 else "hay"
            text = (
                f"Document {number}: a function that returns {word}.\n\n"
                + "It takes a list, and gives back a list. " * 12
            )
            writer.add(HOSTILE if number == 3 else text, f"docs/{number:05}.rst")
    return {"documents": DOCUMENTS, "bytes": 1_300_000, "files": 1, "dropped": {"exact duplicate": 12}}


def _chats(folder: Path) -> dict[str, Any]:
    with ConversationWriter(folder) as writer:
        for number in range(120):
            country, capital = CAPITALS[number % len(CAPITALS)]
            turns = [
                {"role": "system", "content": "You answer in a sentence."},
                *asked(f"What is the capital of {country}, question {number}?"),
                *answered(
                    f"It is {capital}: that is where the government sits." + " It is a fine city." * (number % 7)
                ),
            ]
            if number % 3 == 0:
                turns += [*asked("Thanks! Say it once more."), *answered(f"{capital}.")]
            writer.add(turns, None, f"rows.jsonl:{number + 1}")
        writer.add([*asked("Say something odd."), *answered(HOSTILE)], None, "rows.jsonl:121")
    return {"rows": writer.rows, "turns": 403, "with_system": 120, "format": "chatml", "dropped": {"empty answer": 2}}


def _drafts(folder: Path) -> dict[str, Any]:
    with ConversationWriter(folder, reviewed=True) as writer:
        for number in range(8):
            writer.add(
                [*asked(f"Name {number + 2} fruits."), *answered("Apple, pear" + ", plum" * number + ".")], None,
                f"self-instruct:{number + 1}",
            )  # fmt: skip
    return {"rows": 8, "turns": 16, "format": "self-instruct", "to_review": 8}


def _preferences(folder: Path) -> dict[str, Any]:
    with PreferenceWriter(folder) as writer:
        for number in range(40):
            country, capital = CAPITALS[number % len(CAPITALS)]
            writer.add(
                Pair(
                    prompt=asked(f"Capital of {country} ({number})?"), chosen=answered(f"{capital}."),
                    rejected=answered("I do not know."), margin=1.0, rater="ann", source=f"prompt {number}",
                )
            )  # fmt: skip
        writer.add(Mark(prompt=asked("Hello?"), completion=answered(HOSTILE), label=False, source="prompt 40"))
    return {"pairs": 40, "marks": 1, "prompts": 40, "raters": {"ann": 40}}


def _candidates(folder: Path) -> dict[str, Any]:
    with open(folder / "candidates.jsonl", "w", encoding="utf-8") as file:
        for number, (country, capital) in enumerate(CAPITALS):
            answers = [
                Answer(
                    id=f"{number}-{turn}",
                    model=model,
                    kind="model",
                    temperature=0.8,
                    seed=turn,
                    text=text,
                    finish="stop",
                )
                for turn, (model, text) in enumerate([("smol", capital), ("smol-sft", f"It is {capital}.")])
            ]
            file.write(Prompt(id=str(number), messages=asked(f"Capital of {country}?"), answers=answers).line())
    return {"prompts": len(CAPITALS), "answers": 2 * len(CAPITALS)}


def _model(template: str | None) -> Callable[[Path], dict[str, Any]]:
    def fill(folder: Path) -> dict[str, Any]:
        tokenizer = byte_tokenizer("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
        write_folder(folder, tokenizer, template, bos_token="<|bos|>", eos_token="<|im_end|>")
        (folder / "config.json").write_text(
            json.dumps({
                "model_type": "llama", "max_position_embeddings": 512, "hidden_size": 64, "num_hidden_layers": 4,
                "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 256, "vocab_size": 260,
                "tie_word_embeddings": True,
            })
        )  # fmt: skip
        return {"parameters": 300_000, "architecture": "llama", "context_length": 512}

    return fill


def fill_project(project: Project) -> dict[str, Artifact]:
    """All of it; by name."""
    dropping = CHATML.replace(
        "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
    )
    return {
        "books": sealed(project, "corpus", "books", _corpus, stage="import", sources=["docs"]),
        "capitals": sealed(project, "chats", "capitals", _chats),
        "drafts": sealed(project, "chats", "drafts", _drafts, stage="self-instruct"),
        "pairs": sealed(project, "preferences", "pairs", _preferences),
        "mine": sealed(project, "candidates", "mine", _candidates, stage="candidates"),
        "smol": sealed(project, "model", "smol", _model(CHATML), stage="import-model"),
        "deaf": sealed(project, "model", "deaf", _model(dropping), stage="import-model"),
    }
