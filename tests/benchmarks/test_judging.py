"""Judges: servers that judge by a stated rule, are biased, talk rubbish or go away, and a real tiny model."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.endpoint import Reply, Server, completion
from workbench import registry
from workbench.benchmarks.judging.answers import read_answers
from workbench.benchmarks.judging.asking import better_of, grade_of, instruction, reason_of
from workbench.benchmarks.judging.assess import assess
from workbench.benchmarks.judging.questions import Question, read_questions
from workbench.benchmarks.judging.verdicts import Verdict, read_verdicts
from workbench.cli.doctor import doctor
from workbench.contract import Job, Progress, Warned, parse_event
from workbench.corpus.progress import Interrupted
from workbench.errors import WorkbenchError
from workbench.preferences.arena import Arena
from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.sets import candidate_set
from workbench.recipes.assess import RUBRIC, AssessRecipe
from workbench.recipes.base import validate
from workbench.recipes.load import recipe_from
from workbench.reporting import RunReporter
from workbench.runs.plan import require_engine
from workbench.store import artifacts
from workbench.store.catalog import Catalog
from workbench.store.project import Project

Serve = Callable[[Callable[[dict], Reply | None]], Server]
PROMPTS = 20
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def sealed(project: Project, catalog: Catalog, kind: str, name: str, **more: Any) -> artifacts.Artifact:
    folder = project.folder(kind) / f"{name}.partial"
    folder.mkdir()
    for file, text in more.pop("files", {}).items():
        (folder / file).write_text(text)
    return artifacts.seal(
        project, catalog, folder, kind=kind, name=name, identity=f"{name:0<64}", stage="test", run=None,
        **{"recipe": {}, "inputs": {}, "report": {}, "versions": {}, **more},
    )  # fmt: skip


def answer_of(model: str, number: int) -> str:
    """Model "long" says more than "short" to the first 14 of 20 questions, less to four, the same to two."""
    if number >= 18:
        return "The same to both."
    more = (model == "long") == (number < 14)
    return f"An answer {number} of {model}: " + " ".join(WORDS[: 8 if more else 2])


@pytest.fixture
def answered(project: Project, catalog: Catalog) -> Project:
    """Candidates by two models, made before; the models themselves need not be opened."""
    models = {f"models.{n}": sealed(project, catalog, "model", name) for n, name in enumerate(("long", "short"))}
    lines = []
    for number in range(PROMPTS):
        answers = [
            Answer(
                id=f"{number}-{name}", model=name, kind="model", temperature=0, seed=0, text=answer_of(name, number),
                finish="stop",
            )
            for name in ("long", "short")
        ]  # fmt: skip
        messages = [{"role": "user", "content": f"Question {number}?"}]
        lines.append(Prompt(id=f"q{number}", messages=messages, answers=answers).line())
    sealed(
        project, catalog, "candidates", "mine", files={"candidates.jsonl": "".join(lines)}, inputs=models,
        recipe={"models": ["long", "short"]},
    )  # fmt: skip
    return project


class Run:
    """The stage in a run's folder; with the same folder again, it goes on."""

    def __init__(self, project: Project, inputs: dict[str, Path], *, run: str = "1-judged", **recipe: Any):
        self.directory, self.output = project.runs / run, project.root / f"{run}.partial"
        self.directory.mkdir(exist_ok=True)
        (self.directory / "control").mkdir(exist_ok=True)
        (self.directory / "control" / "stop").unlink(missing_ok=True)
        self.output.mkdir(exist_ok=True)
        chosen = validate(AssessRecipe, recipe).resolved()
        job = Job(
            run=run, stage="assess", recipe=chosen.model_dump(), inputs=inputs, output=self.output,
            directory=self.directory,
        )  # fmt: skip
        reporter = RunReporter(self.directory)
        try:
            self.figures = assess(chosen, job, reporter, pause_seconds=0.01)
        finally:
            reporter.close()

    @property
    def events(self) -> list[Any]:
        return [parse_event(line) for line in (self.directory / "events.jsonl").read_text().splitlines()]


def judged(project: Project, server: Server, **more: Any) -> Run:
    inputs = {
        "models.0": project.folder("model") / "long", "models.1": project.folder("model") / "short",
        "prompts": project.folder("candidates") / "mine",
    }  # fmt: skip
    recipe = {"models": ["long", "short"], "prompts": "mine", "endpoint": server.address, **more}
    if len(recipe["models"]) == 1:
        del inputs["models.1"]
    return Run(project, inputs, **recipe)


