"""Imports that are killed, starved and robbed: the same bytes in the end, or one sentence that says what to do."""

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.corpus.conftest import Stage, make_stage
from workbench.contract import Failed, Finished, Stopped, Warned
from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.corpus.pipeline import batches, parts, pool, work
from workbench.corpus.pipeline.pool import Pool
from workbench.corpus.reading import reader
from workbench.errors import WorkbenchError

STEPS = [
    {"step": "normalise"},
    {"step": "exact-duplicates"},
    {"step": "near-duplicates"},
    {"step": "length", "min_characters": 120},
    {"step": "paragraph-duplicates", "min_characters": 20},
]  # four passes: to the first comparisons, to the second, its edits, and writing


def write_rows(path: Path, count: int = 600) -> Path:
    """Documents of which some repeat, some nearly, some have paragraphs in common, and some are short."""
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefghijklmno", k=draw.randint(2, 9))) for _ in range(3000)]
    texts: list[str] = []
    for number in range(count):
        text = "\n\n".join(" ".join(draw.choices(words, k=60)) + f" {number} {k}." for k in range(3))
        if number % 7 == 3:
            text = texts[draw.randrange(len(texts))]
        elif number % 7 == 5:
            text = texts[-1] + " and one more"
        elif number % 7 == 6:
            text = f"{text}\n\nA paragraph that many pages have at their end, for no reason.\r\n"
        elif number % 31 == 1:
            text = f"short {number}"
        texts.append(text)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def start(stage: Stage) -> subprocess.Popen:
    stage.job.output.mkdir(exist_ok=True)
    job_file = stage.job.directory / "job.json"
    stage.job.write(job_file)
    command = [sys.executable, "-m", "tests.corpus.small_parts", str(job_file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(stage: Stage, workers: int = 1) -> Stage:
    """Run, or go on, to the end; alone that takes the least time, and the bytes are the same."""
    stage.job = dataclasses.replace(stage.job, recipe={**stage.job.recipe, "workers": workers})
    process = start(stage)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "")
    return stage


def children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, process=None, seconds: float = 60) -> bool:
    """Whether `condition` came true before the process ended."""
    end = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            return False
        assert time.monotonic() < end
        time.sleep(0.002)
    return True


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, rows) -> Stage:
    """An import in processes, with small parts."""
    recipe = {"sources": [str(rows)], "clean": STEPS, "workers": 2}
    return finish(make_stage(tmp_path_factory.mktemp("whole"), "import", recipe), workers=2)


def test_an_undisturbed_import_has_all_to_show(undisturbed):
    report = undisturbed.report
    funnel = {step["step"]: step for step in report["funnel"]}
    assert [step["in"] for step in report["funnel"]][:2] == [600, 600]
    for before, after in zip(report["funnel"], report["funnel"][1:], strict=False):
        assert before["kept"] + before["changed"] == after["in"]
        assert before["in"] == before["kept"] + before["changed"] + before["rejected"]
        assert before["bytes_out"] == after["bytes_in"]
    assert funnel["exact-duplicates"]["rejected"] + funnel["near-duplicates"]["rejected"] > 50
    assert funnel["length"]["rejected"] > 5
    assert funnel["paragraph-duplicates"]["changed"] > 50
    assert len(list(undisturbed.output.glob("documents-*.parquet"))) > 2
    assert not (undisturbed.job.directory / "work").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_number_of_workers_changes_no_byte(tmp_path, rows, undisturbed, workers):
    made = finish(make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS}), workers)
    assert tree(made.output) == tree(undisturbed.output)
    assert made.report == undisturbed.report


def kill_at(stage: Stage, pattern: str, count: int) -> bool:
    """Kill -9 the import once so many files match; whether it came to that. Its workers end by themselves."""
    process = start(stage)
    folder = stage.job.directory / "work"
    if not wait_until(lambda: len(list(folder.glob(pattern))) >= count, process):
        process.communicate()
        return False
    family = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert wait_until(lambda: not any(map(alive, family)), seconds=15)
    return True


