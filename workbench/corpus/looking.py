"""A corpus looked into: its rejects, and documents by what stands in them. Only what is asked for is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recipes.nearest import nearest

AROUND = 160  # characters shown on each side of what was searched for


@dataclass(frozen=True, slots=True)
class RejectedDocument:
    """An example of what a step rejected. `spans` are places in `text`, which may be cut; see `documents.REJECTS`."""

    step: str
    reason: str
    source: str
    position: int
    value: float | None
    limit: float | None
    parameter: str
    spans: tuple[tuple[int, int], ...]
    text: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """`number` from 0, as `documents.document_at` takes it; `excerpt` has the first hit at `hit`, if there is one."""

    number: int
    source: str
    position: int
    language: str | None
    licence: str | None
    characters: int
    excerpt: str
    hit: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The first documents that match, and how many there are of them in all."""

    total: int
    documents: list[FoundDocument] = field(default_factory=list)


def rejects(folder: Path, *, step: str | None = None, reason: str | None = None) -> Iterator[RejectedDocument]:
    """The kept examples, in the order of the documents. Raises `WorkbenchError` if the step or reason has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(folder / "rejects.parquet") as file:
            if "step" not in file.schema_arrow.names:
                raise WorkbenchError(
                    "This corpus was imported before its rejects told their steps.", "Import it again to see them."
                )
            marks = file.read(columns=["step", "reason"], use_threads=False)
            _require("step", step, marks["step"].to_pylist())
            _require("reason", reason, marks["reason"].to_pylist())
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group, use_threads=False).to_pylist():
                    if step in (None, row["step"]) and reason in (None, row["reason"]):
                        spans = tuple((span["start"], span["stop"]) for span in row["spans"] or ())
                        yield RejectedDocument(**(row | {"spans": spans}))
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise WorkbenchError(f"The rejects of {folder.name} cannot be read: {why}.", "Import it again.") from None


@dataclass(frozen=True, slots=True)
class ChangedDocument:
    """An example of what a step changed: excerpts around the first change."""

    step: str
    reason: str
    source: str
    position: int
    before: str
    after: str


def changes(folder: Path, step: str) -> list[ChangedDocument]:
    """The kept examples of what `step` changed. Raises `WorkbenchError` if they cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "changes.parquet"
    if not path.is_file():
        return []
    try:
        rows = pq.read_table(path, filters=[("step", "=", step)], use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise WorkbenchError(f"The changes of {folder.name} cannot be read: {why}.", "Import it again.") from None
    return [ChangedDocument(**row) for row in rows]


def find_documents(folder: Path, *, search: str = "", language: str = "", limit: int = 20, skip: int = 0) -> Found:
    """Documents that hold `search` (in whatever case) and are of `language`; all of them if neither is given.

    Raises `WorkbenchError` if the corpus has no documents, or none of that language.
    """
    import duckdb
    import pyarrow.parquet as pq

    files = [str(path) for path in sorted(folder.glob("documents-*.parquet"))]
    if not files:
        raise WorkbenchError(f"The corpus in {folder} has no documents.", "Import it again: workbench import SOURCE.")
    known = pq.read_schema(files[0]).names
    columns = [name if name in known else f"NULL AS {name}" for name in ("position", "language", "licence")]
    # In insertion order, a file's rows follow those of the file before it: their number is the document's.
    rows = f"SELECT row_number() OVER () - 1 AS number, text, source, {', '.join(columns)} FROM read_parquet(?)"
    conditions, values = ["true"], []
    if search:
        conditions.append("contains(lower(text), lower(?))")
        values.append(search)
    if language:
        conditions.append("language = ?")
        values.append(language)
    where = " AND ".join(conditions)
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")  # after two seconds it would go to standard output
        try:
            if language:
                _require_language(database, files, known, language)
            total = database.execute(f"SELECT count(*) FROM ({rows}) WHERE {where}", [files, *values]).fetchone()
            chosen = database.execute(
                f"SELECT number, source, position, language, licence, length(text), "
                f"substring(text, greatest(1, {_place(search)} - {AROUND}), {2 * AROUND} + ?), {_place(search)} "
                f"FROM ({rows}) WHERE {where} ORDER BY number LIMIT ? OFFSET ?",
                [*_needle(search), *[len(search)], *_needle(search), files, *values, limit, skip],
            ).fetchall()
        except duckdb.Error as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise WorkbenchError(f"{folder.name} cannot be searched: {why}.", "workbench verify says more.") from None
    assert total is not None
    found = []
    for number, source, position, its_language, licence, characters, excerpt, place in chosen:
        begin = max(1, place - AROUND)
        hit = (place - begin, place - begin + len(search)) if search else None
        found.append(
            FoundDocument(number, source or "", position or 0, its_language, licence, characters, excerpt, hit)
        )
    return Found(total[0], found)


def _place(search: str) -> str:
    """SQL for where the hit begins, from 1."""
    return "instr(lower(text), lower(?))" if search else "1"


def _needle(search: str) -> list[str]:
    return [search] if search else []


def _require(what: str, wanted: str | None, there: Sequence[str]) -> None:
    if wanted is not None and wanted not in there:
        known = list(dict.fromkeys(there))
        if not known:
            raise WorkbenchError("Nothing was rejected.", "workbench corpus show NAME has the counts.")
        raise WorkbenchError(f"Nothing was rejected for the {what} {wanted!r}.", nearest(wanted, known))


def _require_language(database: Any, files: list[str], known: list[str], language: str) -> None:
    there: list[str] = []
    if "language" in known:
        sql = "SELECT DISTINCT language FROM read_parquet(?) WHERE language IS NOT NULL ORDER BY 1"
        there = [row[0] for row in database.execute(sql, [files]).fetchall()]
    if language not in there:
        remedy = nearest(language, there) if there else "Import it with the step language to have them told."
        raise WorkbenchError(f"No document is of the language {language!r}.", remedy)
