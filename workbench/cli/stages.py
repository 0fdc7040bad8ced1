"""The verbs that make something: one a recipe, with flags from the recipe's fields, and `run` for files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from workbench.cli.errors import WrongUsage
from workbench.cli.follow import follow
from workbench.cli.output import answer, common, complete_artifact, note, open_current
from workbench.corpus.addresses import not_fetched
from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe, validate
from workbench.recipes.fields import RecipeField, nested, recipe_fields
from workbench.recipes.load import POSITIONAL, STAGES, read_recipes
from workbench.runs.again import read_again
from workbench.runs.plan import Step, checkpoints_differ, plan
from workbench.runs.submit import submit
from workbench.store import artifacts, runs
from workbench.store.catalog import Catalog
from workbench.store.project import Project
from workbench.wording import amount

AGAIN = "again"  # the field of a recipe that the flag --again counts up
EXAMPLES = {
    "import": [
        "workbench import ~/texts --name books",
        "workbench import notes.md 'logs/*.jsonl' --text-field body --name notes",
    ],
    "tokenizer": [
        "workbench tokenizer --corpus books --vocab-size 4096 --name bpe-4k",
        "workbench tokenizer --corpus web=0.7 --corpus code=0.3 --kind bpe --vocab-size 32000 --name t",
        "workbench tokenizer report t",
    ],
    "import-tokenizer": ["workbench import-tokenizer ~/models/Qwen3-0.6B --name qwen"],
    "extend-tokenizer": ["workbench extend-tokenizer bpe-4k --tokens '<|tool|>' --special --name bpe-4k-tools"],
    "shards": ["workbench shards --corpus books --tokenizer bpe-4k"],
    "pretrain": [
        "workbench pretrain --corpus books --tokenizer bpe-4k --size tiny --max-steps 200 --name base",
        "workbench pretrain --corpus web=0.7 --corpus code=0.3 --phase '0.9: good=0.8, web=0.2' --tokenizer bpe-32k",
        "workbench pretrain --corpus books --tokenizer bpe-4k --launch torchrun --processes 2 --detach",
    ],
    "import-chat": [
        "workbench import-chat rows.jsonl --name chats",
        "workbench import-chat 'data/*.parquet' --format sharegpt --name chats",
    ],
    "template-chat": [
        "workbench template-chat reviews.csv --task classification --text-field review --answer-field sentiment",
        "workbench template-chat quiz.jsonl --task qa --choices-field choices --name quiz",
    ],
    "self-instruct": [
        "workbench self-instruct seeds.jsonl --model smol --rows 200 --name drafts",
        "workbench self-instruct seeds.jsonl --endpoint http://localhost:8080/v1 --judge smol --name drafts",
    ],
    "import-preferences": [
        "workbench import-preferences pairs.jsonl --name pairs",
        "workbench import-preferences hf:Anthropic/hh-rlhf --name hh",
    ],
    "grpo": [
        "workbench grpo --base smol-sft --reward judge --prompts prompts.jsonl --name smol-grpo",
        "workbench grpo --base smol-sft --reward-pattern '^[0-9]+$' --prompts sums.txt --num-generations 8",
        "workbench grpo --base smol-sft --reward-function rewards.py:polite --prompts prompts.jsonl --lora-rank 16",
    ],
    "ppo": [
        "workbench ppo --base smol-sft --reward judge --prompts prompts.jsonl --name smol-ppo",
        "workbench ppo --base smol-sft --reward judge --prompts questions --lora-rank 16 --target-kl 6 --max-steps 200",
    ],
    "candidates": [
        "workbench candidates --model smol-sft --prompts prompts.jsonl --per-prompt 4 --name mine",
        "workbench candidates --model smol-sft --model smol --temperature 0.2 --temperature 1 --prompt 'Who are you?'",
        "workbench candidates --model base --corpus books --max-prompts 100 --name mine",
    ],
    "collect": ["workbench collect --candidates mine --judgements 200"],
    "judge": [
        "workbench judge mine --rule letter-share --letter e --name pairs",
        "workbench judge mine --rule model --model smol-sft --name pairs",
    ],
    "assess": [
        "workbench assess tuned base --prompts mt_bench.jsonl --endpoint http://localhost:8080/v1 --name tuned-judged",
        "workbench assess tuned base --prompts mine --judge smol --verdict likelihood",
        "workbench assess tuned --prompts questions.jsonl --judge big --rubric rubric.md --max-prompts 20",
    ],
    "import-model": [
        "workbench import-model ~/models/SmolLM2 --name smol",
        "workbench import-model SmolLM2-135M-Instruct.Q4_1.gguf --name smol",
    ],
    "sft": [
        "workbench sft --base smol --data chats --lora-rank 16 --max-steps 200 --name smol-sft",
        "workbench sft --base base --data chats=0.7 --data tasks=0.3 --num-train-epochs 3",
        "workbench sft --base smol --data chats --lora-rank 16 --quantize-base nf4",
    ],
    "continue": ["workbench continue --base smol --corpus books --lora-rank 32 --name smol-books"],
    "reward": ["workbench reward --base smol-sft --preferences pairs --name judge"],
    "dpo": [
        "workbench dpo --base smol-sft --preferences pairs --beta 0.1 --name smol-dpo",
        "workbench dpo --base smol-sft --preferences mine --lora-rank 16 --loss-type ipo",
    ],
    "orpo": ["workbench orpo --base smol --preferences pairs --name smol-orpo"],
    "kto": ["workbench kto --base smol-sft --preferences marks --name smol-kto"],
    "merge-adapter": ["workbench merge-adapter smol-sft --name smol-merged"],
    "export": [
        "workbench export base --quantization q8_0 --name base-q8",
        "workbench export base --quantization mlx-4bit --name base-mac",
    ],
}


def stage_command(stage: str, kind: type[Recipe]) -> click.Command:
    """The verb of a recipe class."""
    fields = [field for field in recipe_fields(kind) if field.path != AGAIN]
    positional = POSITIONAL.get(stage)

    @common
    def command(as_json: bool, detach: bool, again: bool = False, **values: Any) -> None:
        given = {field.path: _plain(values[_key(field)]) for field in fields if values[_key(field)] not in (None, ())}
        try:
            recipe = validate(kind, {"stage": stage, **nested(given)})
        except WorkbenchError as error:
            raise WrongUsage(error.what, error.remedy) from None
        make([recipe], Path.cwd(), detach=detach, as_json=as_json, again=again)

    for field in reversed(fields):
        command = argument_of(field)(command) if field.path == positional else option_of(field)(command)
    command = click.option("--detach", is_flag=True, help="Answer with the run's id at once; it goes on by itself.")(
        command
    )
    if AGAIN in kind.model_fields:
        command = click.option(
            "--again",
            is_flag=True,
            help="Read addresses and data sets of the hub anew that were imported before, those that failed too.",
        )(command)
    summary = (kind.__doc__ or "").strip()
    examples = "\n".join(f"  {line}" for line in EXAMPLES[stage])
    return click.command(stage, help=summary, epilog=f"\b\nExamples:\n{examples}")(command)


def make(recipes: Sequence[Recipe], base: Path, *, detach: bool, as_json: bool, again: bool = False) -> None:
    """Plan, submit and follow; `base` is what relative sources are relative to. `again`: see `read_again`."""
    project, catalog = open_current()
    recipes = [recipe.absolute(base) for recipe in recipes]
    if again:
        recipes = [read_again(project, catalog, recipe) for recipe in recipes]
    steps = plan(project, catalog, recipes)
    # What the plan skips is said once it is sure that the rest can be done here.
    started = submit(project, catalog, steps)
    for step in steps:
        _announce(step)
    waiting = [run for run in started if run]
    if detach:
        last = started[-1] or (steps[-1].artifact and steps[-1].artifact.run) or ""
        if as_json:
            answer({"run": last, "state": runs.read(project, last)[1].state if last else "finished", "runs": waiting})
        else:
            click.echo(last)
        return
    new = [run for step, run in zip(steps, started, strict=True) if run and step.action == "new"]
    states = follow(project, catalog, waiting, stop_on_interrupt=True, new=new) if waiting else []
    if as_json:
        results = [_result(project, catalog, step, run) for step, run in zip(steps, started, strict=True)]
        answer(results[-1] if len(recipes) == 1 else results)
    if any(state.state != "finished" for state in states) or len(states) < len(waiting):
        raise SystemExit(1)


def _announce(step: Step) -> None:
    if step.action == "made":
        assert step.artifact is not None
        again = "; --name NEW trains it again, with the checkpoints that are asked for" if _kept_otherwise(step) else ""
        note(f"{step.recipe.stage}: skipped, {step.kind}/{step.artifact.id} is made already{again}")
        if step.kind == "corpus" and (count := not_fetched(step.artifact.report)):
            again = f"--again (in a recipe, again: {step.artifact.recipe.get(AGAIN, 0) + 1})"
            note(f"{amount(count, 'sources', 'were')} not fetched then; {again} reads all of them anew")
    elif step.action == "active":
        note(f"{step.recipe.stage}: {step.run} is making {step.kind}/{step.name} already; waiting for it")
    elif step.action == "resume":
        note(f"{step.recipe.stage}: going on with {step.run} from its last checkpoint")


def _kept_otherwise(step: Step) -> bool:
    """Whether a training that was done before kept other checkpoints than are asked for now."""
    assert step.artifact is not None
    return checkpoints_differ(step.recipe.model_dump(mode="json", exclude_none=True), step.artifact.recipe)


def _result(project: Project, catalog: Catalog, step: Step, run_id: str | None) -> dict[str, Any]:
    made = artifacts.by_identity(project, catalog, step.kind, step.identity, prefer=step.name)
    result: dict[str, Any] = {"run": run_id or (made.run if made else None), "stage": step.recipe.stage}
    state = runs.read(project, run_id)[1] if run_id else None
    result["state"] = state.state if state else "finished"
    result["skipped"] = state is None or bool(state.more.get("skipped"))
    if made is not None:
        result |= {step.kind: made.id, "path": str(artifacts.folder_of(project, made)), "metrics": dict(made.report)}
        if step.kind == "reward":  # a model too, whatever was trained
            result["model"] = made.id
    elif state is not None:
        result |= {"reason": state.reason, "remedy": state.remedy}
    return result


def _key(field: RecipeField) -> str:
    return field.path.replace(".", "__")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def argument_of(field: RecipeField) -> Callable[[Any], Any]:
    return click.argument(
        _key(field),
        metavar=field.name.upper().rstrip("S") + ("..." if field.many else ""),
        nargs=-1 if field.many else 1,
        required=True,
        shell_complete=complete_artifact(*field.artifact) if field.artifact else None,
    )


def option_of(field: RecipeField) -> Callable[[Any], Any]:
    flags = f"{field.flag}/--no-{field.flag.removeprefix('--')}" if field.type is bool else field.flag
    kind: Any = click.Choice(field.choices) if field.choices else None if field.type is bool else field.type
    unit = f" ({field.unit})" if field.unit else ""
    default = "" if field.default is None else f" [default: {_shown(field.default)}]"
    absent: dict[str, Any] = {"required": True} if field.required else {"default": None}
    return click.option(
        flags,
        _key(field),
        type=kind,
        multiple=field.many,
        **absent,
        metavar=None
        if field.choices or field.type is bool
        else ("|".join(field.artifact) or field.type.__name__).upper(),
        help=f"{field.description}{unit}{default}",
        shell_complete=complete_artifact(*field.artifact) if field.artifact else None,
    )


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ", ".join(repr(item) for item in default)
    return str(default).lower() if isinstance(default, bool) else str(default)


@click.command(
    "run",
    epilog="\b\nExamples:\n  workbench run recipe.yaml --set optimizer.learning_rate=3e-4\n"
    "  workbench run pipeline.yaml --set base.schedule.max_steps=2000 --detach",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key; in a pipeline, NAME.KEY=VALUE says of which stage.",
)
@click.option("--detach", is_flag=True, help="Answer with the last run's id at once; everything goes on by itself.")
@common
def run_file(as_json: bool, recipe: Path, settings: tuple[str, ...], detach: bool) -> None:
    """Run a recipe or a pipeline (a YAML list of recipes), skipping what is made already.

    Relative sources are relative to the file.
    """
    make(read_recipes(recipe, settings), recipe.resolve().parent, detach=detach, as_json=as_json)


COMMANDS = {"run": run_file} | {
    stage: stage_command(stage, kind) for stage, kind in STAGES.items() if stage in EXAMPLES
}
