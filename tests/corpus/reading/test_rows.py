"""Rows of jsonl, CSV, Parquet and Arrow, with what belongs to them, and what a data set's folder holds."""

import csv
import json
import subprocess
import sys
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.corpus.reading.reading import read_all
from workbench.corpus.reading.languages import language_code
from workbench.corpus.sources import expand

MIB = 1 << 20
ROWS = [
    {"text": "Ein Text.", "language": "de", "license": "CC0-1.0"},
    {"text": "A text.", "language": "eng_Latn", "license": None},
    {"text": "Text", "language": None, "license": "MIT"},
]
EXPECTED = [("Ein Text.", "de", "CC0-1.0"), ("A text.", "en", None), ("Text", None, "MIT")]


def write(path, rows):
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".csv" | ".tsv":
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".arrow":
            table = pa.Table.from_pylist(rows)
            with pa.OSFile(str(path), "wb") as file:
                opened = pa.ipc.new_file if "file" in path.name else pa.ipc.new_stream
                with opened(file, table.schema) as writer:
                    writer.write_table(table)
    return path


NAMES = ["a.jsonl", "a.csv", "a.tsv", "a.parquet", "file.arrow", "stream.arrow"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_keep_what_belongs_to_them(tmp_path, name):
    path = write(tmp_path / name, ROWS)
    found = read_all(path)
    assert [(one.text, one.language or None, one.licence or None) for one in found.documents] == EXPECTED
    assert [(one.source, one.position) for one in found.documents] == [(name, n) for n in range(3)]
    assert found.advanced == path.stat().st_size


@pytest.mark.parametrize(
    ("stated", "code"),
    [("en", "en"), ("EN-gb", "en"), ("zho_Hans", "zh"), ("German", "de"), ("C++", "c++"), ("Python", "python"),
     ("tok", "tok"), (" ", None), ("", None), ("x" * 50, None)],
)  # fmt: skip
def test_languages_in_one_form(stated, code):
    assert language_code(stated) == code


@pytest.mark.parametrize("name", NAMES)
def test_another_field(tmp_path, name):
    write(tmp_path / name, [{"id": 1, "body": "the body"}])
    assert read_all(tmp_path / name, text_field="body").texts == ["the body"]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_is_missing_tells_those_that_are_there(tmp_path, name):
    write(tmp_path / name, [{"id": "1", "body": "x"}, {"id": "2", "body": "y"}])
    found = read_all(tmp_path / name)
    assert found.texts == []
    assert found.rejects[-1].excerpt.endswith("'id', 'body'.")
    assert "--text-field" in found.rejects[-1].remedy


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "file.arrow"])
def test_a_field_that_is_no_text(tmp_path, name):
    write(tmp_path / name, [{"text": 1}])
    assert read_all(tmp_path / name).reasons[0] == (name, "'text' is not text")


@pytest.mark.parametrize("name", NAMES)
def test_long_texts_of_rows_are_cut(tmp_path, name):
    lines = "".join(f"Line {n} of it, ü.\n" for n in range(1000))
    write(tmp_path / name, [{"text": "short"}, {"text": lines}, {"text": "x" * 10_001}, {"text": "last"}])
    found = read_all(tmp_path / name, max_document_bytes=10_000)
    assert "".join(found.texts).startswith("short" + lines)
    assert found.texts[-1] == "last"
    assert [(reject.reason, reject.position) for reject in found.rejects] == [("line over 0.00953674 MiB", 2)]
    assert found.cut == 1
    assert len(found.texts) == 4
    assert max(len(text.encode()) for text in found.texts) <= 10_000
    assert {document.position for document in found.documents} <= {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow"])
def test_strings_that_are_no_utf8(tmp_path, name):
    raw = pa.array([b"caf\xe9 au lait", b"fine"], pa.binary())
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), 2, raw.buffers())})
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.OSFile(str(tmp_path / name), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    found = read_all(tmp_path / name)
    assert found.texts == ["caf\ufffd au lait", "fine"]
    assert found.bad_bytes == 1


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_broken_tables(tmp_path, name, damage):
    path = write(tmp_path / name, [{"text": f"cell {n}"} for n in range(5000)])
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "other": b"other " * 99, "empty": b""}[damage])
    found = read_all(path)
    assert found.rejects[-1].reason in ("corrupt Parquet", "corrupt Arrow")
    assert found.rejects[-1].remedy


