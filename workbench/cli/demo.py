"""`workbench demo`: the whole road on text that every machine has."""

from __future__ import annotations

import sys
from importlib.resources import as_file, files
from pathlib import Path

import click

from workbench import registry
from workbench.cli.follow import follow
from workbench.cli.output import answer, common, note
from workbench.errors import WorkbenchError
from workbench.recipes.load import read_recipes
from workbench.runs.plan import plan
from workbench.runs.submit import submit
from workbench.store import artifacts
from workbench.store.catalog import open_catalog
from workbench.store.project import SETTINGS, create, open_project
from workbench.store.recent import remember

ON = {"mlx": ("pretrain.engine=mlx", "export.quantization=mlx-8bit", "export.name=python-nano-mlx")}
"""Engine -> what differs from the pipeline in the package."""
PROMPT = "Return the number of"
ANSWER_TOKENS = 64


@click.command(
    "demo", epilog="\b\nExamples:\n  workbench demo\n  workbench demo ~/demo --headless\n  workbench demo --engine mlx"
)
@click.argument("path", type=click.Path(path_type=Path), default=Path("demo-project"))
@click.option("--headless", is_flag=True, help="Progress lines instead of the terminal UI, also on a terminal.")
@click.option(
    "--engine", type=click.Choice(["pytorch", "mlx"]), default="pytorch", show_default=True,
    help="What trains. On mlx the export is in MLX's format too, and llama.cpp is not needed.",
)  # fmt: skip
@common
def demo(as_json: bool, path: Path, headless: bool, engine: str) -> None:
    """Build a small language model from Python's own documentation, quantise it, and chat with it.

    On a terminal the UI opens while the pipeline runs; q leaves it, and the pipeline goes on.
    """
    from workbench.tui.terminal import detect

    if engine == "mlx":
        _require_mlx()
    project = open_project(path) if (path / SETTINGS).exists() else create(path)
    remember(project)
    interactive = detect().full_screen and not headless and not as_json
    with open_catalog(project) as catalog, as_file(files("workbench") / "demo.yaml") as pipeline:
        steps = plan(project, catalog, read_recipes(pipeline, ON.get(engine, ())))
        started = submit(project, catalog, steps)
        waiting = [run for run in started if run]
        if interactive:
            from workbench.tui.app import run

            run(project)
            return
        for step in steps:
            if step.action == "made":
                note(f"{step.recipe.stage}: skipped, {step.kind}/{step.name} is made already")
        new = [run for step, run in zip(steps, started, strict=True) if run and step.action == "new"]
        states = follow(project, catalog, waiting, stop_on_interrupt=True, new=new)
        for state in states:
            if state.state != "finished":
                raise WorkbenchError(f"The demo stopped: {state.reason}", state.remedy)
        made = artifacts.by_identity(project, catalog, steps[-1].kind, steps[-1].identity)
        assert made is not None
        _chat(artifacts.folder_of(project, made), as_json)


def _require_mlx() -> None:
    """Raises `WorkbenchError` with the line that installs MLX if it is not here."""
    registry.require_opener("mlx")
    if registry.engine("mlx").capabilities().devices == ("cpu",):
        note(
            "MLX is made for Macs. On a CPU it is some five times as slow as PyTorch: the demo takes about 20 minutes."
        )


def _chat(model: Path, as_json: bool) -> None:
    from workbench.chat.process import quiet_threads
    from workbench.chat.session import answer as answers
    from workbench.contract import Sampling

    quiet_threads()
    loaded = registry.engine(registry.opener(model)).load(model)
    pieces = answers(loaded, PROMPT, Sampling(max_tokens=ANSWER_TOKENS, temperature=0.6, min_p=0.05, seed=1))
    if as_json:
        answer({"model": model.name, "prompt": PROMPT, "answer": "".join(pieces)})
    else:
        click.echo(f"\nprompt> {PROMPT}\nanswer> {PROMPT}", nl=False)
        for piece in pieces:
            click.echo(piece, nl=False)
            sys.stdout.flush()
        click.echo()
        note(f"\nGo on chatting: workbench --project {model.parent.parent} chat {model.name}")
    loaded.close()


COMMANDS = {"demo": demo}
