"""Runs as users meet them: detached, queued, stopped, killed, resumed."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from tests.road import import_recipe, make, pretrain_recipe, tokenizer_recipe, write_texts
from workbench import durable
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.plan import checkpoints_differ, plan
from workbench.runs.refusals import require_usable
from workbench.runs.submit import resume, stop, submit, wait
from workbench.runs.supervisor import Supervisor
from workbench.store import artifacts, events, runs
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, create, open_project

LONG = 100_000  # steps: never reached


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a corpus and a tokenizer; tests copy it."""
    folder = tmp_path_factory.mktemp("road")
    project = create(folder / "road")
    with pytest.MonkeyPatch.context() as patch, open_catalog(project) as catalog:
        patch.setenv("WORKBENCH_STATE_DIR", str(folder / "state"))
        states = make(project, catalog, import_recipe(write_texts(folder / "texts")), tokenizer_recipe())
    assert [state.state for state in states] == ["finished", "finished"], states
    return project


@pytest.fixture
def project(road: Project, tmp_path: Path) -> Project:
    shutil.copytree(road.root, tmp_path / "road")
    return open_project(tmp_path / "road")


@pytest.fixture
def catalog(project: Project) -> Iterator[Catalog]:
    with open_catalog(project) as opened:
        yield opened
        for run, state in runs.all_runs(project):
            if state.state not in runs.ENDED:
                stop(project, opened, run.id, kill=True)
                wait(project, run.id)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def losses(project: Project, catalog: Catalog, run: str) -> dict[float, float]:
    events.index_events(project, catalog, run)
    return dict(events.series(catalog, run, "loss"))


def start(project: Project, catalog: Catalog, name: str = "base", steps: int = LONG, **more: object) -> str:
    """Submit a pretraining; the id of its run."""
    run = submit(project, catalog, plan(project, catalog, [pretrain_recipe(name, steps, **more)]))[-1]
    assert run is not None
    return run


def engine_of(project: Project, run: str) -> psutil.Process:
    (child,) = psutil.Process(runs.read(project, run)[1].pid).children()
    return child


def test_a_pretraining_makes_its_shards_and_learns(project: Project, catalog: Catalog) -> None:
    steps = plan(project, catalog, [pretrain_recipe(steps=150)])
    assert [(step.recipe.stage, step.action) for step in steps] == [("shards", "new"), ("pretrain", "new")]
    states = [wait(project, run) for run in submit(project, catalog, steps) if run]
    assert [state.state for state in states] == ["finished", "finished"], states
    made = artifacts.resolve(project, catalog, "model", "base")
    assert made.report["eval_loss"] < 2.5  # ln(512) = 6.2 at the start; the grammar's entropy is about 1.2
    assert set(made.inputs) == {"shards", "tokenizer"}
    assert made.versions["torch"]
    # The same recipe again is skipped, from the corpus to the model.
    again = plan(project, catalog, [pretrain_recipe(steps=150)])
    assert [step.action for step in again] == ["made", "made"]
    # Under another name it is the same artifact again, without the work.
    (state,) = make(project, catalog, pretrain_recipe("alias", steps=150))
    assert "Nothing was computed" in state.reason
    alias = artifacts.resolve(project, catalog, "model", "alias")
    assert (alias.identity, alias.digest) == (made.identity, made.digest)
    assert not any(problems for *_, problems in artifacts.verify(project))
    # With other checkpoints it is trained again, to the same model.
    more = {"checkpoints.save_steps": 50, "checkpoints.keep_last": 9}
    (state,) = make(project, catalog, pretrain_recipe("kept", steps=150, **more))
    kept = artifacts.resolve(project, catalog, "model", "kept")
    assert (state.reason, kept.digest) == ("", made.digest)
    assert [path.name[-3:] for path in runs.checkpoints(project, kept.run or "")] == ["050", "100", "150"]
    for settings, differ in ((more, True), ({}, False)):
        [*_, step] = plan(project, catalog, [pretrain_recipe(steps=150, **settings)])
        assert (step.action, step.artifact) == ("made", made)
        assert checkpoints_differ(step.recipe.model_dump(mode="json", exclude_none=True), made.recipe) is differ


