"""The import stage on real text and on every kind of bad input: a count or a sentence for each."""

import itertools
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.contract import Job
from workbench.corpus import documents
from workbench.corpus.normalise import normalise
from workbench.corpus.reading.pieces import LongLine, lines, pieces
from workbench.errors import WorkbenchError

MIB = 1 << 20


def texts(folder):
    return [text for batch in documents.iterate_documents(folder) for text in batch.column("text").to_pylist()]


def rejects(folder):
    table = pq.read_table(folder / "rejects.parquet")
    return [(row["source"], row["reason"], row["text"]) for row in table.to_pylist()]


@pytest.fixture
def folder(tmp_path):
    """A folder with one good file, for the bad ones to lie beside."""
    made = tmp_path / "texts"
    made.mkdir()
    (made / "good.txt").write_text("A good text.\n")
    return made


# ------------------------------------------------------------------ what is good


def test_python_docs(python_corpus):
    report = python_corpus.report
    # 3.1 MB in 745 documents on CPython 3.11; distributions leave parts of the library out.
    assert report["bytes"] > 1.5 * MIB
    assert report["documents"] > 300
    assert report["by_source"] == {"python-docs": report["documents"]}
    table = pa.Table.from_batches(documents.iterate_documents(python_corpus.output, ("text", "source")))
    by_source = dict(zip(table["source"].to_pylist(), table["text"].to_pylist(), strict=True))
    json_module = by_source["python-docs/json"]
    assert json_module.startswith("The module json\n\nJSON (JavaScript Object Notation)")
    assert "\n\ndumps(obj, *, skipkeys=False, ensure_ascii=True," in json_module
    assert 'The "if", "while" and "for" statements' in by_source["python-docs/topics/compound"]
    prose = sum(map(str.isalpha, json_module)) / len(json_module)
    assert prose > 0.6


def test_real_text(stage, shared_text):
    made = stage("import", sources=[str(shared_text / "*.txt")])
    assert made.report["documents"] == 4
    assert made.report["dropped"] == {}
    shakespeare = (shared_text / "tinyshakespeare.txt").read_text()
    kept = next(text for text in texts(made.output) if text.startswith("First Citizen"))
    assert kept == normalise(shakespeare)
    assert len(kept) > 0.999 * len(shakespeare)
    assert made.report["bytes"] == sum(len(text.encode()) for text in texts(made.output))


def test_all_kinds_of_files(stage, folder):
    (folder / "notes.md").write_text("# Notes\r\n\r\nwith   spaces  \r\n")
    (folder / "rows.jsonl").write_text('{"text": "row one", "id": 1}\n\n{"id": 2, "text": "r\\u00f6w two"}')
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden").write_text("hidden")
    pq.write_table(pa.table({"id": [1, 2], "text": ["cell one", "cell two"]}), folder / "cells.parquet")
    made = stage("import", sources=[str(folder)])
    assert texts(made.output) == [
        "cell one", "cell two", "A good text.", "# Notes\n\nwith   spaces", "row one", "röw two",
    ]  # fmt: skip
    shown = {key: made.report[key] for key in made.report if key not in ("funnel", "lengths", "by_language")}
    assert shown == {
        "documents": 6,
        "characters": 64,
        "bytes": 65,
        "files": 4,
        "dropped": {"not a kind that can be read": 1},
        "repaired": 0,
        "cut": 0,
        "by_source": {str(folder): 6},
    }
    assert made.warnings == []
    funnel = {step["step"]: step for step in made.report["funnel"]}
    read, normalised = funnel["read"], funnel["normalise"]
    assert (read["in"], read["kept"], read["reasons"]) == (7, 6, {"not a kind that can be read": 1})
    assert (normalised["kept"], normalised["changed"]) == (5, 1)  # a last line feed is no change
    told = "picture.png was not opened: its name says no kind that can be read."
    assert rejects(made.output) == [("picture.png", "not a kind that can be read", told)]


