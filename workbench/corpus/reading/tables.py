"""Rows of Parquet and Arrow files, of which only the columns that are needed are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from workbench.corpus.reading.entry import BLOCK_BYTES, Entry
from workbench.corpus.reading.raw import Raw, Reject, UnusableFile
from workbench.corpus.reading.rows import LANGUAGE_KEYS, LICENCE_KEYS, REMEDY, cell, listed

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_ROWS = 1024
BATCH_BYTES = 16 << 20  # of rows that are in memory at once
# What a damaged file ends in, besides Arrow's own errors: names that are no UTF-8, sizes that no memory has, and so on.
DAMAGE = (OSError, UnicodeDecodeError, LookupError, TypeError, RuntimeError, OverflowError, MemoryError)
ARROW_FILE = b"ARROW1"


def read_parquet(entry: Entry) -> Iterator[Raw | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pre-buffering, pages are read as they are needed rather than a row group at once.
        with entry.open_anywhere() as file, pq.ParquetFile(file, pre_buffer=False, buffer_size=BLOCK_BYTES) as content:
            columns = _columns(content.schema_arrow, entry)
            yield from _rows(entry, _parquet_batches(file, content, columns), content.metadata.num_rows)
    except (pa.ArrowException, *DAMAGE) as error:
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
    except (pa.ArrowException, *DAMAGE) as error:
        raise _unsound(entry, "Arrow", error) from None


def arrow_rows(entry: Entry, batches: Iterator[pa.RecordBatch]) -> Iterator[Raw | Reject]:
    """The rows of batches of whatever size."""

    def parts() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            chosen = batch.select(_columns(batch.schema, entry))
            for column in chosen.columns:
                _check(column)
            rows = _rows_at_once(chosen.nbytes, chosen.num_rows, _longest(chosen.column(0)))
            for start in range(0, chosen.num_rows, rows):
                part = chosen.slice(start, rows)
                entry.advance(part.nbytes)
                yield part

    yield from _rows(entry, parts(), 0)


def _rows(entry: Entry, batches: Iterator[pa.RecordBatch], total: int) -> Iterator[Raw | Reject]:
    """Where the `total` of rows is known, `advance` hears of their share of the file's size."""
    field, number, share = entry.options.text_field, 0, entry.size / max(total, 1)
    for batch in batches:
        texts = _bytes_of(batch.column(field))
        if total:
            entry.advance(int((number + len(texts)) * share) - int(number * share))
        others = [name for name in batch.schema.names if name != field]
        known = [_plain(batch.column(name)) for name in others]
        for place, value in enumerate(texts):
            if value is None:
                yield entry.reject(f"no {field!r}", "", number)
            else:
                row = {name: values[place] for name, values in zip(others, known, strict=True)}
                yield from cell(entry, value, number, row)
            number += 1


def _check(column: pa.Array) -> None:
    """Raises `pyarrow.ArrowInvalid` where offsets or indices lead out of the column: Arrow trusts its files."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        _check(column.dictionary)
        ends = pc.min_max(column.indices).as_py()
        if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] < len(column.dictionary):
            raise pa.ArrowInvalid("an index leads out of its dictionary")
        return
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())  # any bytes will do
    column.validate(full=True)


def _bytes_of(column: pa.Array) -> list[bytes | None]:
    """Strings as bytes: nothing promises that those of a file are UTF-8."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return column.cast(pa.binary()).to_pylist()
    if pa.types.is_dictionary(column.type):
        values = _bytes_of(column.dictionary)
        return [None if index is None else values[index] for index in column.indices.to_pylist()]
    return column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()


def _plain(column: pa.Array) -> list[Any]:
    """Strings or lists of them; None for all where one is no UTF-8."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [None] * len(column)


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


def _parquet_batches(file: BinaryIO, content: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The row groups in batches of about 16 MiB; `columns` begin with that of texts.

    The average of a row group does not tell how long its texts are where many are the same: they are stored once, in
    a dictionary, which is looked at before.
    """
    import pyarrow.parquet as pq

    metadata, field = content.metadata, columns[0]
    options = {"pre_buffer": False, "buffer_size": BLOCK_BYTES, "read_dictionary": [field], "metadata": metadata}
    with pq.ParquetFile(file, **options) as coded:
        for group in range(metadata.num_row_groups):
            # The metadata of single columns would tell more, but ends the process where it is damaged (pyarrow 26).
            about = metadata.row_group(group)
            first = next(coded.iter_batches(1, row_groups=[group], columns=[field], use_threads=False), None)
            longest = 0 if first is None else _longest(first.column(0))
            rows = _rows_at_once(about.total_byte_size, about.num_rows, longest)
            yield from content.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


def _rows_at_once(stored: int, rows: int, longest: int) -> int:
    """How many rows fit into memory, where all take `stored` bytes and the longest that is repeated takes `longest`."""
    return max(1, min(MAX_ROWS, BATCH_BYTES * rows // max(stored, 1), BATCH_BYTES // max(longest, 1)))


def _longest(texts: pa.Array) -> int:
    """Bytes of the longest value in the dictionary of a column that has one; 0 otherwise."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(texts.type):
        return 0
    return pc.max(pc.binary_length(texts.dictionary.cast(pa.large_string()))).as_py() or 0


def _unsound(entry: Entry, name: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    article = "an" if name == "Arrow" else "a"
    what = f"{entry.name} is not {article} sound {name} file: {why}."
    return UnusableFile(f"corrupt {name}", what, "Fetch or write it anew.")
