"""However long a line, a row or a member is, reading takes the memory of a few documents."""

import json
import subprocess
import sys
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MIB = 1 << 20
WORDS = b"one line without an end " * (MIB // 24)
PROGRAM = """
import json, resource, sys
from workbench.corpus.reading import Raw, ReadOptions, extract, read
from workbench.corpus.sources import expand
import orjson, pyarrow.parquet, charset_normalizer, csv
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
limit = int(sys.argv[2]) << 20
largest, count, reasons = 0, 0, []
for item in read(expand([sys.argv[1]]), ReadOptions(max_document_bytes=limit), lambda _: None):
    if isinstance(item, Raw):
        largest, count = max(largest, len(item.content)), count + 1
    else:
        reasons.append(item.reason)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"grown": after - before, "largest": largest, "count": count, "reasons": reasons[:5]}))
"""


def measure(path, limit):
    """Growth at the peak in bytes, the longest raw document in bytes, how many there were, and the first rejects."""
    command = [sys.executable, "-c", PROGRAM, str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return (
        found["grown"] * (1 if sys.platform == "darwin" else 1024),
        found["largest"],
        found["count"],
        found["reasons"],
    )


def write_line(path, mebibytes):
    """One line of that length, in the format that the name tells, and a short one after it."""
    start, end = {
        ".txt": (b"", b"\nthe last line\n"),
        ".jsonl": (b'{"text": "', b'"}\n{"text": "last"}\n'),
        ".csv": (b"text\nfirst\n", b"\nlast\n"),
        ".html": (b"<p>", b"</p>"),
    }[path.suffix]
    with open(path, "wb") as file:
        file.write(start)
        for _ in range(mebibytes):
            file.write(WORDS)
        file.write(end)
    return path


REASONS = {
    ".txt": "line over {} MiB",
    ".jsonl": "line over {} MiB",
    ".csv": "broken CSV",
    ".html": "HTML over {} MiB",
}


@pytest.mark.parametrize("suffix", REASONS)
@pytest.mark.parametrize("packed", [False, True], ids=["file", "tar"])
def test_a_long_line_takes_little_memory(tmp_path, suffix, packed):
    path = write_line(tmp_path / f"a{suffix}", 64)
    if packed:
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(path, path.name)
        path = tmp_path / "a.tar"
    grown, largest, count, reasons = measure(path, 1)
    assert grown < 24 * MIB
    assert largest <= MIB
    assert reasons == [REASONS[suffix].format(4 if suffix == ".jsonl" else 1)]
    assert count == (0 if suffix == ".html" else 1)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_table_of_long_rows_takes_little_memory(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    rows = [f"{n} " + "a line of words\n" * 60_000 for n in range(160)]
    table = pa.table({"text": rows})
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=160, use_dictionary=False)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    grown, largest, count, reasons = measure(path, 1)
    # Of Arrow, what is mapped counts while it is looked at; nothing has to hold it.
    assert grown < (96 if kind == "parquet" else 280) * MIB
    assert (largest, count, reasons) == (len(rows[-1]), 160, [])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_texts_that_are_stored_once_are_not_unfolded_at_once(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    text = "a line of words\n" * 60_000  # 0.92 MiB, 2,000 times
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array([text]))
    if kind == "parquet":
        pq.write_table(pa.table({"text": column}), path)
    else:
        table = pa.table({"text": column})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 2 * MIB
    grown, largest, count, reasons = measure(path, 1)
    assert (largest, count, reasons) == (len(text), 2000, [])
    assert grown < 160 * MIB  # unfolded, they take 1,831 MiB


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_line_of_two_gibibytes(tmp_path, suffix):
    grown, largest, count, reasons = measure(write_line(tmp_path / f"a{suffix}", 2048), 16)
    assert largest < 100
    assert grown < 160 * MIB
    assert count == 1
    assert reasons == [REASONS[suffix].format(64 if suffix == ".jsonl" else 16)]
