"""Source files as raw documents, streamed: memory stays within a few documents' size.

A `.txt` or `.md` file is one document, a line of `.jsonl` and a row of `.parquet` one each.
Documents over the limit come in pieces that end at line ends.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from workbench.corpus import python_docs
from workbench.corpus.sources import BLOCK_BYTES, PYTHON_DOCS, READABLE, SourceFile
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SAMPLE_WINDOWS = 16
SAMPLE_WINDOW_BYTES = 4096
MAX_JUNK = 0.3  # random bytes have about 0.57, text in a one-byte encoding rarely 0.1
MAX_NULS = 0.01
PARQUET_ROWS = 256
JSON_LINE_FACTOR = 4  # a line of JSON is longer than its text: an escape takes 6 bytes for 2 or 3 of UTF-8

# The 4-byte mark of UTF-32 begins with the 2-byte one of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTINUATION = bytes(range(0x80, 0xC0))
_JUNK = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


@dataclass(frozen=True, slots=True)
class Document:
    """`repaired`: bytes that were not UTF-8 became U+FFFD. `cut`: not the first piece of its document."""

    text: str
    source: str
    repaired: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """Something of a file that is left out; the rest of the file is read."""

    source: str
    reason: str
    excerpt: str = ""


class UnusableFile(WorkbenchError):
    """A file is left out, from here on; `reason` is what it is counted under."""

    def __init__(self, reason: str, what: str, remedy: str):
        super().__init__(what, remedy)
        self.reason = reason


def read_documents(
    file: SourceFile, *, text_field: str, max_bytes: int, advance: Callable[[int], None]
) -> Iterator[Document | Reject]:
    """The documents in `file`, none of more than `max_bytes` of UTF-8.

    `advance` hears of the bytes read. Raises `UnusableFile` where a file, or the rest of it, cannot be used.
    """
    try:
        if file.kind == "parquet":
            yield from _parquet(file, text_field, max_bytes, advance)
        elif file.kind == "jsonl":
            yield from _jsonl(file, text_field, max_bytes, advance)
        elif file.kind == "python":
            yield from _python(file, max_bytes, advance)
        else:
            with open(file.path, "rb") as content:
                yield from _documents(_blocks(content, file, advance), file.name, max_bytes)
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0]
        remedy = "Check that you may read the file, and that its disk is sound."
        raise UnusableFile("unreadable", f"{file.name} cannot be read: {why}.", remedy) from error


def _jsonl(
    file: SourceFile, text_field: str, max_bytes: int, advance: Callable[[int], None]
) -> Iterator[Document | Reject]:
    import orjson

    rows, with_field = 0, 0
    keys: dict[str, None] = {}  # of the first row without the field, in order
    with open(file.path, "rb") as content:
        for number, line in enumerate(_lines(_blocks(content, file, advance), max_bytes * JSON_LINE_FACTOR), 1):
            source = f"{file.name}:{number}"
            if isinstance(line, _LongLine):
                yield Reject(source, _too_long(max_bytes * JSON_LINE_FACTOR), _decode(line.start)[0])
                continue
            if not line.strip():
                continue
            text, repaired = _decode(line)
            try:
                row = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                yield Reject(source, "broken JSON", f"{error.msg}: {text}")
                continue
            rows += 1
            value = row.get(text_field) if isinstance(row, dict) else None
            if isinstance(value, str):
                with_field += 1
                yield from _documents([value.encode()], file.name, max_bytes, repaired)
                continue
            if isinstance(row, dict) and text_field in row:
                with_field += 1
                yield Reject(source, f"{text_field!r} is not text", text)
            else:
                keys = keys or dict.fromkeys(row if isinstance(row, dict) else ())
                yield Reject(source, f"no {text_field!r}", text)
    if rows and not with_field:
        there = f"the first has {_listed(keys)}" if keys else "they are not JSON objects"
        what = f"No line of {file.name} has the key {text_field!r}; {there}."
        raise UnusableFile("", what, "Name the one that holds the text with --text-field.")


def _parquet(
    file: SourceFile, text_field: str, max_bytes: int, advance: Callable[[int], None]
) -> Iterator[Document | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pre-buffering, pages are read as they are needed rather than a row group at once.
        with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=BLOCK_BYTES) as content:
            _check_column(content, file.name, text_field)
            number, share = 0, file.size / max(content.metadata.num_rows, 1)
            for batch in content.iter_batches(PARQUET_ROWS, columns=[text_field], use_threads=False):
                # As bytes: nothing promises that a Parquet file's strings are UTF-8.
                column = batch.column(0).cast(pa.large_string()).cast(pa.large_binary())
                advance(int((number + len(column)) * share) - int(number * share))
                for value in column:
                    number += 1
                    if not value.is_valid:
                        yield Reject(f"{file.name}:{number}", f"no {text_field!r}")
                    else:
                        yield from _documents([value.as_py()], file.name, max_bytes)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = str(error).splitlines()[0].rstrip(".")
        what = f"{file.name} is not a sound Parquet file: {why}."
        raise UnusableFile("corrupt Parquet", what, "Fetch or write it anew.") from None


def _check_column(content: pq.ParquetFile, name: str, text_field: str) -> None:
    import pyarrow as pa

    schema = content.schema_arrow
    if text_field not in schema.names:
        what = f"{name} has no column {text_field!r}; it has {_listed(schema.names)}."
        raise UnusableFile(f"no {text_field!r}", what, "Name the one that holds the text with --text-field.")
    kind = schema.field(text_field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        what = f"The column {text_field!r} of {name} holds {kind}, not text."
        raise UnusableFile(f"{text_field!r} is not text", what, "Name one that holds text with --text-field.")


def _python(file: SourceFile, max_bytes: int, advance: Callable[[int], None]) -> Iterator[Document | Reject]:
    advance(file.size)
    if file.name == "pydoc_data/topics.py":
        for topic, text in python_docs.topics():
            yield from _documents([text.encode()], f"{PYTHON_DOCS}/topics/{topic}", max_bytes)
        return
    name = python_docs.module_name(file.name)
    try:
        text = python_docs.module_text(file.path.read_bytes(), name)
    except (SyntaxError, ValueError) as error:
        yield Reject(f"{PYTHON_DOCS}/{name}", "not Python", str(error))
        return
    if text:
        yield from _documents([text.encode()], f"{PYTHON_DOCS}/{name}", max_bytes)


def _documents(
    blocks: Iterable[bytes], source: str, max_bytes: int, repaired: bool = False
) -> Iterator[Document | Reject]:
    """One document, given in blocks of bytes, as pieces of at most `max_bytes`."""
    cut = False
    for piece in _pieces(blocks, max_bytes):
        if isinstance(piece, _LongLine):
            yield Reject(source, _too_long(max_bytes), _decode(piece.start)[0])
        else:
            text, mended = _decode(piece)
            yield Document(text, source, repaired or mended, cut)
        cut = True
    if not cut:
        yield Document("", source)


@dataclass(frozen=True, slots=True)
class _LongLine:
    start: bytes  # of the line that was dropped


def _pieces(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | _LongLine]:
    """The blocks joined, and cut after the last line end that keeps a piece within `max_bytes`.

    A line that is longer is dropped, in bounded memory, and told of by its start.
    """
    buffer = bytearray()
    dropping = False
    for block in blocks:
        buffer += block
        while dropping or len(buffer) > max_bytes:
            if dropping:
                end = buffer.find(b"\n") + 1
                del buffer[: end or len(buffer)]
                if not end:
                    break
                dropping = False
            elif end := buffer.rfind(b"\n", 0, max_bytes) + 1:
                yield bytes(buffer[:end])
                del buffer[:end]
            else:
                yield _LongLine(bytes(buffer[:1024]))
                dropping = True
    if buffer:
        yield bytes(buffer)


def _lines(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | _LongLine]:
    """Lines without their ends; of one longer than `max_bytes` only the start."""
    buffer = bytearray()
    dropping = False
    for block in blocks:
        *ended, rest = block.split(b"\n")
        for part in ended:
            if not dropping:
                buffer += part
                yield bytes(buffer) if len(buffer) <= max_bytes else _LongLine(bytes(buffer[:1024]))
            buffer.clear()
            dropping = False
        if not dropping:
            buffer += rest
            if len(buffer) > max_bytes:
                yield _LongLine(bytes(buffer[:1024]))
                dropping = True
                buffer.clear()
    if buffer:
        yield bytes(buffer)


def _blocks(content: BinaryIO, file: SourceFile, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The file as UTF-8, except for bytes that never were; its byte-order mark is gone.

    Raises `UnusableFile` if samples of it are not text.
    """
    mark, encoding = _byte_order_mark(content)
    if not _is_text(content, file.size, len(mark), encoding):
        raise UnusableFile("binary", f"{file.name} is not text but binary data.", f"{READABLE} Text is UTF-8.")
    content.seek(len(mark))
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("replace")
    while block := content.read(BLOCK_BYTES):
        advance(len(block))
        yield block if decoder is None else decoder.decode(block).encode()
    if decoder is not None:
        yield decoder.decode(b"", final=True).encode()


