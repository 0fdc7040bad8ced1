"""A hub of Hugging Face's kind on this machine: what its clients ask for, of repositories that are given as files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40
Repositories = Mapping[str, Mapping[str, bytes]]  # "datasets/me/rows" -> path -> content


@contextmanager
def hub(repositories: Repositories) -> Iterator[str]:
    """Serve `repositories`; the address, for HF_ENDPOINT."""

    class Handler(_Hub):
        known = repositories

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Hub(BaseHTTPRequestHandler):
    known: Repositories = {}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        api = path.removeprefix("api/")
        for name, files in self.known.items():
            if api != path and (rest := _below(api, name)) is not None:
                self._about(name, files, rest)
                return
            # Files of models stand at the top, those of data sets below `datasets`.
            if api == path and (rest := _below(path, name.removeprefix("models/"))) is not None:
                content = files.get(rest.removeprefix("resolve/").partition("/")[2])
                if content is not None:
                    self._file(content)
                    return
        there = any(_below(api if api != path else path, name) is not None for name in self.known)
        self._send(b"{}", 404, {"X-Error-Code": "EntryNotFound" if there else "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """What is known of certain paths."""
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        api = self.path.removeprefix("/api/")
        for name, files in self.known.items():
            if (rest := _below(api, name)) is not None and rest.startswith("paths-info/"):
                named = [path for path in files if path in asked]
                folders = sorted({path.rpartition("/")[0] for path in files if path.rpartition("/")[0] in asked} - {""})
                self._json([*(_entry(path, files) for path in named), *map(_folder, folders)])
                return
        self._send(b"{}", 404, {})

    def _about(self, name: str, files: Mapping[str, bytes], rest: str) -> None:
        if not rest.startswith("tree/"):
            siblings = [{"rfilename": path} for path in files]
            repository = name.partition("/")[2]
            self._json({"id": repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})
            return
        folder = rest.removeprefix("tree/").partition("/")[2]
        deep = "recursive=true" in self.path.lower()
        inside = [path for path in files if deep or path.rpartition("/")[0] == folder]
        inside = [path for path in inside if not folder or path.startswith(f"{folder}/")]
        below = sorted({path.partition("/")[0] for path in files if "/" in path}) if not folder else []
        self._json([*(_entry(path, files) for path in inside), *map(_folder, below)])

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _file(self, content: bytes) -> None:
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(content[first : last + 1], 206, headers)
        else:
            self._send(content, 200, headers)

    def _send(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _below(path: str, name: str) -> str | None:
    """What stands behind `name` in `path`; None if it is another's."""
    return path[len(name) + 1 :] if path == name or path.startswith(f"{name}/") else None


def _entry(path: str, files: Mapping[str, bytes]) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(files[path]), "oid": "b" * 40}


def _folder(path: str) -> dict[str, object]:
    return {"type": "directory", "path": path, "size": 0, "oid": "c" * 40}
