"""Raw documents as text: pure, for as many processes as there are cores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.corpus.cleaning.step import Document
from workbench.corpus.reading.encodings import WIDE, byte_order_mark, codec_of, decode, find_encoding, fits
from workbench.corpus.reading.languages import code_language
from workbench.corpus.reading.licences import licence_of_code, licence_of_page
from workbench.corpus.reading.pieces import LongLine, pieces, too_long
from workbench.corpus.reading.raw import Extracted, NoText, Raw, Reject

META_BYTES = 2048  # where a page has to name its encoding, says HTML: within the first 1024 bytes
_META = re.compile(rb"""<(?:meta|\?xml)\b[^>]{0,500}?(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_.:-]{2,40})""", re.I)


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    bad_bytes: int = 0
    language: str | None = None
    licence: str | None = None


def extract(raw: Raw, max_bytes: int) -> Iterator[Extracted | Reject]:
    """The text of a raw document; cut at line ends where it takes more than `max_bytes` of UTF-8.

    HTML is only decoded: the document's `markup` says so. What holds no text, or is broken, is rejected with
    the reason. Nothing is raised, whatever the content.
    """
    try:
        found = _extracted(raw)
    except NoText as problem:
        yield Reject(raw.source, problem.reason, problem.detail, raw.position, file=raw.file)
        return
    bad = raw.bad_bytes + found.bad_bytes
    markup = "html" if raw.kind == "html" else ""

    def document(text: str) -> Document:
        return Document(
            text,
            raw.source,
            raw.position,
            language=found.language or raw.language,
            licence=raw.licence or found.licence,
            markup=markup,
        )

    # No character takes more than 4 bytes. A page cannot be cut: what its own encoding took was within the limit.
    if markup or len(found.text) * 4 <= max_bytes or len(encoded := found.text.encode("utf-8", "replace")) <= max_bytes:
        yield Extracted(document(found.text), bad, raw.cut)
        return
    cut = raw.cut
    for piece in pieces([encoded], max_bytes):
        if isinstance(piece, LongLine):
            yield Reject(raw.source, too_long(max_bytes), decode(piece.start)[0], raw.position, file=raw.file)
        else:
            yield Extracted(document(piece.decode()), bad, cut)
        bad, cut = 0, True


def _extracted(raw: Raw) -> _Text:
    match raw.kind:
        case "pdf":
            from workbench.corpus.reading.pdf import pdf_text

            return _Text(pdf_text(_content(raw)))
        case "epub":
            from workbench.corpus.reading.epub import epub_text

            text, language, licence = epub_text(_content(raw))
            return _Text(text, language=language, licence=licence)
    text, bad = _decoded(raw)
    match raw.kind:
        case "notebook":
            from workbench.corpus.reading.notebook import notebook_text

            return _Text(notebook_text(text), bad, language="jupyter notebook")
        case "code":
            language = code_language(raw.language, text)
            return _Text(text, bad, language, licence=None if raw.cut else licence_of_code(text))
        case "html":
            return _Text(text, bad, licence=licence_of_page(text))
    return _Text(text, bad)


def _content(raw: Raw) -> bytes:
    return raw.content.encode() if isinstance(raw.content, str) else raw.content


def _decoded(raw: Raw) -> tuple[str, int]:
    """The text and how many of its bytes were bad."""
    if isinstance(raw.content, str):
        return raw.content, 0
    mark, encoding = byte_order_mark(raw.content)
    body = raw.content[mark:]
    if not encoding and (raw.encoding == "utf-8" or (raw.encoding in WIDE and fits(body, raw.encoding))):
        encoding = raw.encoding
    if not encoding:
        hint = raw.encoding or (_meta_encoding(body) if raw.kind == "html" else "")
        encoding = find_encoding(body, hint=hint)
    return decode(body, encoding)


def _meta_encoding(page: bytes) -> str:
    found = _META.search(page[:META_BYTES])
    return codec_of(found[1].decode("ascii")) if found else ""