def test_stop_writes_a_checkpoint_and_resume_gives_the_losses_of_never_stopping(
    project: Project, catalog: Catalog
) -> None:
    more = {"checkpoints.save_steps": 1000, "optimizer.learning_rate": 1e-3}
    whole = start(project, catalog, "whole", 120, **more)
    assert wait(project, whole).state == "finished"
    # The same recipe would not be trained again under another name, so this one differs in what no loss depends on.
    broken = start(project, catalog, "broken", 120, **{**more, "data.validation_fraction": 0.05000001})
    until(lambda: len(losses(project, catalog, broken)) > 20)
    stop(project, catalog, broken)
    state = wait(project, broken)
    at = max(losses(project, catalog, broken))
    assert state.state == "stopped"
    if at < 120:
        resume(project, catalog, broken)
        assert wait(project, broken).state == "finished"
    assert losses(project, catalog, broken) == losses(project, catalog, whole)


def test_a_killed_engine_fails_with_a_reason_and_resumes_from_its_checkpoint(
    project: Project, catalog: Catalog
) -> None:
    run = start(project, catalog, **{"checkpoints.save_steps": 20})
    until(lambda: runs.checkpoints(project, run))
    engine_of(project, run).kill()
    state = wait(project, run)
    assert state.state == "failed"
    assert "SIGKILL" in state.reason
    assert "workbench runs resume" in state.remedy
    saved = int(runs.checkpoints(project, run)[-1].name.removeprefix("step-"))
    resume(project, catalog, run)
    until(lambda: len(list(events.logged(catalog, run, "Started"))) == 2)
    assert events.logged(catalog, run, "Started")[-1]["data"]["step"] == saved


def test_a_killed_supervisor_is_found_and_its_engine_ends_by_itself(project: Project, catalog: Catalog) -> None:
    run = start(project, catalog)
    until(lambda: losses(project, catalog, run))
    engine = engine_of(project, run)
    os.kill(runs.read(project, run)[1].pid, signal.SIGKILL)
    until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)
    assert runs.find_lost(project, catalog) == [run]
    state = runs.read(project, run)[1]
    assert state.state == "lost"
    assert "resume" in state.remedy
    assert runs.checkpoints(project, run)  # it saved its work
    resume(project, catalog, run)
    until(lambda: runs.read(project, run)[1].state == "running")


def test_an_old_run_that_was_just_resumed_is_not_taken_for_lost(project: Project, catalog: Catalog) -> None:
    run = start(project, catalog)
    until(lambda: losses(project, catalog, run))
    stop(project, catalog, run)
    stopped = wait(project, run)
    spec = runs.read(project, run)[0]
    old = replace(spec, created=spec.created - 3600)
    durable.write_json(runs.folder_of(project, run) / "run.json", asdict(old))
    # As it is between its resumption and the first sign of its supervisor.
    waiting = replace(stopped, state="queued", queued=time.time(), started=None, ended=None)
    runs.write_state(project, catalog, old, waiting)
    assert runs.find_lost(project, catalog) == []
    assert not runs.is_lost(project, run, waiting)
    runs.write_state(project, catalog, old, replace(waiting, queued=time.time() - 2 * runs.START_SECONDS))
    assert runs.find_lost(project, catalog) == [run]


def test_a_run_that_ends_while_it_is_looked_at_is_not_lost(project: Project, catalog: Catalog) -> None:
    run = start(project, catalog)
    until(lambda: losses(project, catalog, run))
    seen = runs.read(project, run)[1]
    assert seen.state == "running"
    stop(project, catalog, run)
    wait(project, run)
    until(lambda: not runs.alive(seen))
    assert not runs.is_lost(project, run, seen)  # what was read is not how it stands


def test_runs_take_turns_in_the_order_they_came(project: Project, catalog: Catalog) -> None:
    first = start(project, catalog, "first")
    until(lambda: runs.read(project, first)[1].state == "running")
    second = start(project, catalog, "second", 20, **{"data.seed": 1})
    third = start(project, catalog, "third", 20, **{"data.seed": 2})
    until(lambda: second in runs.read(project, third)[1].reason)
    stop(project, catalog, first)
    ended = {run: wait(project, run) for run in (second, third)}
    assert [state.state for state in ended.values()] == ["finished", "finished"]
    assert (ended[second].ended or 0) <= (ended[third].started or 0)


