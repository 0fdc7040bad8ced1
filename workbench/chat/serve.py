"""`python -m workbench.chat.serve ENGINE PATH`: a model in a process of its own, spoken to in JSON lines.

In: `{"id": 1, "call": "generate", "arguments": {…}}` and `{"stop": 1}`. Out: `{"ready": {…}}` first, then
lines with the call's `id` and one of `token`, `result`, `error`, `end`. The end of standard input ends the
process, whatever it is doing: a model never outlives who started it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from workbench import registry
from workbench.contract import LanguageModel, Sampling, TellsProbabilities
from workbench.errors import WorkbenchError


class Server:
    """Answers calls in the order they come; a stop is heard while a call is being answered."""

    def __init__(self, requests: TextIO, replies: TextIO):
        self._requests = requests
        self._replies = replies
        self._calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stopped: set[int] = set()

    def serve(self, engine: str, path: Path, options: Mapping[str, Any]) -> None:
        """Load the model and answer until standard input ends."""
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            model = registry.engine(engine).load(path, **options)
        except Exception as error:
            self._say(explain(error))
            return
        self._say({"ready": {"context_length": model.context_length, "chat_template": model.chat_template}})
        while True:
            call = self._calls.get()
            try:
                self._answer(model, call)
            except Exception as error:
                self._say({"id": call["id"], **explain(error)})

    def _answer(self, model: LanguageModel, call: dict[str, Any]) -> None:
        number, arguments = call["id"], call["arguments"]
        match call["call"]:
            case "generate":
                self._generate(model, number, arguments)
            case "render":
                self._say({"id": number, "result": model.render(arguments["messages"])})
            case "tokenize":
                self._say({"id": number, "result": model.tokenize(arguments["text"], special=arguments["special"])})
            case "score":
                pairs = [(before, after) for before, after in arguments["pairs"]]
                self._say({"id": number, "result": [dataclasses.asdict(score) for score in model.score(pairs)]})
            case "probabilities":
                if not isinstance(model, TellsProbabilities):
                    raise WorkbenchError("This model's engine does not say how likely tokens were.", "")
                self._say(
                    {"id": number, "result": [dataclasses.asdict(item) for item in model.probabilities(**arguments)]}
                )

    def _generate(self, model: LanguageModel, number: int, arguments: dict[str, Any]) -> None:
        sampling = arguments["sampling"]
        tokens = model.generate(arguments["prompts"], Sampling(**{**sampling, "stop": tuple(sampling["stop"])}))
        for token in tokens:
            if number in self._stopped:
                break
            self._say({"id": number, "token": [token.text, token.id, token.prompt, token.finish]})
        tokens.close()  # type: ignore[attr-defined]  # a generator, by the contract's "closing the iterator"
        self._say({"id": number, "end": True})
        self._stopped.discard(number)

    def _listen(self) -> None:
        for line in self._requests:
            request = json.loads(line)
            if "stop" in request:
                self._stopped.add(request["stop"])
            else:
                self._calls.put(request)
        os._exit(0)  # at once: the main thread may be deep inside the engine's library

    def _say(self, reply: Mapping[str, Any]) -> None:
        # JSON escapes lone surrogates, which a UTF-8 stream could not carry.
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()


def explain(error: Exception) -> dict[str, Any]:
    """What the asker is told: `failed` if it is nothing that was asked for wrongly. The whole story goes to the log."""
    if isinstance(error, WorkbenchError):
        return {"error": {"what": error.what, "remedy": error.remedy}}
    traceback.print_exc(file=sys.stderr)
    told = {"what": f"{type(error).__name__}: {error}", "remedy": "The model's log has the details."}
    return {"error": told, "failed": True}


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this process
    # Libraries print where they like: the protocol keeps standard output to itself, prints go to the log.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    engine, path, *rest = arguments
    Server(requests, replies).serve(engine, Path(path), json.loads(rest[0]) if rest else {})


if __name__ == "__main__":
    main(sys.argv[1:])
