"""Projects to look at, and the app on them with its clock stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tui.example import NOW, make_example
from workbench.store.project import Project, open_project
from workbench.tui.app import WorkbenchApp
from workbench.tui.terminal import Terminal


@pytest.fixture(scope="session")
def example_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_example(tmp_path_factory.mktemp("tui") / "my-llm").root


@pytest.fixture
def example(example_root: Path, tmp_path: Path) -> Project:
    """A project with nine runs and five artifacts; a copy, to be changed."""
    shutil.copytree(example_root, tmp_path / "my-llm")
    return open_project(tmp_path / "my-llm")


@pytest.fixture
def app_on() -> Callable[..., WorkbenchApp]:
    """The app on a project (or None), at the moment `NOW`, in a plain terminal."""

    def make(project: Project | None, **terminal: bool) -> WorkbenchApp:
        return WorkbenchApp(project, on=Terminal(**terminal), now=lambda: NOW)

    return make
