"""The stages as processes: from files to shards, stopped, failing, and what they leave."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.corpus.conftest import Stage, make_stage
from workbench import registry
from workbench.contract import Acknowledged, Engine, Failed, Finished, Progress, Started, Stopped
from workbench.corpus import documents, tokenise
from workbench.corpus.documents import CorpusWriter
from workbench.corpus.encoding import ExactEncoder
from workbench.corpus.shards import Shards
from workbench.corpus.tokenizer import load_tokenizer
from workbench.errors import WorkbenchError


def start(stage: Stage) -> subprocess.Popen:
    job_file = stage.job.directory / "job.json"
    stage.job.write(job_file)
    command = registry.engine("corpus").command(stage.job, job_file)
    assert command[0] == sys.executable
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")


def run_process(stage: Stage) -> tuple[int, str]:
    process = start(stage)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def many_texts(folder: Path, count: int) -> None:
    folder.mkdir()
    for n in range(count):
        words = " ".join(f"{(n * k * 7919) % 100_003:x}" for k in range(1, 40_000))
        (folder / f"{n:04d}.txt").write_text(words)


def test_the_registry_finds_it():
    engine = registry.engine("corpus")
    assert isinstance(engine, Engine)
    capabilities = engine.capabilities()
    assert capabilities.available
    assert {"import", "tokenizer", "shards", "import-chat"} < set(capabilities.stages)
    with pytest.raises(WorkbenchError, match="runs no models"):
        engine.load(Path("model"))


def test_three_stages_in_processes(tmp_path):
    texts = tmp_path / "texts"
    many_texts(texts, 3)
    (texts / "injection.txt").write_text("A text with <|eos|> and <|im_start|>system inside.")
    imported = make_stage(tmp_path, "import", {"sources": [str(texts)]})
    (imported.output / "left-over.parquet").write_text("of an attempt before")
    inputs = {"corpus": imported.output}
    trained = make_stage(tmp_path, "tokenizer", {"corpus": "c", "vocab_size": 600}, inputs)
    inputs = {**inputs, "tokenizer": trained.output}
    recipe = {"corpus": "c", "tokenizer": "t", "shard_tokens": 100_000}
    sharded = make_stage(tmp_path, "shards", recipe, inputs)

    for made in (imported, trained, sharded):
        assert run_process(made) == (0, "")
        assert isinstance(made.events[0], Started)
        assert isinstance(made.events[-1], Finished)
        progress = [event for event in made.events if isinstance(event, Progress)]
        assert all(event.phase for event in progress)
        counted = [event for event in progress if event.total]
        assert counted[-1].done == pytest.approx(counted[-1].total, rel=0.001)

    assert not (imported.output / "left-over.parquet").exists()
    shards = Shards(sharded.output)
    report = sharded.report
    assert (shards.documents, shards.tokens, shards.vocab_size) == (4, report["tokens"], 600)
    assert report["files"] == 3
    assert report["dtype"] == "uint16"
    assert report["bytes"] == imported.report["bytes"]

    tokenizer = load_tokenizer(trained.output)
    begin = 0
    for index, end in enumerate(shards.document_ends.tolist()):
        ids = shards.read(begin, end).astype(int).tolist()
        text = documents.document_at(imported.output, index)["text"]
        assert ids == [0, *tokenizer.encode(text, add_special_tokens=False).ids, 1]
        assert min(ids[1:-1]) >= 13  # what looks like a special token in a text is none
        assert tokenizer.decode(ids[1:-1]) == text
        begin = end


def test_shards_without_the_fast_encoder_are_the_same(stage, python_corpus, python_tokenizer, monkeypatch):
    inputs = {"corpus": python_corpus.output, "tokenizer": python_tokenizer.output}
    one = stage("shards", inputs)
    monkeypatch.setattr(tokenise, "choose_encoder", lambda folder, sample: ExactEncoder(load_tokenizer(folder)))
    two = stage("shards", inputs)
    assert two.report["encoder"] == "tokenizers"
    assert (one.output / "00000.ds").read_bytes() == (two.output / "00000.ds").read_bytes()
    assert one.report["tokens"] > 500_000
    assert np.fromfile(one.output / "00000.ds", "<u2").max() < 2048


@pytest.mark.parametrize("name", ["import", "tokenizer", "shards"])
def test_a_stop_leaves_nothing_that_looks_finished(tmp_path, python_corpus, python_tokenizer, name):
    inputs = {"corpus": python_corpus.output, "tokenizer": python_tokenizer.output}
    recipe = {
        "import": {"sources": ["python-docs"]},
        "tokenizer": {"corpus": "c", "vocab_size": 2048},
        "shards": {"corpus": "c", "tokenizer": "t"},
    }[name]
    stage = make_stage(tmp_path, name, recipe, {} if name == "import" else inputs)
    (stage.job.directory / "control").mkdir()
    (stage.job.directory / "control" / "stop").touch()
    assert run_process(stage) == (0, "")
    assert [type(event) for event in stage.events if not isinstance(event, Progress)] == [
        Started,
        Acknowledged,
        Stopped,
    ]
    assert list(stage.output.iterdir()) == []


def test_a_stop_in_the_middle(tmp_path):
    with CorpusWriter(tmp_path) as writer:  # text that takes long to merge: nothing in it repeats
        generator = np.random.default_rng(0)
        for _ in range(40):
            letters = generator.integers(97, 123, 200_000).astype(np.uint8)
            letters[generator.integers(0, 200_000, 20_000)] = 32
            writer.add(letters.tobytes().decode(), "x")
    stage = make_stage(tmp_path, "tokenizer", {"corpus": "c", "vocab_size": 262_144}, {"corpus": tmp_path})
    process = start(stage)
    assert process.stdout is not None
    while not any(isinstance(event, Progress) and event.phase == "merging" for event in _events(stage)):
        assert process.poll() is None
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert isinstance(stage.events[-1], Stopped)
    assert list(stage.output.iterdir()) == []


def _events(stage: Stage) -> list:
    return stage.events if (stage.job.directory / "events.jsonl").exists() else []


@pytest.mark.parametrize(
    ("name", "recipe", "reason"),
    [
        ("import", {"sources": ["/no/such/file.txt"]}, "There is no file or folder '/no/such/file.txt'."),
        ("import", {"sources": []}, "sources is"),
        ("tokenizer", {"corpus": "c"}, "has no documents."),
        ("sft", {}, "The corpus engine has no stage 'sft'."),
    ],
)
def test_failures_are_sentences(tmp_path, name, recipe, reason):
    empty = tmp_path / "empty"
    empty.mkdir()
    stage = make_stage(tmp_path, name, recipe, {"corpus": empty})
    status, output = run_process(stage)
    assert status == 1
    assert reason in output  # in the log, without a traceback
    assert "Traceback" not in output
    failed = stage.events[-1]
    assert isinstance(failed, Failed)
    assert reason in failed.reason


def test_shards_need_bos_and_eos(stage, python_corpus, tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(WorkbenchError, match="names no token that begins or ends a document"):
        stage("shards", {"corpus": python_corpus.output, "tokenizer": tmp_path})


def test_shards_are_described(stage, python_corpus, python_tokenizer):
    made = stage("shards", {"corpus": python_corpus.output, "tokenizer": python_tokenizer.output}, shard_tokens=200_000)
    description = json.loads((made.output / "shards.json").read_text())
    assert len(description["files"]) == made.report["files"] > 3
    assert all(entry["tokens"] >= 200_000 for entry in description["files"][:-1])
    assert description["documents"] == python_corpus.report["documents"]
