"""PDF, EPUB and notebooks: real files, written here."""

import json
import random
import signal
import zipfile

import pypdf
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from tests.corpus.reading.reading import read_all
from workbench.corpus.reading import Raw, extract
from workbench.corpus.reading import pdf as pdf_module

MIB = 1 << 20


def pdf(path, pages, password=None):
    """A PDF whose pages show lines of text in Helvetica."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
        }
    )
    reference = writer._add_object(font)
    for lines in pages:
        page = writer.add_blank_page(595, 842)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): reference})}
        )
        content = DecodedStreamObject()
        shown = b"".join(b"(" + line.encode("cp1252") + b") Tj 0 -16 Td\n" for line in lines)
        content.set_data(b"BT /F1 12 Tf 50 800 Td\n" + shown + b"ET")
        page[NameObject("/Contents")] = writer._add_object(content.flate_encode())
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)
    return path


PAGES = [["The first line of a page.", "Its second line, in a café."], [], ["The last page has one line."]]
PDF_TEXT = "The first line of a page.\nIts second line, in a café.\n\nThe last page has one line."


def test_pdf(tmp_path):
    found = read_all(pdf(tmp_path / "a.pdf", PAGES))
    assert found.texts == [PDF_TEXT]
    assert found.documents[0].markup == ""


def test_a_pdf_in_an_archive(tmp_path):
    pdf(tmp_path / "a.pdf", PAGES)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.pdf", "deep/a.pdf")
    found = read_all(tmp_path / "a.zip")
    assert found.texts == [PDF_TEXT]
    assert found.sources == ["a.zip:deep/a.pdf"]


def test_pdfs_that_hold_no_text(tmp_path):
    pdf(tmp_path / "scan.pdf", [[], [], ["7"]])
    pdf(tmp_path / "locked.pdf", PAGES, password="secret")
    pdf(tmp_path / "open.pdf", PAGES, password="")
    (tmp_path / "other.pdf").write_bytes(b"no PDF at all")
    (tmp_path / "empty.pdf").write_bytes(b"")
    found = read_all(tmp_path)
    assert found.texts == [PDF_TEXT]
    assert found.reasons == [
        ("empty.pdf", "broken PDF"),
        ("locked.pdf", "encrypted PDF"),
        ("other.pdf", "broken PDF"),
        ("scan.pdf", "PDF without text"),
    ]
    assert found.rejects[-1].excerpt == "3 pages with 1 character: this may be a scan."


def test_damaged_pdfs_never_raise(tmp_path):
    content = pdf(tmp_path / "a.pdf", PAGES * 4).read_bytes()
    outcomes = set()
    for seed in range(120):
        noise = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(noise.choice([1, 5, 40])):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        if seed % 3 == 0:
            del damaged[noise.randrange(len(damaged)) :]
        (tmp_path / "a.pdf").write_bytes(damaged)
        found = read_all(tmp_path / "a.pdf")
        assert len(found.documents) + len(found.rejects) == 1
        outcomes.update(reason for _, reason in found.reasons)
    assert outcomes <= {"broken PDF", "PDF without text", "encrypted PDF"}
    assert "broken PDF" in outcomes


def test_a_pdf_that_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf_module, "CPU_SECONDS", 0.3)
    pdf(tmp_path / "a.pdf", [["A line that is shown again and again."] * 200] * 300)
    before = signal.getsignal(signal.SIGVTALRM)
    found = read_all(tmp_path / "a.pdf")
    assert found.reasons == [("a.pdf", "PDF takes too long")]
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_damaged_books_never_raise(tmp_path):
    chapters = {f"{n}.xhtml": f"<h1>{n}</h1>" + "<p>A paragraph, with <b>bold</b> words.</p>" * 20 for n in range(5)}
    content = epub(tmp_path / "a.epub", chapters).read_bytes()
    outcomes = set()
    for seed in range(150):
        noise, damaged = random.Random(seed), bytearray(content)
        for _ in range(noise.choice([1, 5, 40])):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        (tmp_path / "a.epub").write_bytes(damaged)
        found = read_all(tmp_path / "a.epub")
        assert len(found.documents) + len(found.rejects) == 1
        outcomes.update(reason for _, reason in found.reasons)
    assert outcomes <= {"broken EPUB", "encrypted EPUB", "EPUB without text"}
    assert "broken EPUB" in outcomes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["cells", "worksheets", "source", "input", "cell_type", "metadata", "kernelspec", "language"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=JSON)
def test_any_json_is_a_notebook_or_none(value):
    raw = Raw(content=json.dumps(value).encode(), kind="notebook", source="a.ipynb", file=0)
    assert len(list(extract(raw, MIB))) == 1


OPF = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>A book</dc:title><dc:language>en-GB</dc:language><dc:rights>Public domain in the USA.</dc:rights></metadata>
<manifest>{items}</manifest><spine>{spine}</spine></package>"""
CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""


