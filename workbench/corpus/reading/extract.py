"""Raw documents as text: pure, for as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.corpus.cleaning.step import Document
from workbench.corpus.reading.encodings import byte_order_mark, decode, find_encoding, fits
from workbench.corpus.reading.pieces import LongLine, pieces, too_long
from workbench.corpus.reading.raw import Extracted, Raw, Reject


def extract(raw: Raw, max_bytes: int) -> Iterator[Extracted | Reject]:
    """The text of a raw document; cut at line ends where it takes more than `max_bytes` of UTF-8.

    HTML is only decoded: the document's `markup` says so. What holds no text, or is broken, is rejected with
    the reason. Nothing is raised, whatever the content.
    """
    text, bad = _text(raw)
    markup = "html" if raw.kind == "html" else ""

    def document(text: str) -> Document:
        return Document(text, raw.source, raw.position, language=raw.language, licence=raw.licence, markup=markup)

    if len(text) * 4 <= max_bytes or len(encoded := text.encode("utf-8", "replace")) <= max_bytes:
        yield Extracted(document(text), raw.bad_bytes + bad, raw.cut)
        return
    cut = raw.cut
    for piece in pieces([encoded], max_bytes):
        if isinstance(piece, LongLine):
            yield Reject(raw.source, too_long(max_bytes), decode(piece.start)[0], raw.position, file=raw.file)
        else:
            yield Extracted(document(piece.decode()), raw.bad_bytes + bad, cut)
        bad, cut = 0, True


def _text(raw: Raw) -> tuple[str, int]:
    if isinstance(raw.content, str):
        return raw.content, 0
    mark, encoding = byte_order_mark(raw.content)
    if not encoding:
        encoding = raw.encoding if fits(raw.content, raw.encoding) else ""
        encoding = encoding or find_encoding(raw.content)
    return decode(raw.content[mark:], encoding)
