"""Data sets of a hub of Hugging Face's kind, which here stands on this machine."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.hub import COMMIT, hub
from workbench.corpus.addresses import HubSource, hub_source

FILES = {
    "README.md": b"# Rows\n",
    "data/train.jsonl": b"".join(
        json.dumps({"prompt": f"{n}?", "completion": f"{n}."}).encode() + b"\n" for n in range(50)
    ),
    "data/test.jsonl": json.dumps({"prompt": "held", "completion": "out"}).encode(),
}
pytestmark = pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
PROGRAM = """
import json, sys
from pathlib import Path
from tests.corpus.reading.reading import read_all
source, scratch, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
found = read_all(source, scratch=scratch, **options)
print(json.dumps({"texts": found.texts, "sources": found.sources, "positions": [d.position for d in found.documents],
                  "rejects": [[r.source, r.reason, r.excerpt] for r in found.rejects]}))
"""


@pytest.fixture
def streamed(tmp_path):
    """`streamed("hf:me/rows#prompt", max_rows=3)` in a process that asks the hub on this machine."""
    with hub({"datasets/me/rows": FILES}) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}

        def run(source, **options):
            command = [sys.executable, "-c", PROGRAM, source, str(tmp_path), json.dumps(options)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])

        yield run


def test_rows_are_streamed_up_to_a_limit(streamed, tmp_path):
    found = streamed("hf:me/rows#prompt", max_rows=7)
    assert found["texts"] == [f"{n}?" for n in range(7)]
    assert found["sources"] == ["hf:me/rows"] * 7
    assert found["positions"] == list(range(7))
    (kept,) = tmp_path.glob("hub-*.json")
    assert json.loads(kept.read_text())["commit"] == COMMIT

    assert streamed("hf:me/rows@v1#completion", max_bytes=22)["texts"] == [f"{n}." for n in range(10)]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf:me/rows", "hf:me/rows has no column 'text'; it has 'prompt', 'completion'."),
        ("hf:me/nothing", "The data set 'me/nothing' cannot be fetched: "),
        ("hf:me/rows:de#prompt", "The data set 'me/rows' cannot be fetched: "),
    ],
)
def test_data_sets_that_give_nothing(streamed, source, sentence):
    found = streamed(source)
    assert found["texts"] == []
    ((_, reason, excerpt),) = found["rejects"]
    assert excerpt.startswith(sentence)
    assert reason in ("not fetched", "no 'text'")


def test_without_the_library(tmp_path):
    program = (
        "import sys; sys.modules['datasets'] = None\n"
        "from tests.corpus.reading.reading import read_all\n"
        "try: read_all('hf:me/rows')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "needs the library datasets" in done.stdout
    assert "pip install datasets" in done.stdout


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:org/name", ("org/name", None, None, None)),
        ("hf:name", ("name", None, None, None)),
        ("hf:org/name:en-de@refs/pr/1#my text", ("org/name", "en-de", "refs/pr/1", "my text")),
        ("hf:org/na.me_x@v1.0", ("org/na.me_x", None, "v1.0", None)),
    ],
)
def test_names_of_data_sets(text, parts):
    assert hub_source(text) == HubSource(**dict(zip(("name", "config", "revision", "column"), parts, strict=True)))
