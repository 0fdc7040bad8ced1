"""Data sets of the Hugging Face hub, streamed: nothing of them is kept on the disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from workbench.corpus.addresses import NOT_FETCHED, HubSource, hub_source
from workbench.corpus.reading.entry import Entry
from workbench.corpus.reading.raw import Raw, Reject, UnusableFile
from workbench.corpus.reading.tables import arrow_rows
from workbench.durable import write_json
from workbench.errors import WorkbenchError

ROWS = 128  # at once in memory
INSTALL = "Install it: pip install datasets"


def read_hub(entry: Entry) -> Iterator[Raw | Reject]:
    """The split `train` of a data set, or its first split, at the commit that its revision named when the run began.

    Raises `WorkbenchError` if the library `datasets` is missing.
    """
    try:
        import datasets
    except ImportError:
        raise WorkbenchError(f"{entry.name} needs the library datasets, which is not installed.", INSTALL) from None
    source = hub_source(entry.name)
    if source.column is not None:
        options = dataclasses.replace(entry.options, text_field=source.column)
        entry = dataclasses.replace(entry, options=options)
    entry = dataclasses.replace(entry, name=entry.name.partition("#")[0])
    try:
        commit = _commit(entry, source)
        splits = datasets.load_dataset(source.name, source.config, revision=commit, streaming=True)
        chosen = splits["train"] if "train" in splits else next(iter(splits.values()))
        batches = iter(chosen.with_format("arrow").iter(ROWS))
        first = next(batches, None)
    except Exception as error:  # of many kinds: no connection, no such name, a gate, a broken file
        raise _unreachable(entry, source, error, "fetched") from None
    if first is not None:
        yield from arrow_rows(entry, _chained(entry, source, first, batches))


def _chained(entry: Entry, source: HubSource, first: Any, others: Iterator[Any]) -> Iterator[Any]:
    """The tables' record batches; what breaks off is told as that."""
    table = first
    while table is not None:
        yield from table.to_batches()
        try:
            table = next(others, None)
        except Exception as error:
            raise _unreachable(entry, source, error, "fetched further") from None


def _commit(entry: Entry, source: HubSource) -> str | None:
    """The commit that the revision names; a run that goes on reads the same one, whatever was pushed since."""
    import huggingface_hub
    import xxhash

    kept = None
    if (folder := entry.options.scratch_folder()) is not None:
        kept = folder / f"hub-{xxhash.xxh3_64_hexdigest(entry.name.encode())}.json"
        if kept.exists():
            return json.loads(kept.read_bytes())["commit"]
    commit = huggingface_hub.HfApi().dataset_info(source.name, revision=source.revision).sha
    if kept is not None and commit is not None:
        write_json(kept, {"source": entry.name, "commit": commit})
    return commit


def _unreachable(entry: Entry, source: HubSource, error: Exception, what: str) -> UnusableFile:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UnusableFile(
        NOT_FETCHED,
        f"The data set {source.name!r} cannot be {what}: {lines[0].rstrip('.')}.",
        "Check the name, the configuration and the connection, or download its files and give their folder.",
    )
