"""`workbench serve`, as a user of OpenAI's client meets it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.serving.conftest import ROOT, Served, end, start
from workbench import registry
from workbench.contract import Sampling
from workbench.preferences.authors import EndpointAuthor

PROMPT = "The value of the object"
FRANCE: Any = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
LONG: dict[str, Any] = {"prompt": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,", "temperature": 0}  # it goes on and on
WILD = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 16, "seed": 7}
SLOW_SECONDS = 30


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SLOW_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_answers_are_those_of_the_model_itself(base: Served, tiny: Path) -> None:
    """Whole, streamed, several of one prompt and one of several, by a seed."""
    assert base.facts["chats"] is False
    assert base.facts["context_length"] == 64
    with contextlib.closing(registry.engine("pytorch").load(tiny)) as model:

        def direct(*prompts: str) -> list[str]:
            texts = [""] * len(prompts)
            sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.01, max_tokens=16, seed=7)
            for token in model.generate(prompts, sampling):
                texts[token.prompt] += token.text
            return texts

        client = base.client()
        asked: dict[str, Any] = {"model": "tiny", **WILD, "extra_body": {"top_k": 0, "min_p": 0.01}}
        whole = client.completions.create(prompt=PROMPT, **asked)
        assert [choice.text for choice in whole.choices] == direct(PROMPT)
        assert whole.choices[0].finish_reason == "length"
        assert whole.usage is not None
        read = len(model.tokenize(PROMPT))
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (read, 16)
        assert whole.usage.total_tokens == read + 16
        stream = list(
            client.completions.create(prompt=PROMPT, stream=True, stream_options={"include_usage": True}, **asked)
        )
        assert "".join(piece.choices[0].text for piece in stream[:-1]) == direct(PROMPT)[0]
        assert len(stream) > 10
        assert stream[-2].choices[0].finish_reason == "length"
        assert stream[-1].choices == []
        assert stream[-1].usage == whole.usage
        four = client.completions.create(prompt=[PROMPT, "import"], n=2, **asked)
        assert [choice.text for choice in four.choices] == direct(PROMPT, PROMPT, "import", "import")
        assert len({choice.text for choice in four.choices}) == 4
        # A model without a template continues what was said.
        parts: Any = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
        chat = client.chat.completions.create(messages=parts, **asked)
        assert [choice.message.content for choice in chat.choices] == direct(PROMPT)
        pieces = client.chat.completions.create(messages=parts, n=2, stream=True, **asked)
        texts = ["", ""]
        for piece in pieces:
            texts[piece.choices[0].index] += piece.choices[0].delta.content or ""
        assert texts == direct(PROMPT, PROMPT)
    stopped = client.completions.create(model="tiny", prompt=PROMPT, stop=[whole.choices[0].text[3:6]], **WILD)
    assert stopped.choices[0].finish_reason in ("stop", "length")
    # The flags of the command line are for what a request leaves open.
    short = client.completions.create(model="tiny", prompt=PROMPT, temperature=0)
    assert short.usage is not None
    assert short.usage.completion_tokens == 12


def test_a_conversation(smol: Served) -> None:
    client = smol.client()
    assert [model.id for model in client.models.list()] == [smol.facts["model"]]
    assert client.models.retrieve(smol.facts["model"]).owned_by == "workbench"
    whole = client.chat.completions.create(
        model=smol.facts["model"], messages=FRANCE, temperature=0, user="me", store=False, max_completion_tokens=30
    )
    assert whole.choices[0].message.content == "The capital of France is Paris."
    assert whole.choices[0].finish_reason == "stop"
    # What it has said goes in again as the client has it, with all its empty fields.
    further: Any = [*FRANCE, whole.choices[0].message.model_dump(), {"role": "user", "content": "And of Italy?"}]
    stream = client.chat.completions.create(
        model=smol.facts["model"], messages=further, temperature=0, max_tokens=20, stream=True
    )
    pieces = list(stream)
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "Rome" in "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert all(piece.usage is None for piece in pieces)
    # And what speaks to such servers in this program.
    author = EndpointAuthor(smol.address, smol.facts["model"], lambda: None)
    (written,) = author.write([FRANCE], Sampling(temperature=0, max_tokens=30, seed=1))
    assert written == ("The capital of France is Paris.", True)


def test_two_at_once_are_answered_in_order(smol: Served) -> None:
    ended: list[str] = []

    def ask(name: str, tokens: int) -> None:
        said = smol.client().completions.create(model=smol.facts["model"], max_tokens=tokens, **LONG)
        assert said.usage is not None
        assert said.usage.completion_tokens == tokens
        ended.append(name)

    first = threading.Thread(target=ask, args=("first", 60))
    second = threading.Thread(target=ask, args=("second", 2))
    first.start()
    time.sleep(0.3)  # so that it is first
    second.start()
    first.join()
    second.join()
    assert ended == ["first", "second"]


@pytest.mark.parametrize("streamed", [True, False])
def test_who_goes_away_stops_the_answer(smol: Served, streamed: bool) -> None:
    asked = {**LONG, "max_tokens": 4000, "stream": streamed, "stop": None}
    before = len(smol.said)
    if streamed:
        with httpx.stream("POST", f"{smol.address}/completions", json=asked, timeout=30) as response:
            lines = response.iter_lines()  # kept: the connection is closed with it
            next(lines)
            with pytest.raises(httpx.ReadTimeout):  # one that waits in the queue, and goes away from there
                httpx.post(f"{smol.address}/completions", json=asked, timeout=0.3)
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{smol.address}/completions", json=asked, timeout=0.7)
    quick = smol.client(timeout=30).chat.completions.create(model=smol.facts["model"], messages=FRANCE, temperature=0)
    assert "Paris" in (quick.choices[0].message.content or "")
    until(lambda: len(smol.said) >= before + 2)
    assert any("who asked went away" in line for line in smol.said[before:])
    assert any(" 0+0 tokens" in line for line in smol.said[before:]) is streamed


def test_the_model_is_opened_again_after_its_death(smol: Served) -> None:
    client, model = smol.client(), smol.model
    stream = client.completions.create(model=smol.facts["model"], max_tokens=4000, stream=True, **LONG)
    next(iter(stream))
    model.kill()
    with pytest.raises(openai.APIError, match="model's process ended by SIGKILL"):
        list(stream)
    assert httpx.get(f"{smol.root}/health").status_code in (200, 503)
    again = client.chat.completions.create(model=smol.facts["model"], messages=FRANCE, temperature=0)
    assert again.choices[0].message.content == "The capital of France is Paris."
    assert smol.model.pid != model.pid
    assert "The model's process has ended: it is opened again." in smol.said
    # Whole: the error has a status of its own.
    killer = threading.Timer(0.7, smol.model.kill)
    killer.start()
    with pytest.raises(openai.InternalServerError, match="SIGKILL") as caught:
        client.completions.create(model=smol.facts["model"], max_tokens=4000, **LONG)
    assert caught.value.status_code == 503
    assert httpx.get(f"{smol.root}/health").status_code == 503
    again = client.chat.completions.create(model=smol.facts["model"], messages=FRANCE, temperature=0)
    assert "Paris" in (again.choices[0].message.content or "")
    assert httpx.get(f"{smol.root}/health").json() == {"status": "ok"}


BAD: dict[str, tuple[Any, int, str]] = {
    "not JSON": (b"{", 400, "The request is not JSON"),
    "a list": ([], 400, "should be a JSON object"),
    "not UTF-8": (b'{"prompt": "\xff"}', 400, "not JSON"),
    "no prompt": ({}, 400, "prompt is missing"),
    "no prompts": ({"prompt": []}, 400, "prompt is empty"),
    "token ids": ({"prompt": [1, 2]}, 400, "a list of token ids"),
    "a model": ({"prompt": "a", "model": "gpt-4"}, 404, "There is no model called 'gpt-4' here. There is: tiny."),
    "a text": ({"prompt": "a", "temperature": "hot"}, 400, 'temperature is "hot", but should be a number.'),
    "too hot": ({"prompt": "a", "temperature": 7}, 400, "temperature is 7.0, but should be a number from 0"),
    "none": ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens is 0, but should be a whole number of tokens, 1"),
    "many": ({"prompt": "a", "n": 1000}, 400, "1,000 answers are asked for at once, and 128 are the most"),
    "a slip": ({"prompt": "a", "max_token": 3}, 400, "no field called 'max_token'. Did you mean max_tokens?"),
    "suffix": ({"prompt": "a", "suffix": "b"}, 400, 'suffix is "b", which is not offered here.'),
    "logprobs": ({"prompt": "a", "logprobs": 0}, 400, "logprobs is 0, which is not offered here."),
    "too long": ({"prompt": "word " * 100}, 400, "tokens, and the model's context is 64. Shorten"),
    "too large": ({"prompt": "a" * 5_000_000}, 413, "bytes or more, and 4,194,304 are the most"),
}
BAD_CHATS: dict[str, tuple[Any, str]] = {
    "a role": ([{"role": "tool", "content": "a"}], "messages.0.role is \"tool\", but should be 'system', 'developer'"),
    "an image": ([{"role": "user", "content": [{"type": "image_url"}]}], 'is {"type": "image_url"}, but only'),
    "no content": ([{"role": "user"}], "messages.0.content is missing"),
    "a call": ([{"role": "assistant", "content": "", "tool_calls": [1]}], "messages.0.tool_calls is [1], which is not"),
    "no message": ([], "messages is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(base: Served, case: str) -> None:
    asked, status, sentence = BAD[case]
    content = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    reply = httpx.post(f"{base.address}/completions", content=content)
    assert reply.status_code == status
    assert sentence in reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("case", BAD_CHATS)
def test_bad_messages(base: Served, case: str) -> None:
    messages, sentence = BAD_CHATS[case]
    with pytest.raises(openai.BadRequestError) as caught:
        base.client().chat.completions.create(model="tiny", messages=messages)
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    "field",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"logit_bias": {"5": 3}},
        {"presence_penalty": 0.5},
        {"logprobs": True},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_would_change_the_answer_is_refused(base: Served, field: dict[str, Any]) -> None:
    idle = {
        "tools": [],
        "response_format": {"type": "text"},
        "logit_bias": {},
        "presence_penalty": 0,
        "logprobs": False,
    }
    asked: dict[str, Any] = {"model": "tiny", "messages": FRANCE, "max_tokens": 1}
    client = base.client()
    with pytest.raises(openai.BadRequestError, match="is not offered here") as caught:
        client.chat.completions.create(**asked, **field)
    assert caught.value.param == next(iter(field))
    assert client.chat.completions.create(**asked, **{name: idle[name] for name in field}).choices


def test_a_page_in_the_browser_cannot_ask(base: Served) -> None:
    get = lambda **headers: httpx.get(f"{base.address}/models", headers=headers)  # noqa: E731
    assert get(host="evil.example").status_code == 403  # a name that was made to mean 127.0.0.1
    assert "not this server's" in get(host="evil.example:80").json()["error"]["message"]
    assert get(origin="https://evil.example").status_code == 403
    assert get(host="localhost:1").status_code == 200
    assert "access-control-allow-origin" not in get(origin=base.root).headers
    assert httpx.get(f"{base.root}/v1/nothing%0A%1B[2J").json()["error"]["message"].endswith("/v1/completions.")
    wrong_way = httpx.get(f"{base.address}/completions")
    assert wrong_way.status_code == 405
    assert wrong_way.json()["error"]["message"].endswith("Ask it with POST.")
    until(lambda: any("/v1/nothing" in line for line in base.said))
    assert "\x1b" not in "".join(base.said)


def test_a_key(smollm2: Path, tmp_path: Path) -> None:
    """Other machines are served only with one; it is in no command line."""
    words = [sys.executable, "-m", "workbench.cli", "serve", str(smollm2), "--host", "0.0.0.0", "--port", "0"]
    without = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert without.returncode == 1
    assert "0.0.0.0 can be reached from other machines, and no key is set." in without.stderr
    (tmp_path / "key").write_text("s3cret\n")
    served = start(smollm2, "--host", "0.0.0.0", "--api-key-file", tmp_path / "key")
    try:
        until(lambda: any(line.startswith("Other machines can reach it.") for line in served.said))
        assert [item.object for item in served.client(api_key="s3cret").models.list()] == ["model"]
        with pytest.raises(openai.AuthenticationError, match="The API key is missing or wrong"):
            served.client(api_key="secret").models.list()
        assert httpx.get(f"{served.address}/models").status_code == 401
        assert httpx.get(f"{served.root}/health").status_code == 200
        # A port that is in use.
        words[words.index("--host") : words.index("--host") + 2] = []
        taken = subprocess.run(
            [*words[:-1], str(served.facts["port"])], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert taken.returncode == 1
        assert f"The port {served.facts['port']} of 127.0.0.1 is in use." in taken.stderr
        served.process.send_signal(signal.SIGHUP)  # its terminal was closed
        assert served.process.wait(10) == 0
    finally:
        end(served)


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_ends_and_leaves_nothing_running(smollm2: Path, ending: signal.Signals, status: int) -> None:
    served = start(smollm2)
    model = served.model
    with httpx.stream(
        "POST", f"{served.address}/completions", json={**LONG, "max_tokens": 4000, "stream": True}
    ) as response:
        lines = response.iter_lines()
        next(lines)
        served.process.send_signal(ending)
        assert served.process.wait(10) == status
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    until(lambda: not model.is_running() or model.status() == psutil.STATUS_ZOMBIE)
    assert served.said[-1] == "Ended."
    assert not any("Traceback" in line for line in served.said)


def test_asked_to_end_while_the_model_is_opened(tiny: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "serve", tiny, "--port", "0"], stderr=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == f"Opening {tiny} with pytorch.\n"
    until(lambda: bool(psutil.Process(process.pid).children()))
    (model,) = psutil.Process(process.pid).children()
    process.terminate()
    assert process.wait(10) == 1
    assert process.stderr.read() == "error: It was asked to end.\n"
    until(lambda: not model.is_running())


def test_the_line_that_it_prints_works(smollm2: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "serve", smollm2, "--port", "0", "--max-tokens", "8"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env={**os.environ, "WORKBENCH_API_KEY": "it's"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert "answers at http://127.0.0.1:" in process.stdout.readline()
        told = subprocess.run(
            ["bash", "-c", process.stdout.readline()], capture_output=True, text=True, check=True,
            env={**os.environ, "WORKBENCH_API_KEY": "it's"},
        )  # fmt: skip
        assert json.loads(told.stdout)["usage"]["completion_tokens"] == 8
    finally:
        process.terminate()
        process.wait(10)


def test_on_mlx(tiny: Path) -> None:
    if importlib.util.find_spec("mlx") is None or importlib.util.find_spec("mlx_lm") is None:
        pytest.skip("mlx is not installed: pip install 'llm-workbench[mlx]'")
    served = start(tiny, "--engine", "mlx", "--temperature", "0", "--max-tokens", "8")
    try:
        assert served.facts["engine"] == "mlx"
        one, again = (served.client().completions.create(model="tiny", prompt=PROMPT) for _ in range(2))
        assert one.choices[0].text == again.choices[0].text != ""
        assert one.usage is not None
        assert one.usage.completion_tokens == 8
    finally:
        end(served)


def test_a_host_that_is_none() -> None:
    from workbench.errors import WorkbenchError
    from workbench.serving.server import listen, reaches_others

    with pytest.raises(WorkbenchError, match="There is no address for the host"):
        listen("no.such.host.invalid", 0)
    with pytest.raises(WorkbenchError, match="cannot be served"):
        listen("192.0.2.1", 0)  # reserved for documentation (RFC 5737)
    with listen("0.0.0.0", 0) as listening:
        assert reaches_others(listening)
    if socket.has_ipv6:
        with listen("::1", 0) as listening:
            assert not reaches_others(listening)
