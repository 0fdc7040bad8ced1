"""Shards: what is written is what is read, over files, and a broken folder says so."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.corpus.shards import Shards, ShardWriter
from workbench.errors import WorkbenchError


def write(folder, documents, vocab_size=1000, shard_tokens=50):
    with ShardWriter(folder, vocab_size=vocab_size, shard_tokens=shard_tokens) as writer:
        for number, document in enumerate(documents):
            writer.extend(np.array(document, np.int64), np.array([len(document)]), np.array([number]))
        return writer.finish()


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, [range(30), range(30), range(5)])
    return tmp_path


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 99_999), max_size=40), min_size=1, max_size=30),
    shard_tokens=st.integers(1, 60),
    wide=st.booleans(),
    data=st.data(),
)
def test_round_trip(tmp_path_factory, documents, shard_tokens, wide, data):
    folder = tmp_path_factory.mktemp("shards")
    vocab_size = 100_000 if wide else 65_536
    documents = [[token % vocab_size for token in document] for document in documents]
    write(folder, documents, vocab_size, shard_tokens)

    shards = Shards(folder)

    assert shards.dtype == (np.uint32 if wide else np.uint16)
    flat = [token for document in documents for token in document]
    assert (shards.tokens, shards.documents, shards.vocab_size) == (len(flat), len(documents), vocab_size)
    assert shards.document_ends.dtype == np.uint64
    start = 0
    for document, end in zip(documents, shards.document_ends, strict=True):
        assert shards.read(start, end).tolist() == document
        start = end
    begin = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(begin, len(flat)))
    assert shards.read(begin, stop).tolist() == flat[begin:stop]


def test_layout_on_disk(folder):
    description = json.loads((folder / "shards.json").read_text())
    assert description == {
        "dtype": "uint16",
        "vocab_size": 1000,
        "tokens": 65,
        "documents": 3,
        "files": [
            {"name": "00000.ds", "tokens": 60, "documents": 2},
            {"name": "00001.ds", "tokens": 5, "documents": 1},
        ],
    }
    assert np.fromfile(folder / "00000.ds", "<u2").tolist() == [*range(30), *range(30)]
    assert np.fromfile(folder / "00000.ds.index", "<u8").tolist() == [30, 60]
    assert np.fromfile(folder / "00001.ds.index", "<u8").tolist() == [5]
    assert np.fromfile(folder / "00000.ds.keys", "<u8").tolist() == [0, 1]
    assert np.fromfile(folder / "00001.ds.keys", "<u8").tolist() == [2]


def test_reading_inside_a_file_copies_nothing(folder):
    shards = Shards(folder)
    assert isinstance(shards.read(3, 20), np.memmap)
    assert not shards.read(3, 20).flags.writeable
    assert shards.read(58, 63).tolist() == [28, 29, 0, 1, 2]


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (0, 66), (9, 8)])
def test_reading_outside(folder, start, stop):
    with pytest.raises(IndexError, match="of 65"):
        Shards(folder).read(start, stop)


@pytest.mark.parametrize("ids", [[1000], [-1], [70_000]])
def test_ids_outside_the_vocabulary(tmp_path, ids):
    with pytest.raises(ValueError, match="vocabulary of 1000"):
        write(tmp_path, [ids])
    assert not (tmp_path / "shards.json").exists()


def test_unfinished_folder(tmp_path):
    with ShardWriter(tmp_path, vocab_size=10, shard_tokens=10) as writer:
        writer.extend(np.arange(5), np.array([5]), np.array([0]))
    with pytest.raises(WorkbenchError, match=r"shards\.json: the file is missing"):
        Shards(tmp_path)


@pytest.mark.parametrize("name", ["00000.ds", "00000.ds.index", "00000.ds.keys", "00001.ds"])
def test_truncated_file(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(WorkbenchError, match=rf"{name}: it has \d+ bytes instead of \d+"):
        Shards(folder)


@pytest.mark.parametrize("name", ["00000.ds", "00000.ds.index", "00000.ds.keys", "00001.ds"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(WorkbenchError, match=f"{name}: the file is missing"):
        Shards(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"vocab_size": 9}', '{"vocab_size":9,"tokens":-1,"documents":0,"files":[]}',
     '{"vocab_size":9,"tokens":1,"documents":0,"files":[{"name":"../x","tokens":1,"documents":1}]}'],
)  # fmt: skip
def test_broken_description(folder, text):
    (folder / "shards.json").write_text(text)
    with pytest.raises(WorkbenchError, match="does not describe shards"):
        Shards(folder)


def test_sums_that_do_not_fit(folder):
    description = json.loads((folder / "shards.json").read_text())
    del description["files"][1]
    (folder / "shards.json").write_text(json.dumps(description))
    with pytest.raises(WorkbenchError, match="sums do not fit"):
        Shards(folder)


def test_index_that_runs_backwards(folder):
    np.array([70, 60], "<u8").tofile(folder / "00000.ds.index")
    with pytest.raises(WorkbenchError, match="run backwards"):
        Shards(folder)
