"""Every test has its own state folder, so that queues and recent projects never meet the user's."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.endpoint import Reply, Server
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, create

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def _usual_signals() -> None:
    """Under nohup, and in the background of a shell, these are ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _own_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of modules run does not wait for a training of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("WORKBENCH_PROJECT", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create(tmp_path / "my-llm")


@pytest.fixture
def catalog(project: Project) -> Iterator[Catalog]:
    with open_catalog(project) as opened:
        yield opened


@pytest.fixture(scope="module")
def module_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Catalog]]:
    """A project that a module's tests share; what is run to fill it has a state folder of its own, too."""
    folder = tmp_path_factory.mktemp("module")
    project = create(folder / "my-llm")
    with pytest.MonkeyPatch.context() as patch, open_catalog(project) as catalog:
        patch.setenv("WORKBENCH_STATE_DIR", str(folder / "state"))
        yield project, catalog


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data beside the checkout; tests that need it skip where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing: this test reads real data from it")
    return SHARED / "data"


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict], Reply | None]], Server]]:
    """Starts servers, which end with the test."""
    servers: list[Server] = []

    def start(answer: Callable[[dict], Reply | None]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