def _byte_order_mark(content: BinaryIO) -> tuple[bytes, str]:
    head = content.read(4)
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return mark, encoding
    return b"", "utf-8"


def _is_text(content: BinaryIO, size: int, start: int, encoding: str) -> bool:
    """Whether windows spread over the file read as text: few NULs, control characters, broken bytes."""
    characters = junk = nuls = 0
    width = max(SAMPLE_WINDOW_BYTES, (size - start) // SAMPLE_WINDOWS // 4 * 4)
    for place in range(start, max(size, start + 1), width):
        content.seek(place)
        data = content.read(SAMPLE_WINDOW_BYTES)
        if encoding == "utf-8" and place > start:  # the window may begin inside a character
            data = data[:3].lstrip(_CONTINUATION) + data[3:]
        text = codecs.getincrementaldecoder(encoding)("replace").decode(data)
        characters += len(text)
        junk += len(_JUNK.findall(text))
        nuls += text.count("\x00")
    # Almost any bytes are some UTF-16: there, text has to be cleaner to count as such.
    allowed = MAX_JUNK if encoding == "utf-8" else MAX_NULS
    return junk <= allowed * characters and nuls <= MAX_NULS * characters


def _decode(data: bytes) -> tuple[str, bool]:
    """The text, and whether bytes of it were not UTF-8."""
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode(errors="replace"), True


def _too_long(max_bytes: int) -> str:
    return f"line over {max_bytes / (1 << 20):g} MiB"


def _listed(names: Iterable[Any]) -> str:
    names = [repr(name) for name in names]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
