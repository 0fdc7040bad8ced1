"""A model in a process of its own: what it answers, how it stops, and how it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from workbench.chat.process import ModelProcess
from workbench.contract import LanguageModel, Sampling
from workbench.errors import WorkbenchError

GREEDY = Sampling(temperature=0, max_tokens=20)
LONG = Sampling(temperature=1.0, seed=1, max_tokens=900)
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


def test_it_is_a_language_model(model: ModelProcess) -> None:
    assert isinstance(model, LanguageModel)
    assert model.context_length == 1024
    assert model.chat_template is not None
    prompt = model.render(MESSAGES)
    assert prompt.endswith("<|im_start|>assistant\n")
    tokens = list(model.generate([prompt], GREEDY))
    assert "Paris" in "".join(token.text for token in tokens)
    assert tokens[-1].finish == "stop"
    assert model.tokenize("<|im_start|>", special=True) == [1]
    scores = model.score([("The capital of France is", " Paris"), ("The capital of France is", " London")])
    assert scores[0].log_likelihood > scores[1].log_likelihood


def test_a_stop_ends_the_answer_and_not_the_next(model: ModelProcess) -> None:
    answer = model.generate(["Once upon a time"], LONG)
    for _ in range(3):
        next(answer)
    model.stop()
    assert len(list(answer)) < 500
    assert len(list(model.generate(["Once upon a time"], Sampling(temperature=1, seed=1, max_tokens=8)))) == 8


def test_closing_the_iterator_stops_the_work(model: ModelProcess) -> None:
    answer = model.generate(["Once upon a time"], LONG)
    next(answer)
    answer.close()
    assert list(answer) == []


async def test_async_iteration_and_cancellation(model: ModelProcess) -> None:
    text = ""
    async for token in model.generate([model.render(MESSAGES)], GREEDY):
        text += token.text
    assert "Paris" in text

    async def listen() -> None:
        async for _ in model.generate(["Once upon a time"], LONG):
            pass

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    drawn = [token async for token in model.generate(["Once"], Sampling(temperature=1, seed=1, max_tokens=3))]
    assert len(drawn) == 3


def test_errors_keep_their_sentences(model: ModelProcess) -> None:
    with pytest.raises(WorkbenchError) as caught:
        next(model.generate(["word " * 3000], GREEDY))
    assert caught.value.what == "The prompt has 3,001 tokens, but the model's context holds 1,024."
    assert caught.value.remedy
    assert "Paris" in "".join(token.text for token in model.generate([model.render(MESSAGES)], GREEDY))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with pytest.raises(WorkbenchError, match="is not a GGUF file"):
        ModelProcess("llamacpp", tmp_path)
    with pytest.raises(WorkbenchError, match=r"There is no engine called 'lamacpp'. Did you mean llamacpp"):
        ModelProcess("lamacpp", tmp_path)


def test_a_crash_becomes_a_sentence(smollm2: Path, tmp_path: Path) -> None:
    process = ModelProcess("llamacpp", smollm2, log=tmp_path / "log.txt", options={"context_length": 1024})
    answer = process.generate(["Once upon a time"], LONG)
    next(answer)
    os.kill(process._process.pid, signal.SIGILL)
    with pytest.raises(WorkbenchError, match=r"The model's process ended by SIGILL \(an instruction that this CPU"):
        list(answer)
    with pytest.raises(WorkbenchError, match="ended by SIGILL"):
        process.tokenize("x")
    process.close()
    with pytest.raises(WorkbenchError, match="The model was closed"):
        process.tokenize("x")


def test_nothing_of_it_reaches_the_terminal(smollm2: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ModelProcess("llamacpp", smollm2, options={"context_length": 256}) as process:
        list(process.generate(["Once"], Sampling(max_tokens=3)))
        log = process.log
        assert log.exists()
    assert not log.exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("busy", [True, False])
def test_it_ends_with_who_started_it(smollm2: Path, busy: bool) -> None:
    program = (
        "import sys, time; from pathlib import Path; from workbench.chat.process import ModelProcess;"
        "from workbench.contract import Sampling\n"
        "process = ModelProcess('llamacpp', Path(sys.argv[1]), options={'context_length': 1024})\n"
        "answer = process.generate(['Once'], Sampling(temperature=1, seed=1, max_tokens=900))\n"
        "if sys.argv[2] == 'True': next(answer)\n"
        "else: answer.close()\n"
        "print(process._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, smollm2, str(busy)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
