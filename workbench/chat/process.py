"""A model in a process of its own, for who must not load one, freeze, or die with one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.contract import Message, Sampling, Score, Token, TokenProbability
from workbench.errors import WorkbenchError

CLOSE_SECONDS = 5

# OpenMP's threads spin while they wait for each other, which makes a model 3 to 7 times slower beside a training.
# A short spin (1,000 rounds are microseconds) bridges the pause between two operations: measured on 2 cores, 89
# tokens/s where none gives 67, and the same 32 beside two busy processes.
QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


def quiet_threads() -> None:
    """Have a model that this process will open not spin; to be called before its engine's libraries are imported."""
    for name, value in QUIET_THREADS.items():
        os.environ.setdefault(name, value)


class ModelFailed(WorkbenchError):
    """Nothing that the asker can mend: the model's process has ended, or its library failed."""


class ModelProcess:
    """Satisfies `contract.LanguageModel`; each call goes to `workbench.chat.serve` over pipes.

    Calls may come from several threads; they are answered one after another.
    """

    def __init__(self, engine: str, path: Path, *, log: Path | None = None, options: Mapping[str, Any] | None = None):
        """Start the process and wait until the model is loaded.

        `log` receives what the model's libraries print; a temporary file if not given. `options` go to
        `Engine.load`. Raises `WorkbenchError` if the model cannot be loaded.
        """
        self.path = path
        self._remove_log = log is None
        if log is None:
            descriptor, name = tempfile.mkstemp(prefix="workbench-chat-", suffix=".log")
            os.close(descriptor)
            log = Path(name)
        self.log = log
        command = [sys.executable, "-m", "workbench.chat.serve", engine, str(path), json.dumps(dict(options or {}))]
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env={**QUIET_THREADS, **os.environ},
                start_new_session=True,  # the terminal's Ctrl-C and hang-up are not for it; it ends with its input
            )
        self._answers: dict[int, Answer] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._closing = False
        first = self._answers[0] = Answer(self, 0)  # replies without an id are about the loading
        threading.Thread(target=self._read, daemon=True).start()
        try:
            ready = first.result()
        except BaseException:
            self.close()
            raise
        self.context_length: int = ready["context_length"]
        self.chat_template: str | None = ready["chat_template"]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return self._call("tokenize", text=text, special=special).result()

    def render(self, messages: Sequence[Message]) -> str:
        return self._call("render", messages=[dict(message) for message in messages]).result()

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> Answer:
        """As in the contract; the answer can also be iterated with `async for`, and stopped from any thread."""
        return self._call("generate", prompts=list(prompts), sampling=dataclasses.asdict(sampling))

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        return [Score(**plain) for plain in self._call("score", pairs=[list(pair) for pair in pairs]).result()]

    def probabilities(self, context: str, continuation: str, *, top: int = 5) -> list[TokenProbability]:
        found = self._call("probabilities", context=context, continuation=continuation, top=top).result()
        return [TokenProbability(**plain) for plain in found]

    def stop(self) -> None:
        """End the answers that are under way; their iterators end after the tokens that were drawn."""
        for answer in list(self._answers.values()):
            answer.stop()

    def close(self) -> None:
        """End the process."""
        self._closing = True
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._remove_log:
            self.log.unlink(missing_ok=True)

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, call: str, **arguments: Any) -> Answer:
        with self._lock:
            self._number += 1
            answer = self._answers[self._number] = Answer(self, self._number)
        self._send({"id": answer.number, "call": call, "arguments": arguments})
        return answer

    def _send(self, request: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            with self._lock:
                stdin.write(json.dumps(request) + "\n")
                stdin.flush()
        except (OSError, ValueError):  # the process is gone
            if self._process.poll() is not None or self._closing:
                self._fail_all()

    def _read(self) -> None:
        """On a thread: hand each reply to whom it answers, until the process ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            answer = self._answers.get(reply.get("id", 0))
            if answer is not None:
                answer.hear(reply)
                if "token" not in reply:
                    self._answers.pop(answer.number, None)
        self._process.wait()
        self._fail_all()

    def _fail_all(self) -> None:
        error = self._obituary()
        for answer in list(self._answers.values()):
            answer.hear({"error": error, "failed": True})
        self._answers.clear()

    def _obituary(self) -> dict[str, str]:
        """Why the process is gone, in one sentence."""
        status = self._process.poll()
        if self._closing:
            return {"what": "The model was closed.", "remedy": "Open it again."}
        if status is not None and status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = f"signal {-status}"
            meaning = _SIGNALS.get(name, "")
            how = f"by {name}{f' ({meaning})' if meaning else ''}"
        else:
            how = f"with status {status}"
        last = self._last_log_line()
        return {
            "what": f"The model's process ended {how}{f': {last}' if last else ''}.",
            "remedy": "Open the model again; if it happens again, export it in another quantization.",
        }

    def _last_log_line(self) -> str:
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "").rstrip(".")


_SIGNALS = {
    "SIGILL": "an instruction that this CPU lacks",
    "SIGSEGV": "a fault in its library",
    "SIGABRT": "its library gave up",
    "SIGBUS": "its file changed, or the disk failed",
    "SIGFPE": "an arithmetic fault",
    "SIGKILL": "killed, perhaps as memory ran out",
    "SIGTERM": "asked to end",
}


class Answer(Iterator[Token]):
    """The reply to one call: tokens to iterate, plainly or with `async for`, or one result."""

    def __init__(self, process: ModelProcess, number: int):
        self.number = number
        self._process = process
        self._replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._over = False

    def hear(self, reply: dict[str, Any]) -> None:
        self._replies.put(reply)

    def stop(self) -> None:
        """Ask the model to stop; it does after the token that it is drawing."""
        if not self._over:
            self._process._send({"stop": self.number})

    def close(self) -> None:
        """Stop, and wait until the model has."""
        self.stop()
        with contextlib.suppress(WorkbenchError):
            for _ in self:
                pass

    def result(self) -> Any:
        """The one result; raises `WorkbenchError` if the call failed."""
        return self._value(self._replies.get())

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> Token:
        if self._over:
            raise StopIteration
        token = self._token(self._replies.get())
        if token is None:
            raise StopIteration
        return token

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Token:
        if self._over:
            raise StopAsyncIteration
        try:
            reply = self._replies.get_nowait()
        except queue.Empty:
            try:
                reply = await asyncio.to_thread(self._replies.get)
            except asyncio.CancelledError:
                self.stop()  # who listened is gone; the thread that waits is released by the reply to this
                raise
        token = self._token(reply)
        if token is None:
            raise StopAsyncIteration
        return token

    def _token(self, reply: dict[str, Any]) -> Token | None:
        if "token" in reply:
            text, number, prompt, finish = reply["token"]
            return Token(text=text, id=number, prompt=prompt, finish=finish)
        self._over = True
        if "error" in reply:
            raise _error(reply)
        return None

    def _value(self, reply: dict[str, Any]) -> Any:
        self._over = True
        if "error" in reply:
            raise _error(reply)
        return reply["result"] if "result" in reply else reply["ready"]


def _error(reply: dict[str, Any]) -> WorkbenchError:
    kind = ModelFailed if reply.get("failed") else WorkbenchError
    return kind(**reply["error"])