def shown(body: dict) -> list[str]:
    """The answers in a request, as they stand in it."""
    return re.findall(r"\[Beginning of .*?\]\n(.*?)\n\[End of", body["messages"][0]["content"], re.DOTALL)


def longer_wins(body: dict) -> Reply:
    first, second = map(len, shown(body))
    verdict = "A" if first > second else "B" if second > first else "C"
    return completion(f"A has {first} characters, B has {second}.\n[[{verdict}]]")


# --------------------------------------------------------------------------- verdicts by a rule


def test_the_longer_answer_wins(answered: Project, serve: Serve) -> None:
    server = serve(longer_wins)
    done = judged(answered, server)
    rate = done.figures["win_rate"]
    assert (rate["of"], rate["wins"], rate["losses"], done.figures["ties"]) == ("long", 14, 4, 2)
    assert rate["value"] == pytest.approx(15 / 20)
    # By hand: the variance of 14 ones, 4 zeros and 2 halves around 0.75 is 0.1625 · 20/19, over 20 prompts.
    error = (0.1625 / 19) ** 0.5
    n = 0.75 * 0.25 / error**2
    centre, reach = 0.75 + 1.96**2 / (2 * n), 1.96 * (0.75 * 0.25 / n + 1.96**2 / (4 * n * n)) ** 0.5
    assert rate["low"] == pytest.approx((centre - reach) / (1 + 1.96**2 / n))
    assert rate["high"] == pytest.approx((centre + reach) / (1 + 1.96**2 / n))
    assert not rate["inside_noise"]
    assert done.figures["longer_won"] == pytest.approx({"share": 1.0, "low": 0.824, "high": 1.0, "of": 18}, abs=1e-3)
    assert done.figures["same_in_both_orders"]["share"] == 1.0
    assert done.figures["first_shown_won"]["share"] == 0.5
    assert (done.figures["alike"], done.figures["without_verdict"], done.figures["agreement"]) == (2, 0, None)
    assert len(server.requests) == 36  # two answers are the same to two questions: nobody was asked
    lengths = done.figures["answers"]
    assert lengths["long"]["mean_characters"] > lengths["short"]["mean_characters"]
    verdicts = read_verdicts(done.output)
    assert len(verdicts) == 40
    kept = next(item for item in verdicts if item.question == "q3" and item.models[0] == "short")
    assert (kept.better, kept.said[-5:]) == ("second", "[[B]]")
    assert kept.reason == f"A has {len(kept.answers[0][0])} characters, B has {len(kept.answers[1][0])}."
    assert kept.prompt[0]["content"] == "Question 3?"
    assert [item.texts[0] for item in read_answers(done.output)[:2]] == [answer_of("long", 0), answer_of("short", 0)]
    asked = server.requests[0]
    assert RUBRIC in asked["messages"][0]["content"]
    assert asked["temperature"] == 0
    assert not re.search(r"\b(long|short)\b", asked["messages"][0]["content"].split("[The conversation]")[0])
    steps = [(event.phase, event.done, event.total) for event in done.events if isinstance(event, Progress)]
    assert steps[-1] == ("judging", 40, 40)


def test_who_always_likes_the_first_place_decides_nothing(answered: Project, serve: Serve) -> None:
    done = judged(answered, serve(lambda _: completion("The first is better. [[A]]")))
    assert done.figures["win_rate"]["value"] == 0.5
    assert done.figures["win_rate"]["inside_noise"]
    assert (done.figures["ties"], done.figures["turned"], done.figures["first_shown_won"]["share"]) == (20, 18, 1.0)
    assert done.figures["same_in_both_orders"]["share"] == 0.0
    assert any("in both orders of only 0%" in event.message for event in done.events if isinstance(event, Warned))