def test_another_text_field(stage, folder):
    (folder / "rows.jsonl").write_text('{"body": "from json"}\n')
    pq.write_table(pa.table({"body": ["from parquet"]}), folder / "cells.parquet")
    made = stage("import", sources=[str(folder / "*s.*")], text_field="body")
    assert texts(made.output) == ["from parquet", "from json"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a text", None, "b text"], pa.large_string()),
        pa.array(["a text", None, "b text"], pa.string_view()),
        pa.array(["a text", None, "b text"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_kinds_of_parquet_strings(stage, folder, column):
    pq.write_table(pa.table({"text": column}), folder / "cells.parquet")
    made = stage("import", sources=[str(folder / "cells.parquet")])
    assert texts(made.output) == ["a text", "b text"]
    assert rejects(made.output) == [("cells.parquet", "no 'text'", "")]


def test_duplicates_and_short_ones(stage, folder):
    for name, text in (("again", "A good\u00a0text."), ("same", "A good text.  \r\n\r\n"), ("short", "ab")):
        (folder / f"{name}.txt").write_text(text)
    made = stage("import", sources=[str(folder)], min_characters=3)
    assert texts(made.output) == ["A good\u00a0text.", "A good text."]
    assert made.report["dropped"] == {"duplicate": 1, "under 3 characters": 1}
    assert rejects(made.output) == [
        ("same.txt", "duplicate", "A good text."),
        ("short.txt", "under 3 characters", "ab"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_byte_order_marks(stage, tmp_path, encoding):
    text = "Grüße, 世界 😀\n" * 5000
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "marked.txt").write_bytes(mark + text.encode(encoding))
    made = stage("import", sources=[str(tmp_path / "marked.txt")])
    assert texts(made.output) == [text.strip()]
    assert made.report["repaired"] == 0


def test_same_corpus_from_another_place(stage, folder, tmp_path):
    (folder / "b.txt").write_text("b")
    copy = tmp_path / "a copy"
    copy.mkdir()
    for name in ("good.txt", "b.txt"):
        (copy / name).write_bytes((folder / name).read_bytes())
    one = stage("import", sources=[str(folder)])
    two = stage("import", sources=[str(copy / "good.txt"), str(copy / "b.txt")])
    name = "documents-00000.parquet"
    assert (one.output / name).read_bytes() == (two.output / name).read_bytes()
    for made in (one, two):
        (made.output / "artifact.json").write_text(json.dumps({"recipe": made.job.recipe}))
    assert list(itertools.islice(documents.sources_of(one.output), 2)) == ["", ""]
    assert list(documents.sources_of(two.output)) == ["b.txt", "good.txt"]


# ------------------------------------------------------------------ what is bad, beside what is good


def bad_jsonl(path):
    path.write_bytes(
        b'{"text": "one"}\n{"text": broken}\n{"text": 5}\n["text"]\n{"body": "x"}\n\n{"text": null}\n'
        b'{"text": "caf\xe9"}\n{"text": "\\ud800"}\n{"text": "cut of'
    )


def test_broken_lines_of_jsonl(stage, folder):
    bad_jsonl(folder / "rows.jsonl")
    made = stage("import", sources=[str(folder)])
    assert texts(made.output) == ["A good text.", "one", "caf\ufffd"]
    assert made.report["repaired"] == 1
    assert [(source, reason) for source, reason, _ in rejects(made.output)] == [
        ("rows.jsonl", "broken JSON"),
        ("rows.jsonl", "'text' is not text"),
        ("rows.jsonl", "no 'text'"),
        ("rows.jsonl", "no 'text'"),
        ("rows.jsonl", "'text' is not text"),
        ("rows.jsonl", "broken JSON"),
        ("rows.jsonl", "broken JSON"),
    ]
    assert made.report["dropped"] == {"broken JSON": 3, "'text' is not text": 2, "no 'text'": 2}


@pytest.mark.parametrize(
    ("content", "reason", "warning"),
    [
        (b"", "empty", None),
        (b" \n\t\r\n", "empty", None),
        (b"\xef\xbb\xbf", "empty", None),
        (random.Random(0).randbytes(300_000), "binary", "bad.txt is not text but binary data."),
        (b"\xff\xfe" + random.Random(0).randbytes(300_000), "binary", "bad.txt is not text but binary data."),
        (bytes(100_000), "binary", "bad.txt is not text but binary data."),
        (b"start of text\n" * 3000 + random.Random(0).randbytes(300_000), "binary", "not text but binary"),
    ],
    ids=["empty", "blank", "only a mark", "random", "random with a mark", "zeros", "text, then random"],
)
def test_files_that_are_no_text(stage, folder, content, reason, warning):
    (folder / "bad.txt").write_bytes(content)
    made = stage("import", sources=[str(folder)])
    assert texts(made.output) == ["A good text."]
    assert made.report["dropped"] == {reason: 1}
    assert rejects(made.output)[0][:2] == ("bad.txt", reason)
    assert [warning in message for message in made.warnings] == ([True] if warning else [])


def test_a_few_bad_bytes_are_repaired(stage, folder):
    (folder / "bad.txt").write_bytes(
        b"na\xefve caf\xe9\n" + b"and plenty of sound text after it, with \xe2\x82\xac\n" * 99 + b"a NUL \x00"
    )
    made = stage("import", sources=[str(folder)])
    bad, _ = texts(made.output)
    assert bad.startswith("na\ufffdve caf\ufffd\nand plenty of sound text after it, with €\nand")
    assert made.report["repaired"] == 1
    assert made.warnings == ["1 document had bytes that are not UTF-8; each became the character U+FFFD."]


def test_a_character_across_blocks_is_not_repaired(stage, tmp_path):
    text = "x" + "€" * 700_000  # 2.1 MB: some characters lie across the borders of the blocks that are read
    (tmp_path / "euros.txt").write_text(text)
    made = stage("import", sources=[str(tmp_path / "euros.txt")])
    assert texts(made.output) == [text]
    assert made.report["repaired"] == 0


@pytest.mark.parametrize("broken", ["head", "tail", "middle", "empty"])
def test_corrupt_parquet(stage, folder, broken):
    path = folder / "cells.parquet"
    pq.write_table(pa.table({"text": [f"cell {n} {random.Random(n).random()}" for n in range(20_000)]}), path)
    content = bytearray(path.read_bytes())
    match broken:
        case "head":
            content[:] = b"not Parquet at all"
        case "tail":
            del content[-100:]
        case "middle":
            content[1000 : len(content) // 2] = bytes(len(content) // 2 - 1000)
        case "empty":
            content.clear()
    path.write_bytes(content)
    made = stage("import", sources=[str(folder)])
    assert made.report["dropped"] == {"corrupt Parquet": 1}
    assert made.warnings[0].startswith("cells.parquet is not a sound Parquet file: ")
    assert texts(made.output)[-1] == "A good text."


def test_parquet_with_bytes_that_are_not_utf8(stage, folder):
    raw = pa.array([b"caf\xe9 au lait", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(pa.table({"text": text}), folder / "cells.parquet")
    made = stage("import", sources=[str(folder / "cells.parquet")])
    assert texts(made.output) == ["caf\ufffd au lait", "fine"]
    assert made.report["repaired"] == 1


def test_files_that_cannot_be_read(stage, folder):
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "memory.txt").symlink_to("/proc/self/mem")  # opens, and fails at the first read
    made = stage("import", sources=[str(folder)])
    assert texts(made.output) == ["A good text."]
    found = {source: excerpt for source, reason, excerpt in rejects(made.output) if reason == "unreadable"}
    assert found["loop.txt"] == "loop.txt cannot be read: Too many levels of symbolic links."
    if Path("/proc/self/mem").exists():
        assert found["memory.txt"] == "memory.txt cannot be read: Input/output error."


def test_many_bad_files_are_summed_up(stage, folder):
    for n in range(9):
        (folder / f"zeros-{n}.txt").write_bytes(bytes(100))
    made = stage("import", sources=[str(folder)])
    assert made.report["dropped"] == {"binary": 9}
    assert len(made.warnings) == 6
    assert made.warnings[-1] == "4 more files were left out; the rejects name them."
    for n in range(6, 9):
        (folder / f"zeros-{n}.txt").unlink()
    assert stage("import", sources=[str(folder)]).warnings[-1] == "1 more file was left out; the rejects name them."


# ------------------------------------------------------------------ nothing but what is bad


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"", r"The corpus would be empty: 1 file gave no document \(1 empty\)\."),
        ("a.txt", bytes(99), r"The corpus would be empty: a\.txt is not text but binary data\. What can be read: "),
        ("a.jsonl", b'{"body": "x", "id": 1}\n{"body": "y"}\n',
         r"No line of a\.jsonl has the key 'text'; the first has 'body', 'id'\. .*--text-field"),
        ("a.jsonl", b"[1]\n2\n", r"No line of a\.jsonl has the key 'text'; they are not JSON objects\."),
        ("a.jsonl", b"{\n{\n", r"1 file gave no document \(2 broken JSON\)\."),
        ("a.parquet", b"PAR1", r"The corpus would be empty: a\.parquet is not a sound Parquet file: "),
    ],
)  # fmt: skip
def test_an_empty_corpus_is_an_error(stage, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkbenchError) as raised:
        stage("import", sources=[str(tmp_path / name)])
    assert re.search(sentence, str(raised.value))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"body": ["x"], "id": [1]}), "a.parquet has no column 'text'; it has 'body', 'id'. Name the one"),
        (pa.table({"text": [1, 2]}), "The column 'text' of a.parquet holds int64, not text."),
        (pa.table({"text": pa.array([], pa.string())}), "1 file gave no document"),
    ],
    ids=["no column", "numbers", "no rows"],
)
def test_parquet_without_text(stage, tmp_path, table, sentence):
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(WorkbenchError) as raised:
        stage("import", sources=[str(tmp_path / "a.parquet")])
    assert sentence in str(raised.value)