def killed_everywhere(tmp_path: Path, rows: Path, times: int) -> tuple[Stage, int]:
    """An import that was killed `times` in each pass and while it decided, then finished; how often it was killed."""
    stage = make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS, "workers": 2})
    draw = random.Random(times)
    parts_of_pass = 14  # there are some more
    places = [(f"pass-{number}/receipts/*.json", parts_of_pass) for number in (0, 1, 2)]
    places[1:1] = [("decisions-1.partial", 1), ("decisions-2.partial", 1)]
    places += [("pass-3/receipts/*.json", 2)]
    kills = 0
    for pattern, most in places:
        for count in sorted(draw.randint(1, most) for _ in range(times)):
            kills += kill_at(stage, pattern, count)
    return finish(stage), kills


def test_kill_9_in_every_pass_gives_the_same_bytes(tmp_path, rows, undisturbed):
    stage, kills = killed_everywhere(tmp_path, rows, 1)
    assert kills >= 5
    assert tree(stage.output) == tree(undisturbed.output)
    assert stage.report == undisturbed.report


@pytest.mark.slow
def test_kill_9_five_times_in_every_pass(tmp_path, rows, undisturbed):
    stage, kills = killed_everywhere(tmp_path, rows, 5)
    assert kills >= 20
    assert tree(stage.output) == tree(undisturbed.output)


def test_a_stop_and_going_on(tmp_path, rows, undisturbed):
    stage = make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS, "workers": 2})
    process = start(stage)
    assert wait_until(lambda: list((stage.job.directory / "work").glob("pass-0/receipts/*.json")), process)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert isinstance(stage.events[-1], Stopped)
    assert list(stage.output.iterdir()) == []
    finish(stage)
    assert tree(stage.output) == tree(undisturbed.output)


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path, rows, undisturbed):
    stage = make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS, "workers": 2})
    process = start(stage)
    receipts = stage.job.directory / "work" / "pass-0" / "receipts"
    assert wait_until(lambda: receipts.is_dir() and any(receipts.glob("*.json")), process)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "")
    warned = [event.message for event in stage.events if isinstance(event, Warned)]
    assert len(warned) == 1
    assert warned[0].startswith(
        "A worker process was killed (SIGKILL) at rows.jsonl; that is done again, with 1 process"
    )
    assert tree(stage.output) == tree(undisturbed.output)


def die(shared: object, task: int) -> int:
    """A task that takes all memory, as far as the system is concerned."""
    if task == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_worker_killed_each_time_is_a_sentence(monkeypatch):
    monkeypatch.setattr(pool, "ALONE_SECONDS", -1.0)
    warned: list[str] = []
    with Pool(3, lambda: None, warned.append) as processes, pytest.raises(WorkbenchError) as raised:
        list(processes.map(die, None, ((f"document {n}", n) for n in range(9))))
    assert raised.value.what == "A worker process was killed (SIGKILL) 3 times at the same place: document 5."
    assert "--workers" in raised.value.remedy
    assert len(warned) == 2


def fail(shared: object, task: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device", "/some/part")


def test_a_full_disk_in_a_worker_is_told_as_such(monkeypatch):
    monkeypatch.setattr(pool, "ALONE_SECONDS", -1.0)
    with Pool(2, lambda: None, print) as processes, pytest.raises(OSError, match="No space left") as raised:
        list(processes.map(fail, None, [("a", 1), ("b", 2)]))
    assert raised.value.errno == errno.ENOSPC


def test_going_on_after_a_full_disk(tmp_path, rows, undisturbed, monkeypatch):
    """The disk fills up at the tenth part that is written, and is cleared later."""
    for name, value in (("FIRST_BYTES", 16 << 10), ("BATCH_BYTES", 32 << 10)):
        monkeypatch.setattr(batches, name, value)
    stage = make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS, "workers": 1})
    settle, settled = parts._settle, []

    def full(temporary: Path, path: Path) -> None:
        settled.append(path)
        if len(settled) == 30:
            raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
        settle(temporary, path)

    monkeypatch.setattr(parts, "_settle", full)
    with pytest.raises(OSError, match="No space left"):
        stage.run()
    monkeypatch.setattr(parts, "_settle", settle)
    finish(stage)
    assert tree(stage.output) == tree(undisturbed.output)


