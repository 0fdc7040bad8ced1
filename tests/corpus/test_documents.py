"""Documents on disk: all of them, in order, one by number, and a sentence where a file is broken."""

import contextlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.corpus import documents, sampling
from workbench.corpus.documents import CorpusWriter
from workbench.errors import WorkbenchError


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """100 documents over several files and row groups."""
    monkeypatch.setattr(documents, "ROW_GROUP_CHARACTERS", 500)
    monkeypatch.setattr(documents, "FILE_CHARACTERS", 3000)
    with CorpusWriter(tmp_path) as writer:
        for n in range(100):
            writer.add(f"Document {n}: {'é' * n}", f"source {n % 3}")
    return tmp_path


def test_files_and_groups(corpus):
    files = sorted(path.name for path in corpus.glob("*.parquet"))
    assert files == ["documents-00000.parquet", "documents-00001.parquet", "documents-00002.parquet"]
    first = pq.ParquetFile(corpus / files[0])
    assert first.num_row_groups > 3
    names = [("text", pa.string()), ("source", pa.string()), ("position", pa.int64())]
    assert first.schema_arrow == pa.schema([*names, ("language", pa.string()), ("licence", pa.string())])
    assert first.metadata.row_group(0).column(0).compression == "ZSTD"


def test_reading_all(corpus):
    assert documents.count_documents(corpus) == 100
    table = pa.Table.from_batches(documents.iterate_documents(corpus, ("source", "text")))
    assert table.column_names == ["source", "text"]
    assert table["text"].to_pylist() == [f"Document {n}: {'é' * n}" for n in range(100)]
    assert all(batch.schema.names == ["text"] for batch in documents.iterate_documents(corpus))


def test_size_from_the_footers(corpus, python_corpus):
    size = python_corpus.report["bytes"]
    assert abs(documents.text_bytes(python_corpus.output) - size) < 0.001 * size
    assert documents.text_bytes(corpus) > 0


@pytest.mark.parametrize("index", [0, 7, 50, 99])
def test_one_document(corpus, index):
    assert documents.document_at(corpus, index) == {
        "text": f"Document {index}: {'é' * index}",
        "source": f"source {index % 3}",
        "position": 0,
        "language": None,
        "licence": None,
    }


@pytest.mark.parametrize("index", [-1, 100])
def test_no_such_document(corpus, index):
    with pytest.raises(IndexError, match=f"document {index} of 100"):
        documents.document_at(corpus, index)


def test_no_corpus(tmp_path):
    with pytest.raises(WorkbenchError, match="has no documents"):
        list(documents.iterate_documents(tmp_path))


def test_broken_files(corpus):
    path = corpus / "documents-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(WorkbenchError, match=r"documents-00001\.parquet cannot be read: .*Import the corpus again"):
        documents.count_documents(corpus)
    path.write_bytes(whole[:100] + bytes(1000) + whole[1100:])
    with pytest.raises(WorkbenchError, match=r"documents-00001\.parquet cannot be read"):
        list(documents.iterate_documents(corpus))


def test_an_interrupted_writer_leaves_no_readable_file(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), CorpusWriter(tmp_path) as writer:
        writer.add("text", "source")
        raise KeyboardInterrupt
    with pytest.raises(WorkbenchError, match=r"documents-00000\.parquet cannot be read"):
        documents.count_documents(tmp_path)


def test_pieces_join_to_the_text():
    text = "".join(f"line {n}\n" for n in range(500)) + "x" * 300 + "\nend"
    pieces = list(sampling.pieces(text, 100))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) == 100
    assert sum(piece.endswith("\n") for piece in pieces) > 0.9 * len(pieces)


def test_a_sample_is_even_and_of_the_size_asked_for(python_corpus):
    total = python_corpus.report["bytes"]
    limit = total // 5
    passed = []
    drawn = list(sampling.draw(python_corpus.output, limit, piece_characters=2000, advance=passed.append))
    assert sum(passed) == total
    assert abs(sum(len(piece.encode()) for piece in drawn) - limit) < 4000
    everything = "".join(
        text for batch in documents.iterate_documents(python_corpus.output) for text in batch.column("text").to_pylist()
    )
    places, start = [], 0
    for piece in drawn:
        start = everything.index(piece, start)
        places.append(start / len(everything))
    for tenth in range(10):  # a fifth of each tenth
        share = sum(len(piece) for piece, place in zip(drawn, places, strict=True) if tenth <= place * 10 < tenth + 1)
        assert 0.15 < share / (len(everything) / 10) < 0.25


def test_a_sample_larger_than_the_corpus_is_the_corpus(corpus):
    drawn = list(sampling.draw(corpus, 1 << 30))
    assert drawn == [f"Document {n}: {'é' * n}" for n in range(100)]
