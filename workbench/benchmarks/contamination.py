"""Which items of a benchmark stand in the text that a model was trained on, and the score without them.

As in the GPT-3 paper (Brown et al. 2020, Appendix C): an item is touched if any of its N-grams of words stands in a
document. An item of fewer than N words cannot be told, counts as untouched, as there, and is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.benchmarks.results import Figure, Item
from workbench.corpus.overlap import LONGEST, Place, Search
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.benchmarks.lookup import Benchmark
    from workbench.store.catalog import Catalog
    from workbench.store.project import Project

CHATS_AT_ONCE = 2000
KINDS = ("corpus", "chats")  # what models are trained on

Report = Callable[[int, int], None]  # bytes of text done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """An item of which N-grams stand in a document."""

    task: str
    item: str
    hash: str
    words: str  # the first of them that was found
    found: int  # of its different N-grams
    of: int
    documents: int
    places: tuple[Place, ...]  # the first few


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContamination:
    """One task: how many of its items are touched, and the score without them."""

    task: str
    metric: str
    gram: int  # N
    n: int
    touched: int
    too_short: int  # items of fewer than N words
    all: Figure | None
    clean: Figure | None  # of the items that are not touched; None where there are none
    dirty: Figure | None  # of the touched ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """What a benchmark has in common with some corpora."""

    model: str
    panel: str
    corpora: tuple[str, ...]
    documents: int
    bytes: int  # of text that was read
    seconds: float
    tasks: tuple[TaskContamination, ...]
    touched: tuple[Touched, ...]


def contamination(benchmark: Benchmark, corpora: Mapping[str, Path], report: Report | None = None) -> Contamination:
    """Look for the benchmark's items in `corpora`: name ("corpus/books") -> folder.

    `report` hears how far it is. Raises `WorkbenchError` if a corpus cannot be read.
    """
    from workbench.benchmarks import statistics

    started = time.monotonic()
    items = [item for task in benchmark.results.tasks for item in benchmark.items.get(task, ())]
    search = Search([(item.task, text_of(item)) for item in items])
    total = sum(_size(folder) for folder in corpora.values())
    done = documents = 0
    for corpus, folder in corpora.items():
        first = 0
        for texts, sources in _batches(folder):
            search.look(texts, corpus, first, sources)
            first += len(texts)
            done += texts.nbytes
            if report is not None:
                report(min(done, total), total)
        documents += first
    hits = search.hits()
    tasks = []
    for task, figures in benchmark.results.tasks.items():
        numbers = [number for number, item in enumerate(items) if item.task == task]
        sides = {
            side: [items[number] for number in numbers if side is None or (number in hits) == side]
            for side in (None, False, True)
        }
        higher = figures.figures[figures.main].higher_is_better
        scores = {
            side: statistics.figure(figures.main, chosen, higher_is_better=higher) for side, chosen in sides.items()
        }
        tasks.append(
            TaskContamination(
                task=task, metric=figures.main, gram=search.gram.get(task, LONGEST), n=len(numbers),
                touched=len(sides[True]), too_short=search.too_short.get(task, 0),
                all=scores[None], clean=scores[False], dirty=scores[True],
            )
        )  # fmt: skip
    touched = tuple(
        Touched(
            task=items[number].task, item=items[number].item, hash=items[number].hash, words=hit.words,
            found=hit.found, of=hit.of, documents=hit.documents, places=tuple(hit.places),
        )
        for number, hit in sorted(hits.items())
    )  # fmt: skip
    return Contamination(
        model=benchmark.model, panel=benchmark.panel, corpora=tuple(corpora), documents=documents, bytes=done,
        seconds=time.monotonic() - started, tasks=tuple(tasks), touched=touched,
    )  # fmt: skip


def corpora_of(project: Project, catalog: Catalog, benchmark: Benchmark, names: Sequence[str] = ()) -> dict[str, Path]:
    """Name -> folder of the corpora and conversations called `names`; without, of those in the model's lineage.

    Raises `WorkbenchError` if there is none, or one of the lineage is gone.
    """
    from workbench.store import artifacts, lineage

    if names:
        made = [artifacts.resolve_any(project, catalog, name, KINDS) for name in names]
        return {f"{one.kind}/{one.id}": artifacts.folder_of(project, one) for one in made}
    found: dict[str, Path] = {}
    manifest = benchmark.folder / artifacts.MANIFEST
    waiting = (
        [lineage.ancestors(project, catalog, artifacts.read_manifest(benchmark.folder))] if manifest.is_file() else []
    )
    while waiting:
        node = waiting.pop(0)
        waiting += node.inputs
        if node.kind not in KINDS:
            continue
        if node.artifact is None:
            raise WorkbenchError(
                f"{node.kind}/{node.id}, which {benchmark.model} was made from, is gone.",
                "Import it again, or name what is to be searched: --corpus NAME.",
            )
        found[f"{node.kind}/{node.id}"] = artifacts.folder_of(project, node.artifact)
    if not found:
        raise WorkbenchError(
            f"No corpus of this project is known to have made {benchmark.model}.", "Name one: --corpus NAME."
        )
    return found


def text_of(item: Item) -> str:
    """An item's own words: its question without worked examples, and the right answer."""
    question = str(item.more.get("question", item.prompt))
    right = item.choices[item.right] if item.right is not None and item.right < len(item.choices) else item.target
    return right if right == question else f"{question} {right}"


def _batches(folder: Path) -> Iterator[tuple[pa.Array, Sequence[str] | pa.Array]]:
    """(texts, sources) of a corpus or of conversations."""
    import pyarrow as pa

    from workbench.corpus.chats.conversations import FILE, read_conversations
    from workbench.corpus.documents import iterate_documents

    if not (folder / FILE).is_file():
        for batch in iterate_documents(folder, ("text", "source")):
            yield batch.column("text"), batch.column("source")
        return
    texts: list[str] = []
    sources: list[str] = []
    for conversation in read_conversations(folder):
        texts.append("\n".join(str(message.get("content") or "") for message in conversation.messages))
        sources.append(conversation.source)
        if len(texts) == CHATS_AT_ONCE:
            yield pa.array(texts, pa.string()), sources
            texts, sources = [], []
    if texts:
        yield pa.array(texts, pa.string()), sources


def _size(folder: Path) -> int:
    """About how many bytes of text a corpus, or conversations, hold."""
    import pyarrow.parquet as pq

    from workbench.corpus.chats.conversations import FILE
    from workbench.corpus.documents import text_bytes

    if not (folder / FILE).is_file():
        return text_bytes(folder)
    with pq.ParquetFile(folder / FILE) as file:
        groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
        return sum(group.column(0).total_uncompressed_size for group in groups)
