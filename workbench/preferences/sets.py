"""The sets of candidates of a project, those too that a run is still writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.preferences.candidates import FILE, Candidates
from workbench.preferences.choice import Choice
from workbench.preferences.judgements import Book
from workbench.recipes.base import nearest
from workbench.store import judgements
from workbench.store.artifacts import HOW_TO_MAKE
from workbench.store.catalog import Catalog
from workbench.store.project import Project

GOING = ("queued", "running", "stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSet:
    """`run` writes it, or wrote it as far as it came; "" once it is whole."""

    id: str
    name: str
    identity: str
    created: float  # seconds since the epoch
    candidates: Path
    judgements: Path
    run: str = ""
    run_state: str = ""

    @property
    def evaluations(self) -> Path:
        """What was judged only to compare models."""
        return judgements.evaluations_of(self.judgements)

    @property
    def growing(self) -> bool:
        """Whether further answers are on their way."""
        return self.run_state in GOING


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the ranking of a set has come."""

    prompts: int
    pairs: int
    judged: int  # of the pairs, by anybody
    set_aside: int  # of the others: skipped, or of a flagged prompt
    raters: tuple[str, ...]


def candidate_sets(project: Project, catalog: Catalog) -> list[CandidateSet]:
    """All sets, the newest first."""
    rows = catalog.rows(
        "SELECT id, name, identity, created, json_extract(report, '$.continues') AS continues "
        "FROM artifacts WHERE kind = 'candidates'"
    )
    gone_on_from = {row["continues"] for row in rows}  # all of those is in a later version, with their judgements
    found = [
        _set(project, row["id"], row, project.folder("candidates") / row["id"])
        for row in rows
        if row["identity"] not in gone_on_from
    ]
    made = {item.identity for item in found}
    unfinished = catalog.rows(
        "SELECT id AS run, name AS id, name, identity, created, state FROM runs "
        "WHERE produces = 'candidates' AND state != 'finished' ORDER BY number"
    )
    for row in unfinished:
        folder = project.runs / row["run"]
        if row["identity"] not in made and (row["state"] in GOING or (folder / FILE).exists()):
            found.append(_set(project, row["id"], row, folder))
    return sorted(found, key=lambda item: -item.created)


def candidate_set(project: Project, catalog: Catalog, name: str) -> CandidateSet:
    """The set that a person means: a name is its newest version.

    Raises `WorkbenchError` naming what there is, or how to make one.
    """
    known = candidate_sets(project, catalog)
    found = [item for item in known if name in (item.name, item.run)] or [item for item in known if name == item.id]
    if found:
        return found[0]
    if not known:
        raise WorkbenchError(f"There are no candidates called {name!r} in this project.", HOW_TO_MAKE["candidates"])
    raise WorkbenchError(f"There are no candidates called {name!r}.", nearest(name, [item.name for item in known]))


def progress(item: CandidateSet) -> Progress:
    """Raises `WorkbenchError` if one of its files is damaged."""
    candidates, book = Candidates(item.candidates), Book(item.judgements)
    choice = Choice(candidates, book, "", seed=0)
    return Progress(
        prompts=len(candidates.prompts),
        pairs=choice.total,
        judged=choice.decided,
        set_aside=choice.total - choice.left - choice.decided,
        raters=tuple(sorted({said.rater for said in book.judgements.values()})),
    )


def _set(project: Project, set_id: str, row: dict[str, str], folder: Path) -> CandidateSet:
    return CandidateSet(
        id=set_id,
        name=row["name"],
        identity=row["identity"],
        created=float(row["created"]),
        candidates=folder / FILE,
        judgements=judgements.file_of(project, row["identity"]),
        run=row.get("run", ""),
        run_state=row.get("state", ""),
    )
