"""A server on this machine that speaks OpenAI's chat completions, and answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, str]  # status, body


def completion(text: str, finish: str = "stop") -> Reply:
    return 200, json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}]})


class Server:
    """`answer` turns a request's JSON into a status and a body; None: the connection is cut."""

    def __init__(self, answer: Callable[[dict], Reply | None], port: int = 0):
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append({"path": self.path, **body})
                server.keys.append(self.headers.get("Authorization"))
                reply = answer(body)
                if reply is None:
                    self.close_connection = True
                    return
                status, text = reply
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", text)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self.address = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
