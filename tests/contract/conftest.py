"""One suite for every engine: `pytest tests/contract --engine NAME` for one, all that this machine has without it.

An engine from outside is found by its entry point. It opens the Hugging Face folder `model`; where it trains, it
pretrains on the little corpus of the PyTorch engine's tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mlx.conftest import SMALL, model_folder
from tests.pytorch.conftest import Workspace, artifacts, documents, workspace  # noqa: F401
from workbench import registry
from workbench.contract import Engine, Job, LanguageModel

LANGUAGE_MODELS = ("pytorch", "mlx", "llamacpp")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", help="Test this engine alone.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine_name" in metafunc.fixturenames:
        asked = metafunc.config.getoption("engine", default=None)
        metafunc.parametrize("engine_name", [asked] if asked else LANGUAGE_MODELS, scope="session")


@pytest.fixture(scope="session")
def engine(engine_name: str) -> Engine:
    found = registry.engine(engine_name)
    able = found.capabilities()
    if not able.available:
        pytest.skip(f"{engine_name}: {able.reason} {able.install}")
    return found


@pytest.fixture(scope="session")
def hugging_face_folder(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Path:  # noqa: F811
    """A model of random weights with a context of 64 tokens, which was not trained on turns."""
    return model_folder(tmp_path_factory.mktemp("contract") / "model", artifacts / "tokenizer")


@pytest.fixture(scope="session")
def model(engine: Engine, hugging_face_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = hugging_face_folder
    if engine.name == "llamacpp":
        path = exported(hugging_face_folder, tmp_path_factory.mktemp("export"))
    opened = engine.load(path)
    assert isinstance(opened, LanguageModel)
    yield opened
    opened.close()


@pytest.fixture
def pretraining(engine: Engine, workspace: Workspace) -> Callable[..., Job]:  # noqa: F811
    """Jobs of a pretraining of some 50,000 parameters; skips an engine that does not pretrain."""
    if "pretrain" not in engine.capabilities().stages:
        pytest.skip(f"{engine.name} does not pretrain")
    return lambda name="run", **settings: workspace.job(name, engine=engine.name, **SMALL | settings)


def exported(model_path: Path, folder: Path) -> Path:
    """The same weights as GGUF, in float32."""
    from tests.llamacpp.stages import Recorder, export_job

    job = export_job(model_path, folder, "f32")
    registry.engine("llamacpp").run(job, Recorder())
    return job.output