@pytest.mark.slow
def test_a_source_that_changes_between_attempts_is_read_anew(tmp_path):
    """What was done of the old content is not mixed into the new."""
    rows = write_rows(tmp_path / "rows.jsonl")
    stage = make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS, "workers": 2})
    assert kill_at(stage, "pass-0/receipts/*.json", 8)
    write_rows(rows, 900)
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join(lines[300:]) + "\n")
    finish(stage)
    fresh = finish(make_stage(tmp_path, "import", {"sources": [str(rows)], "clean": STEPS, "workers": 2}))
    assert tree(stage.output) == tree(fresh.output)
    assert stage.report == fresh.report


def test_a_source_that_vanishes_midway(tmp_path, monkeypatch):
    """The corpus without it would count as the one with it. Once it is back, the import goes on to the same bytes."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a", "b", "c"):
        path = write_rows(texts / f"{name}.jsonl", 60)
        path.write_text(path.read_text().replace('"text": "', f'"text": "{name} '))
    content = (texts / "b.jsonl").read_text()
    whole = make_stage(tmp_path, "import", {"sources": [str(texts)]}).run()
    read = reader.read_entry

    def vanishing(entry):
        if entry.name == "b.jsonl":
            (texts / "b.jsonl").unlink()
        yield from read(entry)

    monkeypatch.setattr(reader, "read_entry", vanishing)
    disturbed = make_stage(tmp_path, "import", {"sources": [str(texts)]})
    with pytest.raises(WorkbenchError) as raised:
        disturbed.run()
    assert raised.value.what == "1 file went away while the import was reading; the first is b.jsonl."
    assert "run the same again" in raised.value.remedy

    monkeypatch.setattr(reader, "read_entry", read)
    (texts / "b.jsonl").write_text(content)
    disturbed.run()
    assert tree(disturbed.output) == tree(whole.output)
    assert disturbed.report["files"] == 3


def test_a_corpus_where_everything_is_rejected(stage, tmp_path):
    write_rows(tmp_path / "rows.jsonl", 60)
    with pytest.raises(WorkbenchError) as raised:
        stage("import", sources=[str(tmp_path)], clean=[{"step": "length", "min_characters": 100_000}])
    assert raised.value.what == (
        "The corpus would be empty: of 60 documents the step length rejected 60, 60 of them for "
        "'under 100000 characters'."
    )
    assert "--clean none" in raised.value.remedy


class Broken(Step):
    """Fails at a text that it does not expect."""

    name = "broken"

    def apply(self, document: Document) -> Verdict:
        if "x" in document.text:
            raise IndexError("list index out of range")
        return KEPT


def test_a_step_that_fails_names_itself_and_the_document():
    row = work._row(Document("with x", "a.jsonl", 7), 1)
    with pytest.raises(WorkbenchError, match=r"The step broken failed at a document of a\.jsonl, number 7: IndexError"):
        work._asked(Broken(), row, lambda: Broken().apply(row.document))


def test_failures_in_the_process_are_events(tmp_path, rows):
    recipe = {"sources": [str(rows)], "clean": [{"step": "length", "min_characters": 100_000}], "workers": 2}
    stage = make_stage(tmp_path, "import", recipe)
    process = start(stage)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert isinstance(stage.events[-1], Failed)
    assert not any(isinstance(event, Finished) for event in stage.events)
