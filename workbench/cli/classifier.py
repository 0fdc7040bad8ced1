"""`workbench classifier`: a model of quality, learnt from documents marked good or bad; and `workbench corpus mark`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.cli.errors import no_such_verb
from workbench.cli.output import answer, common, complete_artifact, current_project, note, open_current, table
from workbench.errors import WorkbenchError
from workbench.recipes.base import NAME_PATTERN
from workbench.recipes.nearest import nearest
from workbench.store.artifacts import folder_of, resolve
from workbench.store.project import Project

if TYPE_CHECKING:
    from workbench.corpus.classifier import Measured

FOLDER = "classifiers"  # in the project


class ClassifierVerbs(click.Group):
    """The verbs of `workbench classifier`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("classifier", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "classifier",
    cls=ClassifierVerbs,
    epilog="\b\nExamples:\n  workbench corpus mark web 17 good\n  workbench classifier train --name fine\n"
    "  workbench classifier show fine",
)
def classifier() -> None:
    """A model of a text's quality, learnt from documents that you marked: the cleaning step quality-classifier."""


@classifier.command("train")
@click.option("--name", required=True, metavar="NAME", help="What to call it; one of that name is replaced.")
@click.option(
    "--marks", type=click.Path(path_type=Path), metavar="FILE",
    help="The marks to learn from. [default: the project's, marks/quality.jsonl]",
)  # fmt: skip
@common
def train(as_json: bool, name: str, marks: Path | None) -> None:
    """Learn from the marked documents, and tell how well documents are told that it did not see."""
    from workbench.corpus import marks as store
    from workbench.corpus.classifier import train as learn

    project = current_project()
    project.require_writable()
    if not NAME_PATTERN.fullmatch(name):
        raise WorkbenchError(f"{name!r} cannot be a name.", "Use up to 64 letters, digits, dots, dashes, underscores.")
    if marks is not None and not marks.is_file():
        raise WorkbenchError(f"There is no file {marks}.", "Give a file of marks, or none for the project's own.")
    found = store.read(marks or store.file_of(project.root))
    made = learn([mark.text for mark in found], [mark.label == "good" for mark in found])
    file = project.root / FOLDER / f"{name}.safetensors"
    made.save(file)
    _tell(as_json, name, file, made.measured)


@classifier.command("show")
@click.argument("name")
@common
def show(as_json: bool, name: str) -> None:
    """Show what each threshold would keep of the marks that the classifier had not seen."""
    from workbench.corpus.classifier import Classifier

    project = current_project()
    file = project.root / FOLDER / f"{name}.safetensors"
    if not file.is_file():
        raise WorkbenchError(f"There is no classifier called {name!r}.", _others(project, name))
    _tell(as_json, name, file, Classifier.load(file).measured)


@click.command("mark")
@click.argument("name", shell_complete=complete_artifact("corpus"))
@click.argument("row", type=click.IntRange(0))
@click.argument("label", type=click.Choice(["good", "bad", "none"]))
@common
def mark(as_json: bool, name: str, row: int, label: Any) -> None:
    """Mark document number ROW of a corpus as good or bad, or take its mark back with none.

    ROW counts from 0, as `workbench corpus documents` shows it. The marks train a classifier.
    """
    from workbench.corpus import marks
    from workbench.corpus.documents import count_documents, document_at

    project, catalog = open_current()
    project.require_writable()
    made = resolve(project, catalog, "corpus", name)
    folder = folder_of(project, made)
    try:
        document = document_at(folder, row)
    except IndexError:
        last = count_documents(folder) - 1
        raise WorkbenchError(f"The corpus {name} has no document {row:,}.", f"The last one is {last:,}.") from None
    file = marks.file_of(project.root)
    text = str(document["text"])[: marks.CHARACTERS]
    marks.append(file, marks.Mark(label, text, made.id, row, str(document["source"])))
    found = marks.read(file)
    counts = {kind: sum(one.label == kind for one in found) for kind in ("good", "bad")}
    if as_json:
        answer({"corpus": made.id, "row": row, "label": label, **counts})
        return
    click.echo(f"Document {row:,} is {'not marked any more' if label == 'none' else f'marked {label}'}.")
    note(f"{counts['good']:,} good and {counts['bad']:,} bad in all. Next: workbench classifier train --name NAME")


def _tell(as_json: bool, name: str, file: Path, measured: Measured) -> None:
    if as_json:
        answer({"classifier": name, "path": str(file), **asdict(measured)})
        return
    click.echo(f"{name}: {measured.good:,} good, {measured.bad:,} bad; a good one scores above a bad one in ", nl=False)
    click.echo(f"{measured.auc:.1%} of pairs that it had not seen.\n")
    columns = ("reject below", "good among the kept", "kept of the good", "rejected of the bad")
    rows = [
        [
            f"{level.threshold:.1f}", "–" if level.precision is None else f"{level.precision:.1%}",
            f"{level.recall:.1%}", f"{level.rejected_bad:.1%}",
        ]
        for level in measured.levels
    ]  # fmt: skip
    table(columns, rows, right=columns)
    note(f"In a preset in cleaning/: {{step: quality-classifier, classifier: ../{FOLDER}/{file.name}, threshold: 0.5}}")


def _others(project: Project, name: str) -> str:
    known = sorted(path.stem for path in (project.root / FOLDER).glob("[!.]*.safetensors"))
    return nearest(name, known) if known else "Train one: workbench classifier train --name NAME."


COMMANDS = {"classifier": classifier}
