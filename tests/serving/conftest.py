"""Servers as they are typed, spoken to with OpenAI's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import openai
import psutil
import pytest

from tests.chat.conftest import smollm2  # noqa: F401
from tests.mlx.conftest import model_folder
from tests.pytorch.conftest import artifacts, documents  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    """A server that is ready; `said` are its lines on standard error."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]  # what --json told
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.facts["address"]

    @property
    def root(self) -> str:
        return self.address.removesuffix("/v1")

    @property
    def model(self) -> psutil.Process:
        """The model's own process."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def client(self, **settings: Any) -> openai.OpenAI:
        return openai.OpenAI(
            **{"base_url": self.address, "api_key": "none", "max_retries": 0, "timeout": 60} | settings
        )

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))


Start = Callable[..., Served]


def start(*words: str | Path, **environment: str) -> Served:
    """`workbench serve` with these words on a port that is free."""
    command = [sys.executable, "-m", "workbench.cli", "serve", *map(str, words), "--json"]
    if "--port" not in command:
        command += ["--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert process.stdout is not None
    served = Served(process, {})
    Thread(target=served.listen, daemon=True).start()
    line = process.stdout.readline()
    assert line, served.said
    served.facts = json.loads(line)
    return served


def end(served: Served) -> None:
    served.process.terminate()
    served.process.wait(10)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Path:  # noqa: F811
    """A base model of random weights with a context of 64 tokens."""
    return model_folder(tmp_path_factory.mktemp("serving") / "tiny", artifacts / "tokenizer")


@pytest.fixture(scope="module")
def base(tiny: Path) -> Iterator[Served]:
    served = start(tiny, "--max-tokens", "12")
    yield served
    end(served)


@pytest.fixture(scope="module")
def smol(smollm2: Path) -> Iterator[Served]:  # noqa: F811
    """SmolLM2 on llama.cpp: it was trained on conversations."""
    served = start(smollm2)
    yield served
    end(served)
