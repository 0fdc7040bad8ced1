"""WARC and WET files, written by hand and by fastwarc."""

import gzip
import io
import random

import pytest
import zstandard
from fastwarc.warc import WarcRecord, WarcRecordType

from tests.corpus.reading.reading import read_all
from workbench.corpus.reading import ReadOptions, read
from workbench.corpus.sources import expand


def record(kind, address, payload, http=None, headers=""):
    """One record; with `http` headers, the payload is a response's."""
    if http is not None:
        payload = b"HTTP/1.1 " + http.encode() + b"\r\n\r\n" + payload
    media = "application/http; msgtype=response" if http is not None else "text/plain"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Target-URI: {address}\r\n{headers}Content-Type: {media}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def crawl():
    html = "200 OK\r\nContent-Type: text/html"
    return [
        record("warcinfo", "", b"software: test"),
        record("request", "http://a.example/1", b"GET / HTTP/1.1\r\n\r\n"),
        record("response", "http://a.example/1", "<p>Grüße</p>".encode("latin-1"), html + "; charset=iso-8859-1"),
        record("response", "http://a.example/2", gzip.compress(b"<p>packed</p>"), html + "\r\nContent-Encoding: gzip"),
        record(
            "response",
            "http://a.example/3",
            b"6\r\n<p>in \r\n6\r\nchunks\r\n0\r\n\r\n",
            html + "\r\nTransfer-Encoding: chunked",
        ),
        record("response", "http://a.example/4", b"<p>gone</p>", html.replace("200 OK", "404 Not Found")),
        record("response", "http://a.example/5.png", b"\x89PNG", "200 OK\r\nContent-Type: image/png"),
        record("response", "http://a.example/6", bytes(300), html),
        record("response", "http://a.example/7", b"plain text\n", "200 OK\r\nContent-Type: text/plain"),
    ]


EXPECTED = [
    ("http://a.example/1", 2, "<p>Grüße</p>", "html"),
    ("http://a.example/2", 3, "<p>packed</p>", "html"),
    ("http://a.example/3", 4, "<p>in chunks", "html"),
    ("http://a.example/7", 8, "plain text\n", ""),
]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.warc", lambda record: record),
        ("a.warc.gz", gzip.compress),
        ("a.warc.zst", zstandard.compress),
    ],
)
def test_pages_of_a_crawl(tmp_path, name, pack):
    (tmp_path / name).write_bytes(b"".join(map(pack, crawl())))
    found = read_all(tmp_path / name)
    assert [(one.source, one.position, one.text, one.markup) for one in found.documents] == [
        (f"{name}:{address}", position, text, markup) for address, position, text, markup in EXPECTED
    ]
    assert found.reasons == [(f"{name}:http://a.example/6", "binary")]
    assert found.advanced == (tmp_path / name).stat().st_size


def test_a_crawl_in_an_archive(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.warc.gz", b"".join(map(gzip.compress, crawl())))
    found = read_all(tmp_path / "a.zip")
    assert [one.text for one in found.documents] == [text for _, _, text, _ in EXPECTED]
    assert found.sources[0] == "a.zip:b.warc.gz:http://a.example/1"


def test_text_of_wet_files_with_languages(tmp_path):
    language = "WARC-Identified-Content-Language: {}\r\n"
    records = [
        record("conversion", "http://a.example/1", "Ein Text über etwas.\n".encode(), headers=language.format("deu")),
        record("conversion", "http://a.example/2", b"Two languages.\n", headers=language.format("eng,deu")),
        record("conversion", "http://a.example/3", b"Unknown.\n"),
    ]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join(map(gzip.compress, records)))
    found = read_all(tmp_path)
    assert [(one.text, one.language) for one in found.documents] == [
        ("Ein Text über etwas.\n", "de"),
        ("Two languages.\n", None),
        ("Unknown.\n", None),
    ]


def test_records_of_fastwarc_itself(tmp_path):
    made = io.BytesIO()
    for number in range(3):
        one = WarcRecord()
        one.init_headers(WarcRecordType.conversion)
        one.headers["WARC-Target-URI"] = f"http://a.example/{number}"
        one.headers["Content-Type"] = "text/plain"
        one.set_bytes_content(f"Text {number}.".encode())
        one.write(made)
    (tmp_path / "a.wet").write_bytes(made.getvalue())
    assert read_all(tmp_path).texts == ["Text 0.", "Text 1.", "Text 2."]


def test_a_page_over_the_limit(tmp_path):
    html = "200 OK\r\nContent-Type: text/html"
    records = [
        record("response", f"http://a.example/{n}", b"<p>x</p>" * size, html) for n, size in enumerate((5000, 5))
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    found = read_all(tmp_path, max_document_bytes=1 << 14)
    assert found.texts == ["<p>x</p>" * 5]
    assert found.reasons == [("a.warc:http://a.example/0", "page over 0.015625 MiB")]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@pytest.mark.parametrize("damage", ["noise", "other", "empty"])
def test_broken_crawls(tmp_path, name, damage):
    pack = gzip.compress if name.endswith("gz") else bytes
    parts = list(map(pack, crawl()))
    content = {
        "noise": b"".join(parts[:4]) + random.Random(0).randbytes(5000) + b"".join(parts[4:]),
        "other": b"Some other text.\n" * 200,
        "empty": b"",
    }[damage]
    (tmp_path / name).write_bytes(content)
    found = read_all(tmp_path / name)
    assert [one.text for one in found.documents][:2] == [text for _, _, text, _ in EXPECTED][: 2 * (damage == "noise")]
    assert ("corrupt WARC" in {reason for _, reason in found.reasons}) or len(found.documents) == len(EXPECTED)


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_damage_anywhere_ends_in_a_reject(tmp_path, name):
    pack = gzip.compress if name.endswith("gz") else bytes
    content = b"".join(map(pack, crawl()))
    reasons = set()
    for seed in range(300):
        noise, damaged = random.Random(seed), bytearray(content)
        for _ in range(noise.choice([1, 5, 40])):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        (tmp_path / name).write_bytes(damaged)
        reasons.update(reason for _, reason in read_all(tmp_path / name).reasons)
    assert "corrupt WARC" in reasons


def test_a_stop_is_heard_inside_a_crawl(tmp_path):
    (tmp_path / "a.warc").write_bytes(b"".join(crawl()) * 3000)

    class Stopped(Exception):
        pass

    heard = []

    def advance(amount: int) -> None:
        heard.append(amount)
        if len(heard) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        list(read(expand([str(tmp_path)]), ReadOptions(), advance))
    assert sum(heard) < (tmp_path / "a.warc").stat().st_size