def test_many_columns_are_not_all_named(stage, tmp_path):
    pq.write_table(pa.table({f"column_{n}": [n] for n in range(50)}), tmp_path / "a.parquet")
    with pytest.raises(WorkbenchError, match="'column_9' and 40 more"):
        stage("import", sources=[str(tmp_path / "a.parquet")])


def test_a_source_that_is_missing(stage, tmp_path):
    with pytest.raises(WorkbenchError, match="There is no file or folder"):
        stage("import", sources=[str(tmp_path / "nothing")])


# ------------------------------------------------------------------ long documents


def test_long_documents_are_cut_at_line_ends(stage, tmp_path):
    lines = [f"Line {n} of a long text, {random.Random(n).random()}." for n in range(80_000)]
    (tmp_path / "long.txt").write_text("\n".join(lines))
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": "\n".join(lines[::-1])}) + "\n")
    made = stage("import", sources=[str(tmp_path)], max_document_mib=1)
    pieces = texts(made.output)
    assert len(pieces) == 8
    assert made.report["cut"] == 6
    assert all(len(piece) <= MIB for piece in pieces)
    assert "\n".join(pieces) == "\n".join(lines[::-1] + lines)


def test_a_line_that_is_too_long_is_dropped(stage, tmp_path):
    long = "x" * (3 * MIB)
    (tmp_path / "a.txt").write_text(f"before\n{long}\nafter\nit")
    (tmp_path / "b.jsonl").write_text(
        json.dumps({"text": f"row\n{long}\nend"})
        + "\n"
        + json.dumps({"text": "next " + long * 2})
        + '\n{"text": "last"}'
    )
    made = stage("import", sources=[str(tmp_path)], max_document_mib=1)
    assert texts(made.output) == ["before", "after\nit", "row", "end", "last"]
    assert [(source, reason, excerpt[:9]) for source, reason, excerpt in rejects(made.output)] == [
        ("a.txt", "line over 1 MiB", "xxxxxxxxx"),
        ("b.jsonl", "line over 1 MiB", "xxxxxxxxx"),
        ("b.jsonl", "line over 4 MiB", '{"text": '),
    ]
    assert all(len(excerpt) == 1024 for _, _, excerpt in rejects(made.output))


