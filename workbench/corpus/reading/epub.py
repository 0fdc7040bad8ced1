"""Text of EPUB books: a zip of XHTML chapters, in the order of the package's spine (EPUB 3.3, sections 4 and 5)."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree

from workbench.corpus.reading.encodings import byte_order_mark, decode, find_encoding
from workbench.corpus.reading.languages import language_code
from workbench.corpus.reading.raw import NoText

MAX_EXPANDED_BYTES = 64 << 20  # of the chapters together; the longest novels take 5 MiB
CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
XHTML = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
# To an HTML parser, an element of these kinds that XML closes within its tag goes on to the end of the file.
_CLOSED_IN_TAG = re.compile(r"<(script|style|title|textarea|iframe|noscript|div|span|a|p)\b([^<>]*)/>", re.IGNORECASE)


def epub_text(data: bytes) -> tuple[str, str | None, str | None]:
    """(text, language, rights as the book states them). Raises `NoText`."""
    from resiliparse.extract.html2text import extract_plain_text

    chapters = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            files = _Files(book)
            package, folder = files.package()
            language, rights = _stated(package, "language"), _stated(package, "rights")
            locked = files.locked()
            for name in _spine(package, folder):
                if name in locked:
                    raise NoText("encrypted EPUB", f"{name} is encrypted.")
                markup = files.markup(name)
                text = extract_plain_text(markup, preserve_formatting=True, main_content=False, list_bullets=False)
                chapters.append(text.strip())
    except (zipfile.BadZipFile, zlib.error, ElementTree.ParseError, EOFError) as error:
        raise NoText("broken EPUB", str(error)) from None
    except (KeyError, RuntimeError, OSError, ValueError) as error:
        raise NoText("broken EPUB", f"{type(error).__name__}: {error}") from None
    text = "\n\n".join(chapter for chapter in chapters if chapter)
    if not text:
        raise NoText("EPUB without text", f"{len(chapters)} chapters hold no text.")
    return text, language_code(language), rights[:100] or None


class _Files:
    """The members of a book, as long as they stay within the limit."""

    def __init__(self, book: zipfile.ZipFile):
        self._book = book
        self._left = MAX_EXPANDED_BYTES

    def read(self, name: str) -> bytes:
        with self._book.open(name) as member:
            data = member.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise NoText(f"EPUB over {MAX_EXPANDED_BYTES >> 20} MiB", f"{name} takes it beyond that.")
        return data

    def package(self) -> tuple[ElementTree.Element, str]:
        """The package document, and the folder that its names start at."""
        container = ElementTree.fromstring(self.read(CONTAINER))
        path = next((_path("", root.get("full-path", "")) for root in _named(container, "rootfile")), "")
        return ElementTree.fromstring(self.read(path)), posixpath.dirname(path)

    def locked(self) -> set[str]:
        """The names of encrypted members."""
        if ENCRYPTION not in self._book.namelist():
            return set()
        listed = ElementTree.fromstring(self.read(ENCRYPTION))
        return {_path("", found.get("URI", "")) for found in _named(listed, "CipherReference")}

    def markup(self, name: str) -> str:
        data = self.read(name)
        mark, encoding = byte_order_mark(data)
        text, _ = decode(data[mark:], encoding or find_encoding(data[mark:]))
        return _CLOSED_IN_TAG.sub(r"<\1\2></\1>", text)


def _spine(package: ElementTree.Element, folder: str) -> Iterator[str]:
    """The names of the chapters in reading order, each once; notes and the like, which are not linear, stay out."""
    listed = {
        item.get("id"): _path(folder, item.get("href", ""))
        for item in _named(package, "item")
        if item.get("media-type") in XHTML and "nav" not in item.get("properties", "").split()
    }
    chosen = [ref.get("idref") for ref in _named(package, "itemref") if ref.get("linear") != "no"]
    yield from dict.fromkeys(listed[name] for name in chosen if name in listed)


def _path(folder: str, reference: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(reference.partition("#")[0])))


def _named(tree: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Elements by name, in whatever namespace."""
    return (element for element in tree.iter() if element.tag.rpartition("}")[2] == name)


def _stated(package: ElementTree.Element, name: str) -> str:
    return next((" ".join(found.text.split()) for found in _named(package, name) if found.text), "")
