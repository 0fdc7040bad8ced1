"""Verbs about the project itself: new, models, artifacts, lineage, verify, repair, completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from workbench.cli.artifact import sections
from workbench.cli.output import answer, common, complete_artifact, current_project, note, open_current, table, when
from workbench.cli.summary import summary
from workbench.figures import size
from workbench.safe_text import strip_controls
from workbench.store import artifacts, lineage
from workbench.store.project import FOLDERS, Project, create
from workbench.store.recent import remember


@click.command("new", epilog="\b\nExample:\n  workbench new my-llm && cd my-llm")
@click.argument("path", type=click.Path(path_type=Path))
@common
def new(as_json: bool, path: Path) -> None:
    """Make a project in a new folder."""
    project = create(path)
    remember(project)
    if as_json:
        answer({"name": project.name, "path": str(project.root)})
    else:
        click.echo(f"Made the project {project.name} in {project.root}.")
        note(f"Next: cd {path} && workbench import SOURCE --name NAME")


def _list(kinds: tuple[str, ...], artifact: str | None, as_json: bool) -> None:
    project, catalog = open_current()
    if artifact is not None:
        _show(project, artifacts.resolve_any(project, catalog, artifact, kinds), as_json)
        return
    found = [
        artifacts.read_manifest(project.folder(row["kind"]) / row["id"])
        for row in catalog.rows("SELECT kind, id FROM artifacts ORDER BY created")
        if row["kind"] in kinds and (project.folder(row["kind"]) / row["id"] / artifacts.MANIFEST).exists()
    ]
    if as_json:
        answer([_plain(project, item) for item in found])
    elif not found:
        click.echo(f"There is no {kinds[0]} yet. {artifacts.HOW_TO_MAKE[kinds[0]]}", err=True)
    else:
        table(
            ("kind", "id", "made", "size", "from", "what"),
            [
                [
                    item.kind,
                    item.id,
                    when(item.created),
                    size(item.bytes),
                    ", ".join(made["id"] for made in item.inputs.values()),
                    summary(item),
                ]
                for item in found
            ],
            right=("size",),
        )


def _plain(project: Project, item: artifacts.Artifact) -> dict[str, Any]:
    return {
        "kind": item.kind, "id": item.id, "name": item.name, "version": item.version, "identity": item.identity,
        "created": item.created, "bytes": item.bytes, "run": item.run,
        "path": str(artifacts.folder_of(project, item)),
        "inputs": {role: dict(made) for role, made in item.inputs.items()}, "report": dict(item.report),
    }  # fmt: skip


def _show(project: Project, item: artifacts.Artifact, as_json: bool) -> None:
    if as_json:
        files = {path: dict(entry) for path, entry in item.files.items()}
        answer(_plain(project, item) | {"recipe": dict(item.recipe), "versions": dict(item.versions), "files": files})
        return
    for title, lines in sections(project, item):
        if title:
            click.echo(f"\n{title}")
        width = max(len(label) for label, _ in lines)
        for label, text in lines:
            click.echo(f"  {label:<{width}}  {strip_controls(text)}")


@click.command("models", epilog="\b\nExamples:\n  workbench models --json\n  workbench models base-q8")
@click.argument("model", required=False, shell_complete=complete_artifact("model", "reward", "export"))
@common
def models(as_json: bool, model: str | None) -> None:
    """List models, reward models and exports; or show one, with its figures and an export's check."""
    _list(("model", "reward", "export"), model, as_json)


@click.command("artifacts", epilog="\b\nExamples:\n  workbench artifacts --json\n  workbench artifacts books")
@click.argument("artifact", required=False, shell_complete=complete_artifact(*FOLDERS))
@common
def all_artifacts(as_json: bool, artifact: str | None) -> None:
    """List everything that the project has made; or show one thing, with its report and recipe."""
    _list(tuple(FOLDERS), artifact, as_json)


@click.command("lineage", epilog="\b\nExamples:\n  workbench lineage base-q8\n  workbench lineage model/base --json")
@click.argument("artifact", shell_complete=complete_artifact(*FOLDERS))
@common
def lineage_of(as_json: bool, artifact: str) -> None:
    """Where an artifact came from, back to the raw text, and what was made from it."""
    project, catalog = open_current()
    made = artifacts.resolve_any(project, catalog, artifact)
    tree = lineage.ancestors(project, catalog, made)
    used = lineage.descendants(catalog, made)
    if as_json:
        answer(lineage.as_dict(project, tree) | {"used_by": [{"kind": kind, "id": name} for kind, name in used]})
        return
    _print_tree(tree, "", "")
    if used:
        click.echo("\nMade from it: " + ", ".join(f"{kind}/{name}" for kind, name in used))


def _print_tree(node: lineage.Ancestor, lead: str, below: str) -> None:
    made = node.artifact
    text = f"{node.kind}/{node.id}"
    detail = f"{when(made.created)}  {size(made.bytes)}  {summary(made)}" if made else "its folder is gone"
    click.echo(f"{lead}{text:<28}  {node.identity[:8]}  {detail}")
    if made is not None and made.kind == "corpus":
        for source in made.recipe.get("sources", []):
            click.echo(f"{below}   read from {source}")
    for place, parent in enumerate(node.inputs):
        last = place == len(node.inputs) - 1
        _print_tree(parent, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


@click.command("verify", epilog="\b\nExample:\n  workbench verify")
@common
def verify(as_json: bool) -> None:
    """Hash every file of every artifact again; exit 1 if one has changed."""
    from workbench.store.repair import left_overs

    project, catalog = open_current()
    results: list[dict[str, Any]] = []

    def tell(artifact: str, problems: list[str]) -> None:
        results.append({"artifact": artifact, "problems": problems})
        if not as_json:
            click.echo(f"{'ok     ' if not problems else 'DAMAGED'}  {artifact}")
            for problem in problems:
                click.echo(f"           {problem}")

    for kind, folder, problems in artifacts.verify(project):
        tell(f"{kind}/{folder.name}", problems)
    for row in catalog.rows("SELECT kind, id FROM artifacts ORDER BY created"):
        if not (project.folder(row["kind"]) / row["id"]).is_dir():
            tell(f"{row['kind']}/{row['id']}", ["its folder is gone"])
    rest = [str(path) for path in left_overs(project)]
    damaged = [result for result in results if result["problems"]]
    if as_json:
        answer({"artifacts": results, "damaged": len(damaged), "left_overs": rest})
    else:
        for path in rest:
            note(f"Left over from a killed run, safe to remove: {path}")
        note(f"{len(results)} artifacts, {len(damaged)} damaged.")
    if damaged:
        raise SystemExit(1)


@click.command("repair", epilog="\b\nExample:\n  workbench repair")
@common
def repair(as_json: bool) -> None:
    """Rebuild catalog.sqlite from the project's files. An old one that was damaged is kept beside it."""
    from workbench.store import repair as store

    done = store.repair(current_project())
    if as_json:
        answer({"artifacts": done.artifacts, "runs": done.runs, "kept": done.kept})
    else:
        click.echo(f"Rebuilt the catalog: {done.artifacts} artifacts, {done.runs} runs.")
        if done.kept:
            note(f"The old one was damaged and is kept as {done.kept.name}.")


@click.command("completions", epilog='\b\nExample:\n  eval "$(workbench completions bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completions(shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    from workbench.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "workbench", "_WORKBENCH_COMPLETE").source())


COMMANDS = {
    "new": new, "models": models, "artifacts": all_artifacts, "lineage": lineage_of, "verify": verify, "repair": repair,
    "completions": completions,
}  # fmt: skip