@settings(max_examples=200, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"efghijk", b"\n\n", "ü".encode()]), max_size=60).map(b"".join),
    size=st.integers(1, 20),
    limit=st.integers(4, 12),
)
def test_pieces_and_lines_do_not_depend_on_blocks(data, size, limit):
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    found = list(pieces(blocks, limit))
    kept = [line for line in data.split(b"\n") if len(line) < limit]
    assert all(isinstance(piece, LongLine) or len(piece) <= limit for piece in found)
    text = b"".join(piece for piece in found if isinstance(piece, bytes))
    assert [line for line in text.split(b"\n") if line and len(line) < limit] == [line for line in kept if line]

    rows = list(lines(blocks, limit))
    expected = data.split(b"\n")[: None if not data.endswith(b"\n") and data else -1]
    assert [line if isinstance(line, bytes) else None for line in rows] == [
        line if len(line) <= limit else None for line in expected
    ]


def peak_memory(tmp_path, source, **recipe):
    """Bytes at the peak of an import in a process of its own, and its events."""
    for name in ("run", "out"):
        (tmp_path / name).mkdir()
    job = Job(
        run="r", stage="import", recipe={"stage": "import", "sources": [str(source)], **recipe}, inputs={},
        output=tmp_path / "out", directory=tmp_path / "run",
    )  # fmt: skip
    job.write(tmp_path / "run" / "job.json")
    program = (
        "import resource, runpy, sys; sys.argv = ['', sys.argv[1]]\n"
        "try: runpy.run_module('workbench.corpus', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run" / "job.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return int(result.stdout) * unit, (tmp_path / "run" / "events.jsonl").read_text()


def write_one_line(path, mebibytes):
    with open(path, "wb") as file:
        for _ in range(mebibytes):
            file.write(b"one line without an end " * (MIB // 24))
        file.write(b"\nthe last line\n")


def memory_of_one_line(tmp_path, mebibytes, limit):
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    write_one_line(tmp_path / "small" / "a.txt", 0)
    write_one_line(tmp_path / "large" / "a.txt", mebibytes)
    small, _ = peak_memory(tmp_path / "small", tmp_path / "small" / "a.txt", max_document_mib=limit)
    large, events = peak_memory(tmp_path / "large", tmp_path / "large" / "a.txt", max_document_mib=limit)
    assert f'"dropped": {{"line over {limit} MiB": 1}}' in events
    assert texts(tmp_path / "large" / "out") == ["the last line"]
    return large - small


def test_a_long_line_takes_little_memory(tmp_path):
    assert memory_of_one_line(tmp_path, 96, limit=1) < 24 * MIB


@pytest.mark.slow
def test_a_line_of_one_gibibyte(tmp_path):
    assert memory_of_one_line(tmp_path, 1024, limit=16) < 96 * MIB
