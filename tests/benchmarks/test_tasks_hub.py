"""Benchmark data from a hub of Hugging Face's kind, which here stands on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import hub
from tests.benchmarks import hub_rows

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")

CARD = b"""---
configs:
- config_name: ARC-Easy
  data_files:
  - split: train
    path: ARC-Easy/train.jsonl
  - split: validation
    path: ARC-Easy/train.jsonl
  - split: test
    path: ARC-Easy/test.jsonl
---
"""
PROGRAM = """
import json, sys
from pathlib import Path
from workbench.benchmarks.panels import choices
from workbench.benchmarks.tasks import load_tasks
loaded = load_tasks(choices(["arc_easy"]), Path(sys.argv[1]))["arc_easy"]
loaded.task.build_all_requests()
print(json.dumps([len(loaded.task.eval_docs), loaded.data, loaded.task.instances[0].args[0]]))
"""


def rows(items: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def asked(root: Path, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", **environment}
    given.pop("HF_HOME", None)
    command = [sys.executable, "-c", PROGRAM, str(root)]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=120)


def test_a_task_is_fetched_once(tmp_path: Path) -> None:
    files = {"README.md": CARD, "ARC-Easy/test.jsonl": rows(hub_rows.ARC), "ARC-Easy/train.jsonl": rows(hub_rows.ARC)}
    with hub.hub({"datasets/allenai/ai2_arc": files}) as address:
        done = asked(tmp_path, address)
    assert done.returncode == 0, done.stderr
    number, data, prompt = json.loads(done.stdout.splitlines()[-1])
    assert (number, data) == (6, "")
    assert prompt == "Question: Which of these is number 0?\nAnswer:"
    again = asked(tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")  # the hub is gone
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (None, "Dataset 'allenai/ai2_arc' doesn't exist on the Hub"),
        (
            {"README.md": CARD, "ARC-Easy/test.jsonl": b"{", "ARC-Easy/train.jsonl": b"{"},
            "JSON parse error: Missing a name",
        ),
    ],
    ids=["none", "damaged"],
)
def test_data_that_the_hub_has_not_are_told(tmp_path: Path, files: dict[str, bytes] | None, reason: str) -> None:
    with hub.hub({"datasets/allenai/ai2_arc": files} if files else {}) as address:
        done = asked(tmp_path, address)
    assert done.returncode == 1
    assert f"The data of arc_easy cannot be fetched: {reason}" in done.stderr
