"""Text and source code: encodings, bad bytes, binary data, long lines, and what is found out about them."""

import codecs
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.corpus.reading.reading import read_all
from workbench.corpus.reading import Extracted, Raw, extract
from workbench.corpus.reading.encodings import bad_bytes, decode, find_encoding, is_text
from workbench.corpus.reading.licences import licence_of_code, licence_of_page

MIB = 1 << 20
FRENCH = "Le garçon naïf a mangé un gâteau à la crème brûlée, près de l'été. "
RUSSIAN = "Привет, мир! Это обычный русский текст о погоде и людях. "
SAMPLES = {
    "cp1252": FRENCH,
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń. ",
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "cp1253": "Καλημέρα κόσμε, αυτό είναι ένα ελληνικό κείμενο. ",
    "shift_jis": "これは日本語の文章です。今日は天気がいいですね。",
    "euc_jp": "これは日本語の文章です。今日は天気がいいですね。",
    "gb18030": "这是一个中文文本，今天天气很好，我们去公园玩。",
    "big5": "這是一個中文文本，今天天氣很好，我們去公園玩。",
    "euc_kr": "안녕하세요. 오늘은 날씨가 좋습니다. 우리는 공원에 갑니다. ",
    "utf-16-le": "Plain English text, and a few öther letters. ",
    "utf-16-be": "Plain English text, and a few öther letters. ",
}


def same(found: str, expected: str) -> bool:
    """Whether they are equal; pytest takes minutes to tell how two long texts differ."""
    return found == expected


@pytest.mark.parametrize("encoding", SAMPLES)
@pytest.mark.parametrize("size", ["whole", "in pieces"])
def test_encodings_are_found(tmp_path, encoding, size):
    text = (SAMPLES[encoding] + "\n") * (8 if size == "whole" else 2500)
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    found = read_all(tmp_path / "a.txt", max_document_bytes=MIB if size == "whole" else 64 << 10)
    assert same("".join(found.texts), text)
    assert found.bad_bytes == 0
    if size == "in pieces":
        assert len(found.texts) > 1
        assert found.cut == len(found.texts) - 1
        assert [document.position for document in found.documents] == list(range(len(found.texts)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("limit", [MIB, 8 << 10])
def test_byte_order_marks(tmp_path, encoding, limit):
    text = "Grüße, 世界 😀\n" * 2000
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    found = read_all(tmp_path / "a.txt", max_document_bytes=limit)
    assert "".join(found.texts) == text
    assert all(len(text.encode()) <= limit for text in found.texts)
    assert found.bad_bytes == 0


def test_a_text_that_grows_when_it_is_decoded_is_cut_again(tmp_path):
    text = "これは日本語の文章です。\n" * 400  # 2 bytes a character in UTF-16, 3 in UTF-8
    (tmp_path / "a.txt").write_bytes(text.encode("utf-16"))
    limit = len(text.encode("utf-16"))
    found = read_all(tmp_path / "a.txt", max_document_bytes=limit)
    assert "".join(found.texts) == text
    assert len(found.texts) == 2
    assert found.cut == 1


def test_bad_bytes_are_counted(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"na\xefve caf\xe9\n" + "and plenty of sound text, with €\n".encode() * 99 + b"\0")
    found = read_all(tmp_path / "a.txt")
    assert found.texts[0].startswith("na\ufffdve caf\ufffd\nand plenty of sound text, with €\n")
    assert found.bad_bytes == 2


def test_two_encodings_in_one_file(tmp_path):
    lines = [(FRENCH + "\n").encode("utf-8")] * 50 + [(FRENCH + "\n").encode("cp1252")] * 5
    (tmp_path / "a.txt").write_bytes(b"".join(lines))
    found = read_all(tmp_path / "a.txt")
    assert found.texts[0].startswith((FRENCH + "\n") * 50)
    assert found.bad_bytes == 5 * (len(FRENCH) - len(FRENCH.encode("ascii", "ignore")))


@pytest.mark.parametrize(
    "data",
    [
        bytes(100_000),
        random.Random(0).randbytes(300_000),
        b"\xff\xfe" + random.Random(0).randbytes(300_000),
        b"start of text\n" * 3000 + random.Random(0).randbytes(300_000),
        b"\x7fELF\x02\x01\x01" + bytes(40) + b"text" * 9,
    ],
    ids=["zeros", "noise", "noise with a mark", "text, then noise", "a program"],
)
@pytest.mark.parametrize("limit", [MIB, 32 << 10])
def test_binary_data_is_no_text(tmp_path, data, limit):
    (tmp_path / "a.txt").write_bytes(data)
    found = read_all(tmp_path / "a.txt", max_document_bytes=limit)
    assert found.reasons[-1:] == [("a.txt", "binary")]
    assert found.rejects[-1].remedy
    assert "".join(found.texts) in ("", "start of text\n" * 2340, "start of text\n" * 3000)


def test_few_nuls_are_kept_for_the_steps_to_see(tmp_path):
    (tmp_path / "a.txt").write_bytes((b"a text with one NUL \0 in it" + b", of some length" * 9 + b"\n") * 3)
    assert read_all(tmp_path / "a.txt").texts == [("a text with one NUL \0 in it" + ", of some length" * 9 + "\n") * 3]


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400))
@example(data=b"\xff\xfe\x00")
@example(data=b"\xef\xbb")
@example(data=b"\x00")
def test_any_bytes_are_decoded(data):
    for encoding in ("", "utf-8", "cp1252", "shift_jis", "utf-16-le"):
        raw = Raw(content=data, source="a", encoding=encoding, file=0)
        for item in extract(raw, 128):
            if isinstance(item, Extracted):
                assert len(item.document.text.encode()) <= 128
                assert item.bad_bytes >= 0
    find_encoding(data)
    is_text(data)
    assert 0 <= bad_bytes(data) <= len(data)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=300), limit=st.integers(8, 400))
