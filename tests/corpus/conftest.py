"""Stages run as the supervisor runs them, but inside the test's process."""

from pathlib import Path

import pytest

from workbench.contract import Event, Finished, Job, Warned, parse_event
from workbench.corpus.engine import CorpusEngine
from workbench.reporting import RunReporter

SHARED = Path(__file__).resolve().parents[3] / "shared"


class Stage:
    """One run of a stage: its output folder and its events."""

    def __init__(self, job: Job):
        self.job = job
        self.output = job.output

    def run(self) -> "Stage":
        reporter = RunReporter(self.job.directory)
        try:
            CorpusEngine().run(self.job, reporter)
        finally:
            reporter.close()
        return self

    @property
    def events(self) -> list[Event]:
        lines = (self.job.directory / "events.jsonl").read_text().splitlines()
        return [parse_event(line) for line in lines]

    @property
    def report(self) -> dict:
        last = self.events[-1]
        assert isinstance(last, Finished)
        return dict(last.report)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def make_stage(root: Path, stage: str, recipe: dict, inputs: dict[str, Path] | None = None) -> Stage:
    number = len(list(root.glob("run-*")))
    directory, output = root / f"run-{number}", root / f"out-{number}"
    directory.mkdir()
    output.mkdir()
    plain = {"stage": stage, **recipe}
    if stage == "tokenizer" and inputs:
        inputs = {f"{role}.0": folder for role, folder in inputs.items()}
    return Stage(
        Job(run=str(number), stage=stage, recipe=plain, inputs=inputs or {}, output=output, directory=directory)
    )


@pytest.fixture
def stage(tmp_path_factory):
    """`stage("import", sources=[...])` or `stage("shards", {"corpus": folder, ...})`, run to its end."""
    root = tmp_path_factory.mktemp("stages")

    def run(name: str, inputs: dict[str, Path] | None = None, **recipe) -> Stage:
        references = {role: role for role in inputs or {}}
        return make_stage(root, name, {**references, **recipe}, inputs).run()

    return run


@pytest.fixture(scope="session")
def python_corpus(tmp_path_factory) -> Stage:
    """Python's own documentation as a corpus."""
    return make_stage(tmp_path_factory.mktemp("python"), "import", {"sources": ["python-docs"]}).run()


@pytest.fixture(scope="session")
def python_tokenizer(tmp_path_factory, python_corpus) -> Stage:
    """A tokenizer of 2,048 tokens, trained on it."""
    recipe = {"corpus": "python", "vocab_size": 2048}
    return make_stage(tmp_path_factory.mktemp("bpe"), "tokenizer", recipe, {"corpus": python_corpus.output}).run()


@pytest.fixture
def shared_text() -> Path:
    folder = SHARED / "data" / "text"
    if not folder.is_dir():
        pytest.skip("the real texts in ../shared/data/text are not here")
    return folder