def epub(path, chapters, spine=None, **more):
    """A book of {name: the XHTML of a body}."""
    names = list(chapters)
    items = "".join(
        f'<item id="i{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(names)
    )
    listed = "".join(f'<itemref idref="i{n}"/>' for n in (spine if spine is not None else range(len(names))))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        book.writestr("META-INF/container.xml", CONTAINER)
        book.writestr("OEBPS/book.opf", OPF.format(items=items, spine=listed))
        for name, body in chapters.items():
            page = (
                '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
                f"<head><title/><script/></head><body>{body}</body></html>"
            )
            book.writestr(f"OEBPS/{name.replace('%20', ' ')}", page)
        for name, content in more.items():
            book.writestr(name.replace("__", "/").replace("_xml", ".xml"), content)
    return path


def test_epub(tmp_path):
    chapters = {
        "z.xhtml": "<h1>One</h1><p>The <i>first</i> chapter.</p><p>Its second paragraph.</p>",
        "text/a%20b.xhtml": "<h1>Two</h1><ul><li>an item</li><li>another</li></ul><style/><p>After it.</p>",
        "notes.xhtml": "<p>Not in the spine.</p>",
    }
    found = read_all(epub(tmp_path / "a.epub", chapters, spine=[0, 1]))
    assert found.rejects == []
    (book,) = found.documents
    assert book.text == (
        "One\n\nThe first chapter.\n\nIts second paragraph.\n\nTwo\n\n  an item\n  another\n\nAfter it."
    )
    assert (book.language, book.licence, book.markup) == ("en", "Public domain in the USA.", "")


def test_a_chapter_nested_10_000_deep(tmp_path):
    deep = "<div>" * 10_000 + "deep" + "</div>" * 10_000
    assert read_all(epub(tmp_path / "a.epub", {"a.xhtml": deep, "b.xhtml": "<p>next</p>"})).texts == ["deep\n\nnext"]


def test_epubs_that_hold_no_text(tmp_path):
    lock = '<encryption><EncryptedData><CipherReference URI="OEBPS/a.xhtml"/></EncryptedData></encryption>'
    epub(tmp_path / "empty.epub", {"a.xhtml": "<p> </p>"})
    epub(tmp_path / "locked.epub", {"a.xhtml": "<p>x</p>"}, META_INF="")
    with zipfile.ZipFile(tmp_path / "locked.epub", "a") as book:
        book.writestr("META-INF/encryption.xml", lock)
    (tmp_path / "other.epub").write_bytes(b"PK no zip")
    with zipfile.ZipFile(tmp_path / "plain.epub", "w") as book:
        book.writestr("a.xhtml", "<p>x</p>")
    with zipfile.ZipFile(tmp_path / "laughs.epub", "w") as book:
        entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
        book.writestr("META-INF/container.xml", f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a9;</x>')
    found = read_all(tmp_path)
    assert found.texts == []
    assert found.reasons == [
        ("empty.epub", "EPUB without text"),
        ("laughs.epub", "broken EPUB"),
        ("locked.epub", "encrypted EPUB"),
        ("other.epub", "broken EPUB"),
        ("plain.epub", "broken EPUB"),
    ]


def test_a_book_that_is_a_bomb(tmp_path, monkeypatch):
    from workbench.corpus.reading import epub as module

    monkeypatch.setattr(module, "MAX_EXPANDED_BYTES", MIB)
    found = read_all(epub(tmp_path / "a.epub", {"a.xhtml": "<p>ha</p>" * (MIB // 4)}))
    assert found.reasons == [("a.epub", "EPUB over 1 MiB")]


def test_a_long_book_is_cut(tmp_path):
    chapters = {f"{n}.xhtml": f"<p>Chapter {n}.</p>" + "<p>A paragraph of it.</p>" * 50 for n in range(20)}
    whole = read_all(epub(tmp_path / "a.epub", chapters)).texts[0]
    found = read_all(tmp_path / "a.epub", max_document_bytes=5000)
    assert "".join(found.texts) == whole
    assert max(map(len, found.texts)) <= 5000
    assert found.cut == len(found.texts) - 1 > 3


def test_notebooks(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Words."]},
        {"cell_type": "code", "source": "x = 1\nx", "outputs": [{"text": "1"}]},
        {"cell_type": "code", "source": []},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["print 1"]}]}], "nbformat": 3}
    (tmp_path / "b.ipynb").write_text(json.dumps(old))
    (tmp_path / "c.ipynb").write_text("{broken")
    (tmp_path / "d.ipynb").write_text(json.dumps({"cells": [], "metadata": None}))
    (tmp_path / "e.ipynb").write_text("[1]")
    found = read_all(tmp_path)
    assert found.texts == ["# Title\nWords.\n\n```python\nx = 1\nx\n```\n", "```python\nprint 1\n```\n"]
    assert found.reasons == [
        ("c.ipynb", "broken notebook"),
        ("d.ipynb", "notebook without text"),
        ("e.ipynb", "broken notebook"),
    ]