def test_a_waiting_run_is_stopped_at_once(project: Project, catalog: Catalog) -> None:
    first = start(project, catalog, "first")
    second = start(project, catalog, "second", **{"data.seed": 1})
    until(lambda: first in runs.read(project, second)[1].reason)
    stop(project, catalog, second)
    assert wait(project, second).state == "stopped"
    assert runs.read(project, first)[1].state == "running"


def test_what_waits_for_a_failed_run_says_so(project: Project, catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "nothing.txt").write_text("")
    states = make(project, catalog, import_recipe(tmp_path / "empty"), tokenizer_recipe())
    assert [state.state for state in states] == ["failed", "failed"]
    assert "needs the run import-" in states[1].reason


def test_what_waited_for_a_stopped_run_goes_on_with_it(project: Project, catalog: Catalog) -> None:
    """As in a pipeline: stop the training, and the export behind it; resume the training, and both are made."""
    export = recipe_from({"stage": "export", "model": "base", "quantization": "f32", "name": "base-f32"})
    started = submit(project, catalog, plan(project, catalog, [pretrain_recipe(steps=40), export]))
    first, second = started[-2], started[-1]
    assert first
    assert second
    stop(project, catalog, first)
    assert wait(project, first).state == "stopped"
    assert wait(project, second).state == "failed"
    resume(project, catalog, first)
    assert [wait(project, run).state for run in (first, second)] == ["finished", "finished"]


