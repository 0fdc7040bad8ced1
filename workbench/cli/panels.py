"""`workbench panels`: named sets of tasks, and whether their data are here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from workbench.cli.errors import no_such_verb
from workbench.cli.output import answer, common, current_project, note, table
from workbench.errors import WorkbenchError


class PanelVerbs(click.Group):
    """The verbs of `workbench panels`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("panels", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "panels",
    cls=PanelVerbs,
    invoke_without_command=True,
    epilog="\b\nExamples:\n  workbench panels\n  workbench panels show quick\n  workbench panels copy quick mine",
)
@common
def panels(as_json: bool) -> None:
    """List the panels: named sets of benchmark tasks."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    from workbench.benchmarks.panels import FOLDER, names

    project = current_project()
    found = [
        {"name": name, "own": file.parent == project.root / FOLDER} | _summary(project.root, name)
        for name, file in names(project.root).items()
    ]
    if as_json:
        answer(found)
        return
    table(
        ("panel", "data here", "what"),
        [
            [
                str(item["name"]),
                f"{item['here']} of {item['of']}" if item["of"] else "–",
                f"{item['description']}{' (own)' if item['own'] else ''}",
            ]
            for item in found
        ],
    )


@panels.command("show")
@click.argument("name")
@common
def show(as_json: bool, name: str) -> None:
    """Show the tasks of the panel NAME, and which data are here."""
    from workbench.benchmarks.panels import Panel, find

    project = current_project()
    panel = Panel.read(project.root, name)
    needed = _needs(name, project.root)
    if as_json:
        plain = panel.model_dump(exclude_none=True)
        answer({"name": name, "file": str(find(project.root, name)), **plain, "needs": needed})
        return
    click.echo(panel.description)
    click.echo()
    table(
        ("task", "shots", "limit", "chat template", "metric"),
        [
            [
                choice.task, _number(choice.shots), _number(choice.limit),
                "" if choice.chat_template is None else "on" if choice.chat_template else "off", choice.metric or "",
            ]
            for choice in panel.tasks
        ],
        right=("shots", "limit"),
    )  # fmt: skip
    lacking = [item for item in needed if item["lacks"]]
    click.echo()
    click.echo(f"Data of {len(needed) - len(lacking)} of {len(needed)} tasks are here.")
    for item in needed:
        if 0 < item["here"] < item["of"]:
            note(f"Of {item['task']} the data of {item['here']} of {item['of']} tasks are here: only these are asked.")
    if without := [item["task"] for item in lacking if item["lacks"] == "data"]:
        note(f"To be fetched from the hub, or added with workbench benchmark-data add TASK FILE: {_some(without)}.")
    if without := [item["task"] for item in lacking if item["lacks"] == "examples"]:
        note(f"Without enough worked examples to show (--few-shot FILE): {_some(without)}.")


@panels.command("copy")
@click.argument("name")
@click.argument("new_name", required=False)
@common
def copy(as_json: bool, name: str, new_name: str | None) -> None:
    """Copy the panel NAME into the project, to edit it there."""
    from workbench.benchmarks import panels as known

    project = current_project()
    project.require_writable()
    file = known.copy(project.root, name, new_name)
    if as_json:
        answer({"name": file.stem, "file": str(file)})
    else:
        click.echo(f"Copied to {file}.")


def _summary(root: Path, name: str) -> dict[str, Any]:
    """What a panel holds; of a damaged one, what is wrong with it."""
    from workbench.benchmarks.panels import Panel

    try:
        panel = Panel.read(root, name)
        needed = _needs(name, root)
    except WorkbenchError as error:
        return {"description": str(error), "tasks": [], "here": 0, "of": 0}
    here = sum(not item["lacks"] for item in needed)
    tasks = [choice.task for choice in panel.tasks]
    return {"description": panel.description, "tasks": tasks, "here": here, "of": len(needed)}


def _needs(name: str, root: Path) -> list[dict[str, Any]]:
    """What each entry of a panel needs; a group of tasks is one entry, whatever of it is here."""
    from workbench.benchmarks import harness
    from workbench.benchmarks.tasks import needs, of_panel

    found = []
    for choice in of_panel(root, name):
        parts = needs([choice], root)
        task = harness.resolve(choice.task)
        alone = [part.task for part in parts] == [task]
        found.append(
            {
                "task": task,
                "data": parts[0].data,
                "items": parts[0].items if alone else None,
                "here": sum(part.lacks != "data" for part in parts),
                "of": 1 if alone else len(harness.members(task)),
                "lacks": next((part.lacks for part in parts if part.lacks), ""),
            }
        )
    return found


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


COMMANDS = {"panels": panels}
