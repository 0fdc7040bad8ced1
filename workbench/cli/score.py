"""`workbench score`: what a reward model thinks of an answer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from workbench import registry
from workbench.chat.process import quiet_threads
from workbench.cli.output import answer, common, complete_artifact, open_current
from workbench.errors import WorkbenchError
from workbench.store import artifacts


@click.command(
    "score",
    epilog="\b\nExamples:\n  workbench score judge --prompt 'What is a cat?' --answer 'A small animal that purrs.'\n"
    "  workbench score judge --prompt 'What is a cat?' --answer 'An animal.' --answer 'No idea.' --json",
)
@click.argument("model", shell_complete=complete_artifact("reward"))
@click.option("--prompt", required=True, help="What was asked.")
@click.option("--answer", "answers", required=True, multiple=True, help="What was answered; - reads it. Repeat it.")
@click.option("--system", default="", help="What the model was told before.")
@click.option(
    "--engine", "asked", metavar="NAME", help="What opens the model: pytorch or mlx. Derived: the first that is here."
)
@common
def score(as_json: bool, model: str, prompt: str, answers: tuple[str, ...], system: str, asked: str | None) -> None:
    """Score answers with the reward MODEL: higher is better, and only differences mean something."""
    texts = [sys.stdin.read() if text == "-" else text for text in answers]
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    folder = locate(model)
    quiet_threads()
    judge = registry.reward_opener(folder, asked).open_reward(folder)
    try:
        scores = judge.score([(messages, text) for text in texts])
    finally:
        judge.close()
    if as_json:
        pairs = [{"answer": text, "score": number} for text, number in zip(texts, scores, strict=True)]
        answer({"model": model, "prompt": prompt, "score": scores[0], "answers": pairs})
    else:
        for number in scores:
            click.echo(f"{number:.4f}")


def locate(model: str) -> Path:
    """The folder of what a person calls `model`: a reward model of the project, or a folder.

    Raises `WorkbenchError` if there is none.
    """
    path = Path(model).expanduser()
    if (path / "config.json").is_file() or (path / "adapter_config.json").is_file():
        return path
    project, catalog = open_current()
    try:
        return artifacts.folder_of(project, artifacts.resolve(project, catalog, "reward", model))
    except WorkbenchError as error:
        raise WorkbenchError(error.what, error.remedy or "Train one: workbench reward") from None


COMMANDS = {"score": score}