def test_a_locked_catalog_fails_no_run_and_catches_up(project: Project, catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("the cat sees the garden.")
    recipe = recipe_from({"stage": "import", "sources": [str(tmp_path / "more.txt")], "name": "more"})
    [step] = plan(project, catalog, [recipe])
    run = runs.create(
        project, catalog, step.recipe, name=step.name, engine=step.recipe.engine_name(), produces=step.kind,
        identity=step.identity, inputs=step.inputs, after=(), accelerator=False,
    )  # fmt: skip
    supervisor = Supervisor(runs.folder_of(project, run.id))
    supervisor.catalog.close()
    supervisor.catalog = open_catalog(project, busy_seconds=0.05)
    with open_catalog(project) as other, other.writing():
        supervisor.attempt()  # as the process does it
    _, state = runs.read(project, run.id)
    assert (state.state, state.artifact) == ("finished", "more")
    assert not catalog.rows("SELECT 1 FROM artifacts WHERE id = 'more'")
    runs.find_lost(project, catalog)
    assert artifacts.resolve(project, catalog, "corpus", "more").run == run.id
    assert catalog.rows("SELECT state FROM runs WHERE id = ?", (run.id,)) == [{"state": "finished"}]
    supervisor.catalog.close()


def test_a_damaged_input_is_refused(project: Project, catalog: Catalog) -> None:
    merges = project.folder("tokenizer") / "bpe" / "tokenizer.json"
    text = merges.read_text()
    merges.write_text(text.replace("the", "hte", 1))
    states = make(project, catalog, pretrain_recipe(steps=5))
    assert states[0].state == "failed"
    assert "tokenizer/bpe, is damaged: tokenizer.json has changed" in states[0].reason


def test_what_a_model_cannot_read_is_refused_before_a_run_is_made(
    project: Project, catalog: Catalog, tmp_path: Path
) -> None:
    make(project, catalog, pretrain_recipe(steps=2))  # its context is 64
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the cat\na dog\n")
    before = len(list(runs.all_runs(project)))
    for settings, refused in (
        ({"generation": {"max_completion_length": 64}}, "Answers of 64 tokens leave no room for a prompt"),
        ({"max_length": 65}, "max_length is 65 tokens, and the context is 64"),
    ):
        values = {"stage": "grpo", "base": "base", "prompts": str(prompts), "reward_pattern": "cat", **settings}
        steps = plan(project, catalog, [recipe_from(values)])
        with pytest.raises(WorkbenchError, match=refused):
            submit(project, catalog, steps)
    assert len(list(runs.all_runs(project))) == before


def test_what_cannot_be_used_is_refused_before_a_run_is_made(
    project: Project, catalog: Catalog, tmp_path: Path
) -> None:
    make(project, catalog, pretrain_recipe(steps=2))
    marks = tmp_path / "marks.jsonl"
    marks.write_text('{"prompt": "the cat", "completion": "sees", "label": true}\n' * 3)
    values = {"stage": "import-preferences", "sources": [str(marks)], "name": "marked"}
    [state] = make(project, catalog, recipe_from(values))
    assert state.state == "finished", state.reason
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the cat\na dog\n")
    rewards = tmp_path / "rewards.py"
    rewards.write_text("from math import sqrt\ndef short(prompt, answer):\n    return -len(answer)\nlong = sqrt\n")
    grpo = {"stage": "grpo", "base": "base", "prompts": str(prompts)}
    talks = tmp_path / "talks.jsonl"
    turns = [{"role": role, "content": f"the {role}"} for role in ("system", "user", "assistant")]
    talks.write_text("".join(json.dumps({"messages": turns[start:]}) + "\n" for start in (0, 1)))
    [state] = make(project, catalog, recipe_from({"stage": "import-chat", "sources": [str(talks)], "name": "talks"}))
    assert state.state == "finished", state.reason
    template = project.folder("model") / "base" / "chat_template.jinja"
    sft = {"stage": "sft", "base": "base", "data": ["talks"]}
    written = "{% for message in messages %}{{ message.content }}{% endfor %}"
    for source, refused in (
        (written.replace("{{", "{% if message.role != 'system' %}{{").replace("}}", "}}{% endif %}"),
         "The chat template of base drops the system message of 1 conversation of talks. Use a template"),
        (f"{{{{ raise_exception('no system here') }}}}{written}", "refuses the conversation: no system here"),
        (written, ""),
    ):  # fmt: skip
        template.write_text(source)
        [step] = plan(project, catalog, [recipe_from(sft)])
        if refused:
            with pytest.raises(WorkbenchError) as error:
                require_usable(project, catalog, step)
            assert refused in str(error.value)
        else:
            require_usable(project, catalog, step)
    before = len(list(runs.all_runs(project)))
    for values, refused in (
        ({"stage": "dpo", "base": "base", "preferences": "marked"}, "marked hold no pairs.*workbench kto"),
        ({"stage": "reward", "base": "base", "preferences": "marked"}, "marked hold no pairs"),
        ({"stage": "merge-adapter", "model": "base"}, "base is no adapter: there is nothing to merge"),
        ({**grpo, "reward_function": f"{rewards}:nix"}, "rewards.py has no function 'nix'.*It has: short"),
    ):
        with pytest.raises(WorkbenchError) as error:
            submit(project, catalog, plan(project, catalog, [recipe_from(values)]))
        assert re.search(refused, str(error.value))
    assert len(list(runs.all_runs(project))) == before
    for name in ("short", "long", "sqrt"):
        [*_, step] = plan(project, catalog, [recipe_from({**grpo, "reward_function": f"{rewards}:{name}"})])
        require_usable(project, catalog, step)
    [kto] = plan(project, catalog, [recipe_from({"stage": "kto", "base": "base", "preferences": "marked"})])
    require_usable(project, catalog, kto)


def test_killing_a_run_ends_it_without_waiting(project: Project, catalog: Catalog) -> None:
    run = start(project, catalog)
    until(lambda: losses(project, catalog, run))
    stop(project, catalog, run, kill=True)
    assert wait(project, run).state == "stopped"
    with pytest.raises(WorkbenchError, match="has ended already"):
        stop(project, catalog, run)


def test_a_run_survives_the_end_of_its_terminal(project: Project, catalog: Catalog) -> None:
    """The verb runs on a pseudo-terminal that is closed under it: SIGHUP, as when an SSH link drops."""
    recipe = runs.folder_of(project, "x").parent / "recipe.yaml"
    recipe.write_text(pretrain_recipe(steps=LONG).to_yaml())
    leader, follower = pty.openpty()
    terminal = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "--project", str(project.root), "run", str(recipe)],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True, cwd=Path(__file__).parents[2],
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    until(lambda: catalog.rows("SELECT 1 FROM runs WHERE stage = 'pretrain' AND loss IS NOT NULL"))
    os.close(leader)
    assert terminal.wait(timeout=30) != 0
    run = catalog.rows("SELECT id FROM runs WHERE stage = 'pretrain'")[0]["id"]
    before = max(losses(project, catalog, run))
    until(lambda: max(losses(project, catalog, run)) > before + 20)
    assert runs.read(project, run)[1].state == "running"
