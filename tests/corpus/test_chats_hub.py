"""import-chat from a hub of Hugging Face's kind, which here stands on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.corpus.conftest import make_stage
from workbench import registry
from workbench.contract import Failed
from workbench.corpus.chats.conversations import read_conversations

COMMIT = "a" * 40
ROWS = [{"prompt": f"{n}?", "completion": f"{n}."} for n in range(50)]
FILES = {
    "README.md": b"# Rows\n",
    "data/train.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS),
    "data/test.jsonl": json.dumps({"prompt": "held", "completion": "out"}).encode(),
}


class Hub(BaseHTTPRequestHandler):
    """Serves the data set me/rows."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/me/rows/tree/"):
            folder = path.removeprefix("/api/datasets/me/rows/tree/").partition("/")[2]
            inside = [name for name in FILES if name.rpartition("/")[0] == folder]
            listed = [{"type": "file", "path": name, "size": len(FILES[name]), "oid": "b" * 40} for name in inside]
            self._json(
                listed if folder else [*listed, {"type": "directory", "path": "data", "size": 0, "oid": "c" * 40}]
            )
        elif path.startswith("/api/datasets/me/rows"):
            siblings = [{"rfilename": name} for name in FILES]
            self._json({"id": "me/rows", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})
        elif (name := path.removeprefix("/datasets/me/rows/resolve/").partition("/")[2]) in FILES:
            self._file(FILES[name])
        else:
            self._send(b'{"error": "Entry not found"}', 404, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _file(self, content: bytes) -> None:
        headers = {"ETag": '"x"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(content[first : last + 1], 206, headers)
        else:
            self._send(content, 200, headers)

    def _send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
@pytest.mark.parametrize("name", ["me/rows", "me/nothing"])
def test_rows_of_the_hub(hub, tmp_path, name):
    stage = make_stage(tmp_path, "import-chat", {"sources": [f"hf:{name}"]})
    job_file = stage.job.directory / "job.json"
    stage.job.write(job_file)
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    command = registry.engine("corpus").command(stage.job, job_file)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=Path("/"))
    if name == "me/rows":
        assert done.returncode == 0, done.stdout + done.stderr
        found = [tuple(turn["content"] for turn in row.messages) for row in read_conversations(stage.output)]
        assert found == [(row["prompt"], row["completion"]) for row in ROWS]  # and nothing of the split `test`
    else:
        assert done.returncode == 1
        assert isinstance(stage.events[-1], Failed)
        assert stage.events[-1].reason.startswith("The data set 'me/nothing' cannot be fetched: ")
