"""import-chat from a hub of Hugging Face's kind, which here stands on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.corpus.conftest import make_stage
from tests.hub import hub
from workbench import registry
from workbench.contract import Failed
from workbench.corpus.chats.conversations import read_conversations

ROWS = [{"prompt": f"{n}?", "completion": f"{n}."} for n in range(50)]
FILES = {
    "README.md": b"# Rows\n",
    "data/train.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS),
    "data/test.jsonl": json.dumps({"prompt": "held", "completion": "out"}).encode(),
}


@pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
@pytest.mark.parametrize("name", ["me/rows", "me/nothing"])
def test_rows_of_the_hub(tmp_path, name):
    stage = make_stage(tmp_path, "import-chat", {"sources": [f"hf:{name}"]})
    job_file = stage.job.directory / "job.json"
    stage.job.write(job_file)
    command = registry.engine("corpus").command(stage.job, job_file)
    with hub({"datasets/me/rows": FILES}) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=Path("/"))
    if name == "me/rows":
        assert done.returncode == 0, done.stdout + done.stderr
        found = [tuple(turn["content"] for turn in row.messages) for row in read_conversations(stage.output)]
        assert found == [(row["prompt"], row["completion"]) for row in ROWS]  # and nothing of the split `test`
    else:
        assert done.returncode == 1
        assert isinstance(stage.events[-1], Failed)
        assert stage.events[-1].reason.startswith("The data set 'me/nothing' cannot be fetched: ")
