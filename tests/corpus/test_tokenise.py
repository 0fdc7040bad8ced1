"""The shards stage in parts: the same bytes with any number of processes, and after any kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.corpus.conftest import Stage, make_stage
from workbench.contract import Finished, Progress
from workbench.corpus import documents, parts, tokenise
from workbench.corpus.documents import CorpusWriter
from workbench.corpus.encoding import ExactEncoder, FastEncoder, choose_encoder
from workbench.corpus.shards import Shards, document_key
from workbench.corpus.tokenizer import load_tokenizer

SMALL_PARTS = """
import sys
from pathlib import Path
from workbench.corpus import parts, tokenise
from workbench.corpus.engine import CorpusEngine
from workbench.reporting import run_engine
parts.PART_BYTES, tokenise.ALONE_BYTES = 1, 0
sys.exit(run_engine(CorpusEngine, Path(sys.argv[1])))
"""
"""The stage with a row group a part, instead of 16 MiB."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """3 MB in 15 row groups; every hundredth document is empty but for a word, one is long."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    before = documents.ROW_GROUP_CHARACTERS
    documents.ROW_GROUP_CHARACTERS = 1 << 17
    try:
        with CorpusWriter(folder) as writer:
            for number in range(1500):
                count = 200_000 if number == 700 else 1 if number % 100 == 0 else int(generator.integers(1, 500))
                words = generator.integers(97, 123, (count, 4)).astype(np.uint8)
                writer.add(" ".join(bytes(word).decode() for word in words), f"{number}.txt")
    finally:
        documents.ROW_GROUP_CHARACTERS = before
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sharded(root: Path, corpus: Path, tokenizer: Path, **recipe: int) -> Stage:
    values = {"corpus": "c", "tokenizer": "t", "shard_tokens": 400_000, **recipe}
    return make_stage(root, "shards", values, {"corpus": corpus, "tokenizer": tokenizer})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, corpus, python_tokenizer) -> dict[str, bytes]:
    stage = sharded(tmp_path_factory.mktemp("alone"), corpus, python_tokenizer.output, workers=1).run()
    shards = Shards(stage.output)
    assert stage.report["files"] == 4
    assert shards.documents == documents.count_documents(corpus) == 1500
    encode = ExactEncoder(load_tokenizer(python_tokenizer.output)).encode
    for number in (0, 699, 700, 1499):
        text = documents.document_at(corpus, number)["text"]
        begin, end = int(shards.document_ends[number - 1]) if number else 0, int(shards.document_ends[number])
        assert shards.read(begin, end).tolist() == [0, *encode([text])[0], 1]
        assert int(shards.document_keys[number]) == document_key(text.encode())
    return files(stage.output)


def start(stage: Stage) -> subprocess.Popen:
    job_file = stage.job.directory / "job.json"
    stage.job.write(job_file)
    return subprocess.Popen([sys.executable, "-c", SMALL_PARTS, str(job_file)], cwd="/")


def receipts(stage: Stage) -> int:
    return len(list((stage.job.directory / "work").glob("part-*.json")))


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, corpus, python_tokenizer, undisturbed, workers):
    stage = sharded(tmp_path, corpus, python_tokenizer.output, workers=workers)
    assert start(stage).wait(60) == 0
    assert files(stage.output) == undisturbed
    assert not (stage.job.directory / "work").exists()
    counted = [event for event in stage.events if isinstance(event, Progress) and event.phase == "tokenising"]
    assert counted[-1].done == pytest.approx(counted[-1].total, rel=0.001)


def test_a_killed_stage_goes_on_where_it_was(tmp_path, corpus, python_tokenizer, undisturbed):
    stage = sharded(tmp_path, corpus, python_tokenizer.output, workers=2)
    before = 0
    for _ in range(2):
        process = start(stage)
        while receipts(stage) < before + 2 and process.poll() is None:
            time.sleep(0.005)
        assert process.poll() is None, "it was over before it could be killed"
        children = psutil.Process(process.pid).children()
        assert len(children) >= 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        before = receipts(stage)
        (stage.job.directory / "work" / ".part-000007.1.tmp").write_bytes(b"half")
        if broken := sorted((stage.job.directory / "work").glob("part-000000")):
            broken[0].write_bytes(broken[0].read_bytes()[:-1])  # as after a power cut: done again
    kept = {path: os.stat(path).st_mtime_ns for path in (stage.job.directory / "work").glob("part-*.json")}
    assert 4 <= len(kept) < 15
    assert start(stage).wait(60) == 0
    assert isinstance(stage.events[-1], Finished)
    assert files(stage.output) == undisturbed


def test_parts_of_another_tokenizer_are_swept_away(tmp_path, corpus, python_tokenizer, undisturbed, monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    stage = sharded(tmp_path, corpus, python_tokenizer.output, workers=1)
    work = stage.job.directory / "work"
    work.mkdir()
    (work / tokenise.PLAN).write_text('{"corpus": "another", "tokenizer": "another", "encoder": "tiktoken"}')
    (work / "part-000000").write_bytes(b"\0" * 18)
    (work / "part-000000.json").write_text('{"documents": 1, "tokens": 1, "bytes": 1}')
    assert files(stage.run().output) == undisturbed


def test_what_tiktoken_cannot_do_the_tokenizer_does(python_tokenizer):
    text = " " * 1_500_000 + "x"
    encoder = choose_encoder(python_tokenizer.output, [])
    assert isinstance(encoder, FastEncoder)
    [ids] = encoder.encode([text])
    assert ids.tolist() == load_tokenizer(python_tokenizer.output).encode(text, add_special_tokens=False).ids
    with pytest.raises(BaseException, match="stack"):
        encoder._encoding.encode_to_numpy(text, disallowed_special=())


def test_added_tokens_that_are_not_special_are_tokens_in_documents_too(tmp_path, python_tokenizer):
    tokenizer = load_tokenizer(python_tokenizer.output)
    tokenizer.add_tokens(["zebra crossing"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = choose_encoder(tmp_path, ["nothing of the kind"])
    [ids] = encoder.encode(["a zebra crossing <|bos|>"])
    assert 2048 in ids.tolist()
    assert 0 not in ids.tolist()


def test_row_groups_are_the_corpus(corpus):
    groups = list(documents.row_groups(corpus))
    assert len(groups) == 15
    texts = [text for group in groups for text in documents.read_row_group(corpus, group).column("text").to_pylist()]
    assert sum(group.rows for group in groups) == len(texts) == 1500
    assert sum(group.bytes for group in groups) == pytest.approx(sum(map(len, texts)), rel=0.001)
    assert len(parts.parts_of(corpus)) == 1
