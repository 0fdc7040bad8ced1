"""Rows of Parquet and Arrow files, of which only the columns that are needed are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workbench.corpus.reading.entry import BLOCK_BYTES, Entry
from workbench.corpus.reading.raw import Raw, Reject, UnusableFile
from workbench.corpus.reading.rows import LANGUAGE_KEYS, LICENCE_KEYS, REMEDY, cell, listed

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_ROWS = 1024
BATCH_BYTES = 16 << 20  # of rows that are in memory at once, by the average of their row group
ARROW_FILE = b"ARROW1"


def read_parquet(entry: Entry) -> Iterator[Raw | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pre-buffering, pages are read as they are needed rather than a row group at once.
        with entry.open_anywhere() as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=BLOCK_BYTES) as content:
            columns = _columns(content.schema_arrow, entry)
            batches = content.iter_batches(_rows_at_once(content), columns=columns, use_threads=False)
            yield from _rows(entry, batches, content.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _unsound(entry, "Parquet", error) from None


def read_arrow(entry: Entry) -> Iterator[Raw | Reject]:
    """An Arrow IPC file or stream, such as `datasets` saves; on disk it is mapped, not read."""
    import pyarrow as pa

    try:
        with entry.open_anywhere() as file:
            source = pa.PythonFile(file, "r") if entry.path is None else pa.memory_map(str(entry.path))
            with source:
                start = source.read(len(ARROW_FILE))
                source.seek(0)
                if start == ARROW_FILE:
                    with pa.ipc.open_file(source) as reader:
                        batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
                        yield from arrow_rows(entry, batches)
                else:
                    with pa.ipc.open_stream(source) as reader:
                        yield from arrow_rows(entry, iter(reader))
    except (pa.ArrowException, OSError) as error:
        raise _unsound(entry, "Arrow", error) from None


def arrow_rows(entry: Entry, batches: Iterator[pa.RecordBatch]) -> Iterator[Raw | Reject]:
    """The rows of batches of whatever size."""

    def parts() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            chosen = batch.select(_columns(batch.schema, entry))
            rows = max(1, min(MAX_ROWS, BATCH_BYTES * chosen.num_rows // max(chosen.nbytes, 1)))
            for start in range(0, chosen.num_rows, rows):
                part = chosen.slice(start, rows)
                entry.advance(part.nbytes)
                yield part

    yield from _rows(entry, parts(), 0)


def _rows(entry: Entry, batches: Iterator[pa.RecordBatch], total: int) -> Iterator[Raw | Reject]:
    """Where the `total` of rows is known, `advance` hears of their share of the file's size."""
    import pyarrow as pa

    field, number, share = entry.options.text_field, 0, entry.size / max(total, 1)
    for batch in batches:
        # As bytes: nothing promises that a file's strings are UTF-8.
        texts = batch.column(field).cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
        if total:
            entry.advance(int((number + len(texts)) * share) - int(number * share))
        others = [name for name in batch.schema.names if name != field]
        known = batch.select(others).to_pylist() if others else [{}] * len(texts)
        for value, row in zip(texts, known, strict=True):
            if value is None:
                yield entry.reject(f"no {field!r}", "", number)
            else:
                yield from cell(entry, value, number, row)
            number += 1


def _columns(schema: pa.Schema, entry: Entry) -> list[str]:
    """The column of texts, and those that say their language and licence."""
    import pyarrow as pa

    field = entry.options.text_field
    if field not in schema.names:
        what = f"{entry.name} has no column {field!r}; it has {listed(schema.names)}."
        raise UnusableFile(f"no {field!r}", what, REMEDY)
    if not _is_text(schema.field(field).type):
        what = f"The column {field!r} of {entry.name} holds {schema.field(field).type}, not text."
        raise UnusableFile(f"{field!r} is not text", what, "Name one that holds text with --text-field.")
    known = []
    for keys in (LANGUAGE_KEYS, LICENCE_KEYS):
        for name in keys:
            kind = schema.field(name).type if name in schema.names and name != field else pa.null()
            if _is_text(kind.value_type if pa.types.is_list(kind) else kind):
                known.append(name)
                break
    return [field, *known]


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _rows_at_once(content: pq.ParquetFile) -> int:
    groups = [content.metadata.row_group(n) for n in range(content.metadata.num_row_groups)]
    widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
    return max(1, min(MAX_ROWS, int(BATCH_BYTES / max(widest, 1))))


def _unsound(entry: Entry, name: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    article = "an" if name == "Arrow" else "a"
    what = f"{entry.name} is not {article} sound {name} file: {why}."
    return UnusableFile(f"corrupt {name}", what, "Fetch or write it anew.")