def test_utf8_comes_through_as_it_is(text, limit):
    raw = Raw(content=text.encode(), source="a", file=0, encoding="utf-8")
    items = list(extract(raw, limit))
    mark = codecs.BOM_UTF8.decode()
    if all(isinstance(item, Extracted) for item in items):
        assert "".join(item.document.text for item in items) == text.removeprefix(mark)
    else:
        assert max(len(line.encode()) for line in text.split("\n")) >= limit
    assert decode(text.encode()) == (text, 0)


def test_source_code(tmp_path):
    files = {
        "a.py": (
            "# Copyright (c) 2024\n# SPDX-License-Identifier: Apache-2.0 OR MIT\nx = 1\n",
            "python",
            "Apache-2.0 OR MIT",
        ),
        "b.cc": ("int main() {}\n", "c++", None),
        "c.rs": ("// Permission is hereby granted, free\n// of charge, to any person\nfn main() {}\n", "rust", "MIT"),
        "Makefile": ("all:\n\techo\n", "makefile", None),
        "d.R": ("x <- 1\n", "r", None),
        "e.m": ("#import <UIKit/UIKit.h>\n@implementation A\n@end\n", "objective-c", None),
        "f.m": ("x = ones(3);\n", "matlab", None),
        "g.v": ("Lemma a : 1 = 1.\nProof. reflexivity. Qed.\n", "coq", None),
        "h.v": ("module a(input b);\nendmodule\n", "verilog", None),
    }
    for name, (text, _, _) in files.items():
        (tmp_path / name).write_text(text)
    found = {document.source: document for document in read_all(tmp_path).documents}
    assert {name: (one.text, one.language, one.licence) for name, one in found.items()} == files


@pytest.mark.parametrize(
    ("header", "licence"),
    [
        ("/* SPDX-License-Identifier: GPL-2.0-only */", "GPL-2.0-only"),
        (
            "<!-- SPDX-License-Identifier: (LGPL-2.1+ OR GPL-3.0) AND MIT -->",
            "(LGPL-2.1-or-later OR GPL-3.0-only) AND MIT",
        ),
        (
            "/* This program is free software; you can redistribute it and/or modify\n * it under the terms of the GNU "
            "General\n * Public License as published by the Free Software Foundation; either\n * version 2 of the "
            "License, or (at your option) any later version. */",
            "GPL-2.0-or-later",
        ),
        ("# under the terms of the GNU Lesser General Public License version 2.1 as published", "LGPL-2.1-only"),
        ("# GNU Affero General Public License, version 3", "AGPL-3.0-only"),
        ('// Licensed under the Apache License, Version 2.0 (the "License");', "Apache-2.0"),
        ("; Redistribution and use in source and binary forms, with or without\n; modification", "BSD-2-Clause"),
        (
            "% Redistribution and use in source and binary forms\n% Neither the name of the University",
            "BSD-3-Clause",
        ),
        ("# This file is part of x. See LICENSE for the licence.", None),
        ("# GNU General Public License", None),
        ("print('MIT')", None),
    ],
)
def test_licences_of_code(header, licence):
    assert licence_of_code(header + "\ncode\n") == licence


@pytest.mark.parametrize(
    ("page", "licence"),
    [
        ('<a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">', "CC-BY-SA-4.0"),
        ("<link href='http://creativecommons.org/publicdomain/zero/1.0/' rel=license>", "CC0-1.0"),
        ('<a href="https://creativecommons.org/licenses/by/3.0/">a photo</a>', None),
    ],
)
def test_licences_of_pages(page, licence):
    assert licence_of_page(f"<html>{page}</html>") == licence


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<html><head><meta charset=windows-1251></head><body>Привет</body>".encode("cp1251"), "Привет"),
        ('<?xml version="1.0" encoding="shift_jis"?><html>日本語</html>'.encode("shift_jis"), "日本語"),
        ("<html><meta charset=iso-8859-1>schön</html>".encode(), "schön"),
    ],
    ids=["meta", "xml", "wrong meta"],
)
def test_html_is_decoded_and_stays_markup(tmp_path, data, text):
    (tmp_path / "a.html").write_bytes(data)
    (found,) = read_all(tmp_path / "a.html").documents
    assert found.markup == "html"
    assert text in found.text


def test_deep_html_passes_through(tmp_path):
    page = "<div>" * 10_000 + "deep" + "</div>" * 10_000
    (tmp_path / "a.html").write_text(page)
    assert read_all(tmp_path / "a.html").texts == [page]


def test_a_page_that_is_too_long_is_left_out(tmp_path):
    (tmp_path / "a.html").write_text("<p>x</p>\n" * 1000)
    assert read_all(tmp_path / "a.html", max_document_bytes=5000).reasons == [("a.html", "HTML over 0.00476837 MiB")]