@pytest.mark.parametrize("name", ["file.arrow", "stream.arrow", "a.parquet"])
def test_damaged_tables_never_end_the_process(tmp_path, name):
    path = write(tmp_path / name, [{"text": f"cell {n}", "language": "en"} for n in range(300)])
    program = (
        "import sys; from tests.corpus.reading.reading import read_all; import random\n"
        "content = open(sys.argv[1], 'rb').read()\n"
        "for seed in range(200):\n"
        "    noise, damaged = random.Random(seed), bytearray(content)\n"
        "    for _ in range(3): damaged[noise.randrange(len(damaged))] = noise.randrange(256)\n"
        "    open(sys.argv[1], 'wb').write(damaged)\n"
        "    found = read_all(sys.argv[1])\n"
        "    assert found.rejects or len(found.texts) == 300\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr[-3000:]


def test_lines_of_json_that_are_broken(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text": "one"}\n{"text": broken}\n["text"]\n{"body": "x"}\n\n{"text": "caf\xe9"}\n{"text": "\\ud800"}\n'
        b'{"text": "\\u0000 NUL"}\n{"text": "cut of'
    )
    found = read_all(tmp_path / "a.jsonl")
    assert found.texts == ["one", "caf\ufffd", "\0 NUL"]
    assert found.bad_bytes == 1
    assert [(reject.reason, reject.position) for reject in found.rejects] == [
        ("broken JSON", 1),
        ("no 'text'", 2),
        ("no 'text'", 3),
        ("broken JSON", 6),
        ("broken JSON", 8),
    ]


def test_json_nested_deeper_than_any_stack(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two", "x": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    assert read_all(tmp_path / "a.jsonl").texts[0] == "one"


def test_csv_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        'id;text\r\n1;Grüße aus Köln, sehr schön.\r\n2;"zwei\r\nZeilen"\r\n'.encode("cp1252")
    )
    assert read_all(tmp_path / "a.csv").texts == ["Grüße aus Köln, sehr schön.", "zwei\r\nZeilen"]


def test_broken_csv(tmp_path):
    (tmp_path / "a.csv").write_text('text,id\none,1\ntwo,2,3\n\nthree\n"four"5,6\nfive,6\n')
    found = read_all(tmp_path / "a.csv")
    assert found.texts == ["one", "three"]
    assert found.reasons == [("a.csv", "more cells than columns"), ("a.csv", "broken CSV")]


def test_what_follows_a_quote_that_never_ends(tmp_path):
    (tmp_path / "a.csv").write_text('text\none\n"two\n' + "a line of it\n" * 100_000)
    found = read_all(tmp_path / "a.csv", max_document_bytes=1 << 15)
    assert found.texts == ["one"]
    assert found.reasons == [("a.csv", "broken CSV")]


@pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
def test_a_data_set_that_was_saved(tmp_path):
    import datasets

    rows = [{"text": f"row {n}"} for n in range(2500)]
    train, test = datasets.Dataset.from_list(rows), datasets.Dataset.from_list([{"text": "held out"}])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "both")
    test.save_to_disk(tmp_path / "one")
    found = expand([str(tmp_path / "both")])
    assert found.notes == ["Of the data set both only the split 'train' is read, not 'test'."]
    assert read_all(tmp_path / "both").texts == [row["text"] for row in rows]
    assert read_all(tmp_path).texts == [*(row["text"] for row in rows), "held out"]
    assert read_all(tmp_path / "one").sources == ["data-00000-of-00001.arrow"]


@pytest.mark.parametrize("limit", [{"max_rows": 3}, {"max_bytes": 21}])
def test_limits_are_for_each_source(tmp_path, limit):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.jsonl", [{"text": f"{folder}  {n}"} for n in range(2)])
        write(tmp_path / folder / "b.jsonl", [{"text": f"{folder}  {n}"} for n in range(2, 9)])
    found = read_all(tmp_path / "one", tmp_path / "two", **limit)
    assert sorted(found.texts) == ["one  0", "one  1", "one  2", "two  0", "two  1", "two  2"]
    sizes = sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl"))
    assert found.advanced == sizes


def test_the_same_stream_twice(tmp_path):
    for name in NAMES:
        write(tmp_path / name, ROWS * 50)
    one, two = read_all(tmp_path), read_all(tmp_path)
    assert [(d.source, d.position, d.text) for d in one.documents] == [
        (d.source, d.position, d.text) for d in two.documents
    ]
    assert len(one.texts) == 150 * len(NAMES)


def test_a_source_that_disappears_midway(tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.txt").write_text(f"text {n}")
    from workbench.corpus.reading import ReadOptions, Reject, read

    items = read(expand([str(tmp_path)]), ReadOptions(), lambda _: None)
    first = next(items)
    for n in (1, 2):
        (tmp_path / f"{n}.txt").unlink()
    (tmp_path / "2.txt").mkdir()
    rest = list(items)
    assert first.content == b"text 0"
    assert [(item.source, item.reason) for item in rest[:2]] == [("1.txt", "gone"), ("2.txt", "unreadable")]
    assert all(isinstance(item, Reject) and item.remedy for item in rest[:2])
    assert rest[2].content == b"text 3"
