"""MB of text a CPU-second, in one process, of reading sources of each kind, and of extracting their text.

    python tests/speed/reading.py [FILE] [--mb 64]

FILE is a long text in UTF-8 (by default Python's own documentation, made into one); it is written as each kind in
documents of about 4 KB, and read back from the page cache. `read` is what the process does that reads for all
others, `extract` what any number of processes share. MB are of text: archives count what is in them.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from workbench.corpus.reading import Raw, ReadOptions, extract, read
from workbench.corpus.sources import expand, fingerprint

DOCUMENT_CHARACTERS = 4000


def texts(file: Path | None, megabytes: int) -> list[str]:
    if file is not None:
        content = file.read_text(encoding="utf-8")
    else:
        items = read(expand(["python-docs"]), ReadOptions(), lambda _: None)
        content = "".join(str(item.content) for item in items if isinstance(item, Raw))
    content *= megabytes * 1_000_000 // len(content) + 1
    content = content[: megabytes * 1_000_000]
    return [content[start : start + DOCUMENT_CHARACTERS] for start in range(0, len(content), DOCUMENT_CHARACTERS)]


def warc(documents: list[str], kind: str) -> bytes:
    made = io.BytesIO()
    for number, text in enumerate(documents):
        body = text.encode()
        media = "text/plain"
        if kind == "response":
            body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><p>" + body
            media = "application/http; msgtype=response"
        head = (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number:032d}>\r\n"
            f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: http://a.example/{number}\r\n"
            f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.write(gzip.compress(head.encode() + body + b"\r\n\r\n", 6))
    return made.getvalue()


def epubs(folder: Path, documents: list[str]) -> None:
    from xml.sax.saxutils import escape

    opf = '<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    container = '<container><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
    for number in range(0, len(documents), 100):
        chapters = documents[number : number + 100]
        items = "".join(
            f'<item id="i{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
        )
        spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(chapters)))
        with zipfile.ZipFile(folder / f"{number}.epub", "w", zipfile.ZIP_DEFLATED) as book:
            book.writestr("META-INF/container.xml", container)
            book.writestr("b.opf", opf.format(items=items, spine=spine))
            for n, text in enumerate(chapters):
                printable = "".join(c for c in text if c.isprintable() or c == "\n")
                paragraphs = "".join(f"<p>{escape(part)}</p>" for part in printable.split("\n\n"))
                book.writestr(f"{n}.xhtml", f"<html><body>{paragraphs}</body></html>")


def pdfs(folder: Path, documents: list[str]) -> None:
    import pypdf
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    for number in range(0, len(documents), 50):
        writer = pypdf.PdfWriter()
        names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
        font = writer._add_object(DictionaryObject({NameObject(k): NameObject(v) for k, v in names.items()}))
        for text in documents[number : number + 50]:
            page = writer.add_blank_page(595, 842)
            fonts = DictionaryObject({NameObject("/F1"): font})
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
            content = DecodedStreamObject()
            lines = (
                line.encode("cp1252", "ignore").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
                for line in text.split("\n")
            )
            content.set_data(
                b"BT /F1 9 Tf 50 800 Td\n" + b"".join(b"(%s) Tj 0 -9 Td\n" % line for line in lines) + b"ET"
            )
            page[NameObject("/Contents")] = writer._add_object(content.flate_encode())
        writer.write(folder / f"{number}.pdf")


def sources(root: Path, documents: list[str]) -> dict[str, Callable[[Path], None]]:
    """name -> what writes the documents into a folder."""
    whole = "".join(documents).encode()
    rows = [{"text": text, "language": "en"} for text in documents]

    def small(folder: Path, suffix: str, encoding: str = "utf-8") -> None:
        for number, text in enumerate(documents):
            (folder / f"{number:06d}{suffix}").write_bytes(text.encode(encoding, "replace"))

    def table(folder: Path) -> None:
        pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet", compression="zstd")

    def arrow(folder: Path) -> None:
        made = pa.Table.from_pylist(rows)
        with pa.OSFile(str(folder / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
            writer.write_table(made, max_chunksize=1000)

    def cells(folder: Path) -> None:
        with open(folder / "a.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "language"])
            writer.writeheader()
            writer.writerows(rows)

    def tar(folder: Path) -> None:
        with tarfile.open(folder / "a.tar", "w") as archive:
            for number, text in enumerate(documents):
                info = tarfile.TarInfo(f"{number}.txt")
                info.size = len(data := text.encode())
                archive.addfile(info, io.BytesIO(data))

    def packed(folder: Path) -> None:
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for number, text in enumerate(documents):
                archive.writestr(f"{number}.txt", text)

    lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    return {
        "txt, one file": lambda folder: (folder / "a.txt").write_bytes(whole) and None,
        "txt, 4 KB files": lambda folder: small(folder, ".txt"),
        "txt, 4 KB, UTF-16": lambda folder: small(folder, ".txt", "utf-16"),
        "py, 4 KB files": lambda folder: small(folder, ".py"),
        "html, 4 KB files": lambda folder: small(folder, ".html"),
        "jsonl": lambda folder: (folder / "a.jsonl").write_bytes(lines) and None,
        "jsonl.gz": lambda folder: (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines, 6)) and None,
        "jsonl.zst": lambda folder: (folder / "a.jsonl.zst").write_bytes(zstandard.compress(lines)) and None,
        "jsonl.xz": lambda folder: (folder / "a.jsonl.xz").write_bytes(lzma.compress(lines, preset=1)) and None,
        "jsonl.bz2": lambda folder: (folder / "a.jsonl.bz2").write_bytes(bz2.compress(lines)) and None,
        "csv": cells,
        "parquet": table,
        "arrow": arrow,
        "zip": packed,
        "tar": tar,
        "warc.gz": lambda folder: (folder / "a.warc.gz").write_bytes(warc(documents, "response")) and None,
        "wet.gz": lambda folder: (folder / "a.wet.gz").write_bytes(warc(documents, "conversion")) and None,
        "epub": lambda folder: epubs(folder, documents[:1500]),
        "pdf": lambda folder: pdfs(folder, documents[:200]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--mb", type=int, default=64)
    arguments = parser.parse_args()
    documents = texts(arguments.file, arguments.mb)
    print(f"{'':20}{'read':>10}{'extract':>10}{'hash':>10}   MB/s of text")
    for name, write in sources(Path(), documents).items():
        with tempfile.TemporaryDirectory() as place:
            write(Path(place))
            began = time.process_time()
            fingerprint([place])
            hashed = time.process_time() - began
            options = ReadOptions()
            reading, extracting, size = 0.0, 0.0, 0
            items = read(expand([place]), options, lambda _: None)
            while True:
                began = time.process_time()
                item = next(items, None)
                reading += time.process_time() - began
                if item is None:
                    break
                if isinstance(item, Raw):
                    began = time.process_time()
                    found = [one.document.text for one in extract(item, options.max_document_bytes)]  # type: ignore[union-attr]
                    extracting += time.process_time() - began
                    size += sum(map(len, found))
            figures = "".join(f"{size / 1e6 / max(seconds, 1e-9):10,.3g}" for seconds in (reading, extracting, hashed))
            print(f"{name:20}{figures}", flush=True)


if __name__ == "__main__":
    main()
