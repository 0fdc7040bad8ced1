"""The rules of the house: one direction of imports, a light start, every field read, every verb documented."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.cli import VERBS
from workbench.recipes.fields import recipe_fields
from workbench.recipes.load import STAGES

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "mlx", "transformers", "datasets", "numpy", "llama_cpp", "trl", "pandas", "starlette", "uvicorn"}
ENGINES_MAY = {"__version__", "contract", "recipes", "corpus", "errors", "durable", "reporting", "wording"}
# What each room may import of the others: never one above it.
LOWER = {
    "recipes": {"contract", "recipes", "errors", "durable"},
    "corpus": {"contract", "recipes", "corpus", "errors", "durable", "reporting", "safe_text", "wording"},
    "store": {"contract", "recipes", "store", "errors", "durable", "safe_text"},
    "runs": {
        "contract",
        "recipes",
        "corpus",
        "benchmarks",
        "store",
        "runs",
        "errors",
        "durable",
        "reporting",
        "registry",
        "safe_text",
        "wording",
    },
    "benchmarks": {
        "contract",
        "recipes",
        "corpus",
        "preferences",
        "benchmarks",
        "store",
        "errors",
        "durable",
        "figures",
        "reporting",
        "registry",
        "safe_text",
        "wording",
    },
    "preferences": {
        "contract",
        "recipes",
        "corpus",
        "preferences",
        "store",
        "errors",
        "durable",
        "reporting",
        "registry",
        "safe_text",
        "wording",
    },
    "chat": {"contract", "chat", "errors", "durable", "registry", "safe_text", "reporting"},
    "serving": {"contract", "chat", "serving", "errors", "safe_text"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_engines_reach_for_nothing_above_the_contract() -> None:
    for path in sources("engines"):
        for name in imports(path):
            if name.startswith("workbench."):
                assert name.split(".")[1] in ENGINES_MAY, f"{path.relative_to(ROOT)} imports {name}"


def test_the_application_never_imports_an_engine() -> None:
    for path in sources("workbench"):
        for name in imports(path):
            assert name.split(".")[0] != "engines", f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", LOWER)
def test_imports_go_one_way(room: str) -> None:
    for path in sources(f"workbench/{room}"):
        for name in imports(path):
            if name.startswith("workbench."):
                assert name.split(".")[1] in LOWER[room] | {"__version__"}, f"{path.relative_to(ROOT)} imports {name}"


STARTS = {
    "tui": "import workbench.tui.app",
    "help": "from workbench.cli import cli; cli.main(['--help'], standalone_mode=False)",
    "registry": "import workbench.registry, workbench.contract",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_starting_loads_nothing_heavy(start: str) -> None:
    code = f"import sys\n{start}\nprint('LOADED', sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("stage", STAGES)
def test_every_recipe_field_is_read_by_the_code_that_runs_it(stage: str) -> None:
    """A field that is only validated and documented promises what nothing does."""
    read: set[str] = set()
    rooms = ("engines", "workbench/corpus", "workbench/preferences", "workbench/benchmarks", "workbench/runs")
    for path in itertools.chain.from_iterable(map(sources, rooms)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                read.add(str(node.slice.value))
    # Inputs are read through `job.inputs`; the name and the engine by what plans and supervises; the size by resolving.
    # Phases are read through `mixtures`.
    planned = {"name", "engine", "size", "phases", *STAGES[stage].reads}
    unread = [field.path for field in recipe_fields(STAGES[stage]) if field.name not in read | planned]
    assert unread == []


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [verb for verb in VERBS if not re.search(rf"workbench {verb}\b", text)]
    assert missing == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    for path in [*sources("workbench"), *sources("engines")]:
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "manager"}, path


def test_the_readme_has_the_keys_of_the_registry() -> None:
    from workbench.tui.actions import keys_table

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    written = text.partition("<!-- keys -->\n")[2].partition("<!-- /keys -->")[0]
    assert written == keys_table(), "write it anew: see workbench.tui.actions.keys_table"
