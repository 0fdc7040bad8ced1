"""Whatever bytes lie in a file of whatever kind: they become documents or rejects, and nothing is raised."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpus.reading.reading import read_all

NAMES = [
    "a.txt", "a.py", "a.html", "a.ipynb", "a.pdf", "a.epub", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.arrow",
    "a.warc", "a.warc.gz", "a.zip", "a.tar", "a.tgz", "a.txt.gz", "a.txt.bz2", "a.txt.xz", "a.txt.zst",
]  # fmt: skip
PARTS = [
    b'{"text": "', b'"}\n', b"text\n", b"text,id\n", b'"', b",", b"\n", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\xe9", b"<p>", b"WARC/1.0\r\n", b"PK\x03\x04", b"%PDF-1.4\n", b"\x1f\x8b\x08\x00", b"BZh9", b"\xfd7zXZ\x00",
    b"(\xb5/\xfd", b"PAR1", b"ARROW1", b'{"cells": [', b"words of a text ", b"\x1b]52;c;cm0=\x07", b"<|endoftext|>",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.sampled_from(PARTS) | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_bytes(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    found = read_all(tmp_path / name, max_document_bytes=200)
    assert all(len(document.text.encode()) <= 200 or document.markup for document in found.documents)
    assert all(reject.excerpt is not None and reject.source.startswith("a.") for reject in found.rejects)
    assert found.advanced == len(data)
