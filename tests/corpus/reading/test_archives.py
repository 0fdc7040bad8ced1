"""Archives: what is in them is read, nothing leaves them, and none keeps a machine busy."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.corpus.reading.reading import read_all

MIB = 1 << 20
FILES = {
    "notes/a.txt": "A first text.\n",
    "notes/b.md": "# A second text\n",
    "code/tool.py": "# SPDX-License-Identifier: MIT\nprint(1)\n",
    "rows.jsonl": '{"text": "row one"}\n{"text": "row two"}\n',
}
TEXTS = ["A first text.\n", "# A second text\n", FILES["code/tool.py"], "row one", "row two"]


def write_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_bytes(files, mode="w"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


PACKINGS = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tgz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("packing", ["zip", *PACKINGS])
def test_members_are_read(tmp_path, packing):
    path = tmp_path / f"all.{packing}"
    if packing == "zip":
        write_zip(path, FILES)
    else:
        path.write_bytes(PACKINGS[packing](tar_bytes(FILES)))
    found = read_all(path)
    assert found.texts == TEXTS
    assert found.rejects == []
    name = path.name
    assert (
        found.sources
        == [f"{name}:notes/a.txt", f"{name}:notes/b.md", f"{name}:code/tool.py"] + [f"{name}:rows.jsonl"] * 2
    )
    assert [document.position for document in found.documents] == [0, 0, 0, 0, 1]
    assert [found.documents[2].language, found.documents[2].licence] == ["python", "MIT"]
    assert found.advanced == path.stat().st_size


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_compressed_files(tmp_path, suffix, pack):
    (tmp_path / f"rows.jsonl{suffix}").write_bytes(pack(b'{"text": "one"}\n') + pack(b'{"text": "two"}\n'))
    (tmp_path / f"text.txt{suffix}").write_bytes(pack("schön\n".encode()))
    (tmp_path / f"syslog.1{suffix}").write_bytes(pack(b"no kind that is read"))
    found = read_all(tmp_path)
    assert found.texts == ["one", "two", "schön\n"]
    assert found.sources == [f"rows.jsonl{suffix}", f"rows.jsonl{suffix}", f"text.txt{suffix}"]


def test_a_table_inside_an_archive(tmp_path):
    table = io.BytesIO()
    pq.write_table(pa.table({"text": [f"cell {n}" for n in range(5000)]}), table)
    write_zip(tmp_path / "a.zip", {"cells.parquet": table.getvalue()})
    found = read_all(tmp_path / "a.zip")
    assert found.texts == [f"cell {n}" for n in range(5000)]


def test_what_folders_hide_is_hidden_here_too(tmp_path):
    files = {".git/a.txt": "x", "__MACOSX/._a.txt": "x", "a.png": "x", "a.txt": "seen", ".b.txt": "x"}
    write_zip(tmp_path / "a.zip", files)
    (tmp_path / "b.tar").write_bytes(tar_bytes(files))
    found = read_all(tmp_path)
    assert found.texts == ["seen", "seen"]
    unknown = "not a kind that can be read"
    assert found.reasons == [("a.zip:a.png", unknown), ("b.tar:a.png", unknown)]


ESCAPES = ["../out.txt", "a/../../out.txt", "/etc/out.txt", "C:\\out.txt", "..\\out.txt", "\\out.txt"]


@pytest.mark.parametrize("packing", ["zip", "tar"])
def test_no_member_escapes(tmp_path, packing):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    files = {**dict.fromkeys(ESCAPES, "escaped"), "good.txt": "good"}
    path = folder / f"a.{packing}"
    if packing == "zip":
        write_zip(path, files)
    else:
        path.write_bytes(tar_bytes(files))
    found = read_all(path)
    assert found.texts == ["good"]
    assert {reason for _, reason in found.reasons} == {"path leaves the archive"}
    assert len(found.reasons) == len(ESCAPES)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [f"a.{packing}"]


def test_links_and_devices_are_no_texts(tmp_path):
    (tmp_path / "secret.txt").write_text("outside")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (
            ("link.txt", tarfile.SYMTYPE),
            ("hard.txt", tarfile.LNKTYPE),
            ("pipe.txt", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.txt")
            archive.addfile(info)
        info = tarfile.TarInfo("good.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"good"))
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret.txt"))
        archive.writestr("good.txt", "good")
    assert read_all(tmp_path / "a.tar", tmp_path / "b.zip").texts == ["good", "good"]


def test_archives_in_archives_one_level(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"a.txt": "inside"}).read_bytes()
    middle = write_zip(
        tmp_path / "middle.zip", {"inner.zip": inner, "b.txt.gz": gzip.compress(b"packed"), "c.txt": "c"}
    )
    outer = write_zip(
        tmp_path / "outer.zip", {"middle.zip": middle.read_bytes(), "d.tar.gz": gzip.compress(tar_bytes(FILES))}
    )
    assert read_all(middle).texts == ["inside", "packed", "c"]
    found = read_all(outer)
    assert found.texts == ["c", *TEXTS]
    assert found.sources[:2] == ["outer.zip:middle.zip:c.txt", "outer.zip:d.tar.gz:notes/a.txt"]
    assert found.reasons == [
        ("outer.zip:middle.zip:inner.zip", "archives nested too deep"),
        ("outer.zip:middle.zip:b.txt.gz", "archives nested too deep"),
    ]


LINE = b"a line of text that repeats itself without end\n"


def bomb(tmp_path, packing, line=LINE):
    """90 MiB of text in less than half a mebibyte."""
    text = line * (90 * MIB // len(line))
    files = {"a.txt": "before", "bomb.txt": text, "z.txt": "after"}
    path = tmp_path / f"a.{packing}"
    match packing:
        case "zip":
            write_zip(path, files, compresslevel=9)
        case "tar.xz":
            path.write_bytes(lzma.compress(tar_bytes(files), preset=1))
        case "txt.zst":
            path.write_bytes(zstandard.compress(text, 1))
    assert path.stat().st_size < MIB // 2
    return path


@pytest.mark.parametrize("line", [LINE, LINE[:-1]])  # without its end the whole bomb is one line, and too long
@pytest.mark.parametrize("packing", ["zip", "tar.xz", "txt.zst"])
def test_a_bomb_goes_off_nowhere(tmp_path, packing, line):
    path = bomb(tmp_path, packing, line)
    found = read_all(path, max_document_bytes=MIB)
    assert sum(map(len, found.texts)) < 66 * MIB
    assert [reason for _, reason in found.reasons] == ["zip bomb"]
    assert "grows to over 200 times its size" in found.rejects[0].excerpt
    assert found.rejects[0].remedy
    if packing != "txt.zst":
        assert found.texts[0] == "before"
        assert "after" not in found.texts


def test_a_bomb_in_an_archive_counts_for_the_outer_one(tmp_path):
    inner = bomb(tmp_path, "zip")
    outer = write_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()})
    found = read_all(outer, max_document_bytes=MIB, max_ratio=10_000, max_expanded_bytes=20 * MIB)
    assert sum(map(len, found.texts)) <= 20 * MIB
    assert {reason for _, reason in found.reasons} == {"zip bomb"}


def test_the_limit_on_all_that_is_in_an_archive(tmp_path):
    noise = random.Random(0)
    files = {f"{n}.txt": "".join(noise.choices("abcdefgh \n", k=MIB)) for n in range(6)}
    (tmp_path / "a.tar").write_bytes(tar_bytes(files))
    found = read_all(tmp_path / "a.tar", max_expanded_bytes=3 * MIB + 9999)
    assert found.texts == list(files.values())[: len(found.texts)]
    assert len(found.texts) in (2, 3)
    assert found.reasons == [("a.tar", "zip bomb")]
    assert "a.tar grows to over 0.002939 GiB when it is unpacked" in found.rejects[0].excerpt


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2", "tar.zst", "txt.gz"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "other"])
def test_broken_archives(tmp_path, packing, damage):
    noise = random.Random(1)
    files = {f"{n}.txt": "".join(noise.choices("abcdefgh \n", k=200_000)) for n in range(4)}
    path = tmp_path / f"a.{packing}"
    if packing == "zip":
        write_zip(path, files)
    elif packing == "txt.gz":
        path.write_bytes(gzip.compress(files["0.txt"].encode()))
    else:
        path.write_bytes(PACKINGS[packing](tar_bytes(files)))
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            del content[len(content) * 2 // 3 :]
        case "noise":
            middle = len(content) // 2
            if packing == "tar":
                middle = 512 + 200_192  # the second header
            content[middle : middle + 1000] = noise.randbytes(1000)
        case "empty":
            content.clear()
        case "other":
            content[:] = b"This is no archive at all.\n" * 99
    path.write_bytes(content)
    found = read_all(path)
    whole = list(files.values())
    if (packing, damage) == ("txt.gz", "empty"):
        assert found.texts == [""]  # to gzip, nothing is nothing packed
        return
    assert any(reject.remedy for reject in found.rejects), "damage goes unnoticed"
    assert {reason for _, reason in found.reasons} <= {"corrupt archive", "nothing to read", "binary"}
    if damage == "cut" and packing != "zip":
        assert found.texts[:2] == whole[:2] or packing in ("tar.bz2", "txt.gz")


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz", "tar.zst"])
def test_damage_anywhere_ends_in_a_reject(tmp_path, packing):
    path = tmp_path / f"a.{packing}"
    if packing == "zip":
        write_zip(path, FILES)
    else:
        path.write_bytes(PACKINGS[packing](tar_bytes(FILES)))
    content = path.read_bytes()
    reasons = set()
    for seed in range(300):
        noise, damaged = random.Random(seed), bytearray(content)
        for _ in range(noise.choice([1, 3, 20])):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        if seed % 4 == 0:
            del damaged[noise.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        reasons.update(reason for _, reason in read_all(path).reasons)
    assert "corrupt archive" in reasons


def test_encrypted_members(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.txt": "locked", "b.txt": "open"})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    found = read_all(path)
    assert found.texts == ["open"]
    assert found.reasons == [("a.zip:a.txt", "encrypted")]


def test_an_archive_without_texts(tmp_path):
    write_zip(tmp_path / "a.zip", {"a.png": "x"})
    found = read_all(tmp_path / "a.zip")
    assert found.reasons == [("a.zip:a.png", "not a kind that can be read"), ("a.zip", "nothing to read")]
    assert found.rejects[-1].excerpt == "The archive a.zip holds no file that can be read."


def test_names_that_are_no_utf8_or_carry_escapes(tmp_path):
    hostile = "\x1b]52;c;cm0=\x07.txt"
    (tmp_path / "a.tar").write_bytes(tar_bytes({hostile: "one"}))
    os.makedirs(os.fsencode(tmp_path) + b"/f\xff")
    with open(os.fsencode(tmp_path) + b"/f\xff/caf\xe9.txt", "wb") as file:
        file.write(b"two")
    found = read_all(tmp_path)
    assert found.sources == [f"a.tar:{hostile}", "f\ufffd/caf\ufffd.txt"]
    assert json.dumps(found.sources).isascii()  # and pyarrow takes them, too
    pa.array(found.sources)


def test_a_long_header_is_not_read_into_memory(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * MIB)
    found = read_all(tmp_path / "a.tar")
    assert found.reasons == [("a.tar", "corrupt archive")]
    assert "a header of 1099511627776 bytes" in found.rejects[0].excerpt