def test_single_answers_are_graded(answered: Project, serve: Serve) -> None:
    def grade(body: dict) -> Reply:
        [answer] = shown(body)
        return completion(f"{len(answer)} characters. [[{min(10, len(answer) // 8)}]]")

    server = serve(grade)
    done = judged(answered, server, models=["long"])
    grades = [min(10, len(answer_of("long", n)) // 8) for n in range(PROMPTS)]
    assert done.figures["grades"]["long"]["grade"]["value"] == pytest.approx(sum(grades) / PROMPTS)
    assert done.figures["length_correlation"] > 0.9
    assert len(server.requests) == PROMPTS
    both = judged(answered, server, judging="single", run="2-judged")
    others = [min(10, len(answer_of("short", n)) // 8) for n in range(PROMPTS)]
    assert both.figures["difference"]["value"] == pytest.approx((sum(grades) - sum(others)) / PROMPTS)


# --------------------------------------------------------------------------- judges that fail


def test_rubbish_is_asked_again_once_and_counted(answered: Project, serve: Serve) -> None:
    def sometimes(body: dict) -> Reply:
        text = body["messages"][0]["content"]
        if "Question 5?" in text:
            return completion("I like turtles.")
        if "Question 6?" in text and len(body["messages"]) == 1:
            return completion("Both have merits, the first more.")
        return completion("[[A]]") if len(body["messages"]) == 3 else longer_wins(body)

    server = serve(sometimes)
    done = judged(answered, server)
    figures = done.figures
    assert (figures["no_verdict"], figures["asked_again"], figures["without_verdict"]) == (2, 4, 1)
    assert figures["win_rate"]["n"] == 19
    again = next(item for item in read_verdicts(done.output) if item.question == "q6")
    assert (again.before, again.said, again.better) == ("Both have merits, the first more.", "[[A]]", "first")
    assert again.reason == "Both have merits, the first more."
    repeated = [body for body in server.requests if len(body["messages"]) == 3]
    assert len(repeated) == 4
    assert repeated[0]["messages"][1]["role"] == "assistant"


def test_a_judge_that_talks_rubbish_ends_the_run_and_another_goes_on(answered: Project, serve: Serve) -> None:
    sane = False

    def judge(body: dict) -> Reply:
        return longer_wins(body) if sane else completion("Bananas are berries, strawberries are not.")

    server = serve(judge)
    with pytest.raises(WorkbenchError) as error:
        judged(answered, server)
    assert error.value.what.startswith("24 of 24 replies of the judge hold no verdict, such as: 'Bananas are berries")
    assert "more capable judge" in error.value.remedy
    assert "likelihood" not in error.value.remedy  # a server tells none
    lost = (answered.runs / "1-judged" / "no-verdict.jsonl").read_text().splitlines()
    assert len(lost) == 24
    sane = True
    assert judged(answered, server).figures["win_rate"]["wins"] == 14


def test_a_request_that_a_server_refuses_is_no_verdict(answered: Project, serve: Serve) -> None:
    def short(body: dict) -> Reply:
        return (400, "too long") if "Question 5?" in body["messages"][0]["content"] else longer_wins(body)

    done = judged(answered, serve(short))
    assert (done.figures["no_verdict"], done.figures["without_verdict"]) == (2, 1)
    assert next(item for item in read_verdicts(done.output) if item.none).said.endswith("status 400: too long.")
    with pytest.raises(WorkbenchError, match=r"hold no verdict, such as: .*refused with status 400: no such model"):
        judged(answered, serve(lambda _: (400, "no such model")), run="2-judged")


@pytest.mark.parametrize("failure", [(500, "down"), None], ids=["status 500", "connection cut"])
def test_a_judge_that_goes_away_and_comes_back(answered: Project, serve: Serve, failure: Reply | None) -> None:
    gone, lock = False, threading.Lock()
    given: list[str] = []

    def judge(body: dict) -> Reply | None:
        nonlocal gone
        with lock:
            gone = gone or len(given) == 15
            if gone:
                return failure
            given.append(body["messages"][0]["content"])
        return longer_wins(body)

    server = serve(judge)
    with pytest.raises(WorkbenchError) as error:
        judged(answered, server, parallel=3)
    assert re.search("refused with status 500|cannot be reached", error.value.what)
    assert re.search(r"19 of 40 verdicts are kept; .* workbench runs resume 1-judged", error.value.remedy)
    kept = (answered.runs / "1-judged" / "verdicts.jsonl").read_bytes()
    assert kept.count(b"\n") == 19  # 15, and those of four orders in which nothing differs
    with open(answered.runs / "1-judged" / "verdicts.jsonl", "ab") as file:
        file.write(b'{"question": "q')  # as a kill leaves it
    failure, given = None, list(given)
    again = serve(longer_wins)
    done = judged(answered, again)
    assert done.figures["win_rate"]["wins"] == 14
    asked = [body["messages"][0]["content"] for body in again.requests]
    assert len(asked) == 21
    assert not set(asked) & set(given)  # nothing is paid for twice


def test_a_judge_that_is_slow_or_not_there(answered: Project, serve: Serve) -> None:
    def slow(body: dict) -> Reply:
        time.sleep(0.6)
        return longer_wins(body)

    with pytest.raises(WorkbenchError, match="timed out"):
        judged(answered, serve(slow), timeout=0.1, parallel=1)
    server = serve(longer_wins)
    server.close()
    with pytest.raises(WorkbenchError, match="cannot be reached"):
        judged(answered, server)


def test_a_stop_keeps_what_is_on_its_way(answered: Project, serve: Serve) -> None:
    control = answered.runs / "1-judged" / "control" / "stop"

    def stopping(body: dict) -> Reply:
        if len(server.requests) == 5:
            control.touch()
        time.sleep(0.1)
        return longer_wins(body)

    server = serve(stopping)
    with pytest.raises(Interrupted):
        judged(answered, server, parallel=2)
    rows = [json.loads(line) for line in (answered.runs / "1-judged" / "verdicts.jsonl").read_text().splitlines()]
    answered_requests = len(server.requests)
    assert sum(bool(row["said"]) for row in rows) == answered_requests < 36
    other = serve(longer_wins)
    assert judged(answered, other).figures["win_rate"]["wins"] == 14
    assert len(other.requests) == 36 - answered_requests


# --------------------------------------------------------------------------- people


def test_agreement_with_people(answered: Project, catalog: Catalog, serve: Serve) -> None:
    """ann prefers the longer answer in training's judgements; in those that only compare models, bob the shorter."""
    item = candidate_set(answered, catalog, "mine")
    for rater, file, judgements in (("ann", item.judgements, 12), ("bob", item.evaluations, 4)):
        arena = Arena(item.candidates, file, rater, repeat=0, overlap=0, seed=1)
        for _ in range(judgements):
            pair = arena.next()
            assert pair is not None
            longer = len(pair.prompt.answer(pair.left).text) > len(pair.prompt.answer(pair.right).text)
            arena.judge("left" if longer == (rater == "ann") else "right", 1)
        arena.close()
    found = judged(answered, serve(longer_wins)).figures["agreement"]
    assert found["judgements"] == 16
    assert found["share"]["value"] == pytest.approx(12 / 16)
    assert 0 < found["share"]["low"] < 0.75 < found["share"]["high"] < 1
    assert found["decided"]["n"] == 16
    assert -1 < found["kappa"] < 1


# --------------------------------------------------------------------------- what is asked, and how it is read


@pytest.mark.parametrize(
    ("said", "better"),
    [
        ("A is better.\n[[A]]", "first"),
        ("First I thought [[A]], but no.\n\n**[[b]]**", "second"),
        ("[[C]]", "tie"),
        ("My verdict: [[ tie ]].", "tie"),
        ("<think>[[B]] or [[C]]?</think>[[A]] it is, for its facts.", "first"),
        ("[[A]] if the answer of A is better, [[B]] if that of B is", None),
        ("A", None),
        ("", None),
    ],
)
def test_how_a_verdict_is_read(said: str, better: str | None) -> None:
    assert better_of(said) == better


@pytest.mark.parametrize(
    ("said", "grade"), [("Good.\n[[7]]", 7), ("[[8.5]]", 8.5), ("[[10/10]]", 10), ("[[11]]", None), ("7", None)]
)
def test_how_a_grade_is_read(said: str, grade: float | None) -> None:
    assert grade_of(said) == grade


def test_the_reason_is_the_reply_without_its_verdict() -> None:
    assert reason_of("<think>hm</think>A is right.\n[[A]]") == "A is right."


def test_two_turns_are_shown_whole_and_with_a_reference() -> None:
    question = Question(
        id="1", messages=[{"role": "user", "content": "What is 2 + 3?"}], more=("Twice that?",), references=("5", "10")
    )
    first = instruction(question, [["5"], ["6"]], "Be strict.", written=True)
    assert "[A reference answer]\n5" in first
    assert "Twice that?" not in first
    second = instruction(question, [["5", "10"], ["6", "12"]], "Be strict.", written=True)
    assert "[A reference answer]\n10" in second
    assert second.index("assistant: 6") < second.index("user: Twice that?", second.index("assistant: 6"))
    assert second.count("Twice that?") == 2


def test_questions_of_mt_bench(shared: Path) -> None:
    found, left_out = read_questions(str(shared / "tasks" / "mt_bench_questions.jsonl"))
    assert (len(found), left_out) == (80, [])
    assert all(item.turns == 2 for item in found)
    assert len({item.category for item in found}) == 8
    assert sum(bool(item.references) for item in found) == 39
    assert found[0].id == "81"
    talk = found[0].talk(["Aloha."])
    assert [message["role"] for message in talk] == ["user", "assistant", "user"]
    assert talk[2]["content"].startswith("Rewrite your previous response.")


def test_rows_that_are_no_questions(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text('{"prompt": "Who?"}\n{"turns": []}\n{"turns": ["a", 3]}\n{"note": 1}\n{"turns": "Where?"}\n{"a')
    found, left_out = read_questions(str(file))
    assert [item.messages[0]["content"] for item in found] == ["Who?", "Where?"]
    assert [text.partition(": ")[0][-1] for text in left_out] == ["2", "3", "4", "6"]
    file.write_text('{"turns": []}\n')
    with pytest.raises(WorkbenchError, match=r"holds no question: .*turns is no list of texts"):
        read_questions(str(file))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "neither is given"),
        ({"judge": "j", "endpoint": "http://x"}, "both are given"),
        ({"endpoint": "localhost:80"}, "is no address of a server"),
        ({"endpoint": "http://x", "verdict": "likelihood"}, "does not tell how likely"),
        ({"judge": "j", "models": ["a", "a"]}, "'a' is given twice"),
        ({"judge": "j", "models": ["a", "b", "c"]}, "these are 3: a, b, c"),
        ({"judge": "j", "rubric": "none.md"}, "There is no file none.md"),
        ({"judge": "j", "models": ["a"], "judging": "pairwise"}, "One model alone cannot be compared"),
        ({"judge": "j", "rubric": " "}, "The rubric is empty"),
    ],
)
def test_recipes_that_cannot_be(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WorkbenchError, match=sentence):
        validate(AssessRecipe, {"models": ["a", "b"], "prompts": "p", **values}).resolved()


def test_a_rubric_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rubric.md"
    file.write_text("Only rhymes count.\n")
    recipe = validate(AssessRecipe, {"models": ["a"], "prompts": "p", "judge": "j", "rubric": "rubric.md"})
    assert recipe.absolute(tmp_path).resolved().rubric == "Only rhymes count."


def test_a_verdict_knows_when_it_says_nothing() -> None:
    empty = Verdict(
        question="1", turn=1, category="", prompt=(), asked=(), models=("a",), samples=(0,), answers=(("x",),)
    )
    assert empty.none


def test_judging_needs_no_harness_and_benchmarks_say_that_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where lm-eval was not installed: its distribution is not found."""
    found = metadata.version

    def version(name: str) -> str:
        if name == "lm_eval":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", version)
    assert registry.engine("benchmarks").capabilities().stages == ("assess",)
    require_engine(recipe_from({"stage": "assess", "prompts": "asked", "models": ["a", "b"], "judge": "a"}))
    with pytest.raises(WorkbenchError) as told:
        require_engine(recipe_from({"stage": "benchmark", "model": "tiny", "panel": "quick"}))
    assert told.value.what == "Benchmarks need lm-eval, which is not installed."
    assert told.value.remedy == "Install it: pip install 'llm-workbench[benchmarks]'"
    done = CliRunner().invoke(doctor, ["--json"])
    assert {"what": told.value.what, "remedy": "pip install 'llm-workbench[benchmarks]'"} in json.loads(done.stdout)[
        "problems"
    ]
    lines = CliRunner().invoke(doctor).stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip() == "ok       benchmarks: assess on cpu")
    assert [line.strip() for line in lines[place + 1 : place + 3]] == [
        "missing  benchmarks: Benchmarks need lm-eval, which is not installed.",
        "pip install 'llm-workbench[benchmarks]'",
    ]
