"""The stages for real: a tiny model answers, people and rules judge, and training's files come out."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.road import import_recipe, make, pretrain_recipe, tokenizer_recipe, write_texts
from workbench.contract import Score
from workbench.corpus.chats.pairs import read_marks, read_pairs
from workbench.errors import WorkbenchError
from workbench.preferences.arena import SCALE, Arena
from workbench.preferences.candidates import Answer, Candidates, Prompt
from workbench.preferences.judge import ModelVerdicts
from workbench.preferences.ranking import RewardChoice
from workbench.preferences.scores import Scores
from workbench.preferences.sets import candidate_set, candidate_sets, progress
from workbench.recipes.base import Recipe
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.runs.submit import stop, submit, wait
from workbench.store import artifacts, runs
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, create


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Catalog]]:
    """A project with a tiny model that was trained for a few steps."""
    root = tmp_path_factory.mktemp("road")
    project = create(root / "my-llm")
    with open_catalog(project) as catalog:
        states = make(
            project, catalog, import_recipe(write_texts(root / "texts", 40)), tokenizer_recipe(), pretrain_recipe()
        )
        assert [state.state for state in states] == ["finished"] * 4
        yield project, catalog


def candidates_recipe(name: str, **more: Any) -> Recipe:
    values = {"models": ["base"], "per_prompt": 3, "max_tokens": 12, "temperatures": [0.7, 1.3], **more}
    return recipe_from({"stage": "candidates", "name": name, **values})


def done(project: Project, catalog: Catalog, recipe: Recipe) -> artifacts.Artifact:
    (state,) = make(project, catalog, recipe)
    assert (state.state, state.reason) == ("finished", "")
    return artifacts.resolve(project, catalog, recipe.produces, recipe.title())


@pytest.fixture(scope="module")
def mine(road: tuple[Project, Catalog]) -> artifacts.Artifact:
    """Answers to two typed prompts and to the beginnings of six documents."""
    project, catalog = road
    recipe = candidates_recipe("mine", typed=["the cat", "a dog"], corpus="books", max_prompts=6, beginning=40)
    return done(project, catalog, recipe)


def test_candidates_are_written_to_typed_prompts_and_beginnings(
    road: tuple[Project, Catalog], mine: artifacts.Artifact
) -> None:
    project, _ = road
    prompts = list(Candidates(artifacts.folder_of(project, mine) / "candidates.jsonl").prompts.values())
    assert len(prompts) == 6
    assert mine.report["answers"] == 18
    assert mine.report["pairs"] == 18
    texts = [prompt.messages[0]["content"] for prompt in prompts]
    assert all(text in ("the cat", "a dog") or (text.startswith("Story ") and 20 <= len(text) <= 40) for text in texts)
    assert all([answer.temperature for answer in prompt.answers] == [0.7, 1.3, 0.7] for prompt in prompts)
    assert sum(bool(answer.text) for prompt in prompts for answer in prompt.answers) >= 16
    assert len({answer.id for prompt in prompts for answer in prompt.answers}) == 18


def test_prompts_of_a_file_and_a_system_message(road: tuple[Project, Catalog], tmp_path: Path) -> None:
    project, catalog = road
    file = tmp_path / "asked.txt"
    file.write_text("my sister\nthe old king\n")
    recipe = candidates_recipe("asked", prompts=str(file), system="Tell a story.", per_prompt=2)
    states = make(project, catalog, recipe)
    assert [state.state for state in states] == ["finished", "finished"]  # the prompts were imported on the way
    found = candidate_set(project, catalog, "asked")
    messages = [prompt.messages for prompt in Candidates(found.candidates).prompts.values()]
    assert messages == [
        [{"role": "system", "content": "Tell a story."}, {"role": "user", "content": text}]
        for text in ("my sister", "the old king")
    ]


def test_a_stopped_run_can_be_ranked_and_goes_on_where_it_was(road: tuple[Project, Catalog]) -> None:
    project, catalog = road
    recipe = candidates_recipe("many", corpus="books", max_prompts=40, max_tokens=48)
    (run,) = submit(project, catalog, plan(project, catalog, [recipe]))
    assert run is not None
    path = project.runs / run / "candidates.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < 3:
        time.sleep(0.02)
    growing = candidate_set(project, catalog, "many")
    assert growing.growing
    assert growing.candidates == path
    arena = Arena(growing.candidates, growing.judgements, "ann", overlap=0, repeat=0)
    assert arena.next() is not None
    first = arena.judge("left", 1)
    stop(project, catalog, run)
    assert wait(project, run).state == "stopped"
    kept = path.read_bytes()
    assert 3 <= kept.count(b"\n") < 40
    with open(path, "ab") as file:
        file.write(b'{"id": "torn')  # as if a kill had come in the middle of a line
    (again,) = plan(project, catalog, [recipe])
    assert (again.action, again.run) == ("resume", run)  # the same command again goes on
    submit(project, catalog, [again])
    assert wait(project, run).state == "finished"
    whole = candidate_set(project, catalog, "many")
    assert whole.run == ""
    assert whole.identity == growing.identity
    assert whole.candidates.read_bytes().startswith(kept)
    assert progress(whole).prompts == 40
    assert first.id in Arena(whole.candidates, whole.judgements, "ann").book.judgements


def test_judgements_become_preferences_once_training_asks_for_them(
    road: tuple[Project, Catalog], mine: artifacts.Artifact
) -> None:
    project, catalog = road
    item = candidate_set(project, catalog, "mine")
    arena = Arena(item.candidates, item.judgements, "ann", overlap=0, repeat=0, seed=1)
    chosen = []
    for _ in range(5):
        pair = arena.next()
        assert pair is not None
        arena.judge(*SCALE[1], tags=["wrong"])
        chosen.append(pair.prompt.answer(pair.left).text)
    made = done(project, catalog, recipe_from({"stage": "collect", "candidates": "mine", "judgements": 4}))
    assert made.id == "mine-judged"
    assert made.report["pairs"] == 4
    assert made.report["raters"] == {"ann": 4}
    folder = artifacts.folder_of(project, made)
    pairs = list(read_pairs(folder))
    assert [pair.chosen[0]["content"] for pair in pairs] == chosen[:4]  # the first four judgements alone
    assert {(pair.margin, pair.tags, pair.rater) for pair in pairs} == {(1.0, ("wrong",), "ann")}
    assert len(list(read_marks(folder))) == 8
    assert (folder / "judgements.jsonl").read_bytes() == b"".join(
        item.judgements.read_bytes().splitlines(keepends=True)[:4]
    )


def test_a_rule_judges_all_pairs(road: tuple[Project, Catalog], mine: artifacts.Artifact) -> None:
    project, catalog = road
    recipe = {"stage": "judge", "candidates": "mine", "rule": "letter-share", "letter": "E", "name": "by-e"}
    made = done(project, catalog, recipe_from(recipe))

    def share(text: str) -> float:
        letters = [letter for letter in text.lower() if letter.isalpha()]
        return letters.count("e") / max(1, len(letters))

    pairs = list(read_pairs(artifacts.folder_of(project, made)))
    assert made.report["pairs"] + made.report["ties"] <= 18
    assert len(pairs) == made.report["pairs"] >= 10
    assert all(share(pair.chosen[0]["content"]) > share(pair.rejected[0]["content"]) for pair in pairs)
    assert {pair.rater for pair in pairs} == {"rule letter-share"}
    for mark in read_marks(artifacts.folder_of(project, made)):
        others = [pair for pair in pairs if mark.completion in (pair.chosen, pair.rejected)]
        assert all((mark.completion == pair.chosen) == mark.label for pair in others if pair.prompt == mark.prompt)


def test_a_model_judges_in_both_orders(road: tuple[Project, Catalog], mine: artifacts.Artifact) -> None:
    project, catalog = road
    recipe = {"stage": "judge", "candidates": "mine", "rule": "model", "model": "base", "name": "by-model"}
    made = done(project, catalog, recipe_from(recipe))
    pairs = list(read_pairs(artifacts.folder_of(project, made)))
    assert len(pairs) == made.report["pairs"] >= 15
    assert {pair.rater for pair in pairs} == {"base"}
    alike = round(made.report["same_in_both_orders"] * (made.report["pairs"] + made.report["ties"]), 2)
    assert alike == pytest.approx(round(alike), abs=0.01)
    assert 0 <= made.report["first_shown_won"] <= 1


def test_a_place_that_a_model_likes_decides_nothing() -> None:
    class Biased:
        """Holds the first answer likelier wherever it stands, and a little more so the longer one."""

        chat_template = None

        def render(self, messages: list[dict[str, str]]) -> str:
            return messages[0]["content"]

        def score(self, pairs: list[tuple[str, str]]) -> list[Score]:
            first, second = re.findall(r"\[Answer [AB]\]\n(.*)\n", pairs[0][0])
            odds = 5.0 + 0.1 * (len(first) - len(second))
            return [Score(log_likelihood=odds, tokens=1, greedy=True), Score(log_likelihood=0, tokens=1, greedy=True)]

    verdicts = ModelVerdicts(Biased(), "Which is better?")  # type: ignore[arg-type]
    texts = ["a long answer", "short", "short"]
    answers = [
        Answer(id=str(n), model="", kind="", temperature=0, seed=0, text=text, finish="stop")
        for n, text in enumerate(texts)
    ]
    prompt = Prompt(id="0", messages=[{"role": "user", "content": "?"}], answers=answers)
    assert verdicts.better(prompt, answers[0], answers[1]) is True
    assert verdicts.better(prompt, answers[1], answers[0]) is False
    assert verdicts.better(prompt, answers[1], answers[2]) is None
    assert verdicts.report() == {"same_in_both_orders": 0.0, "first_shown_won": 1.0, "ties": 1}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rule": "regex"}, "The rule regex needs a pattern."),
        ({"rule": "regex", "pattern": "(("}, "The pattern '((' is no regular expression"),
        ({"rule": "longest", "letter": "e"}, "The rule longest has no use for --letter."),
        ({"rule": "model"}, "The rule model needs a model."),
    ],
)
def test_a_rule_that_cannot_be_is_told(values: dict[str, str], sentence: str) -> None:
    recipe = recipe_from({"stage": "judge", "candidates": "mine", **values})
    with pytest.raises(WorkbenchError) as error:
        recipe.resolved()
    assert sentence in str(error.value)


def test_a_rule_by_which_all_are_alike_fails_in_words(road: tuple[Project, Catalog], mine: artifacts.Artifact) -> None:
    project, catalog = road
    (state,) = make(
        project, catalog, recipe_from({"stage": "judge", "candidates": "mine", "rule": "regex", "pattern": "qqqqq"})
    )
    assert state.state == "failed"
    assert state.reason == "By the rule regex no answer is better than another."


def test_sets_are_listed_newest_first(road: tuple[Project, Catalog], mine: artifacts.Artifact) -> None:
    project, catalog = road
    assert "mine" in [item.id for item in candidate_sets(project, catalog)]
    made = [item.created for item in candidate_sets(project, catalog)]
    assert all(newer >= older for newer, older in itertools.pairwise(made))
    with pytest.raises(WorkbenchError, match="Did you mean mine"):
        candidate_set(project, catalog, "mien")
    assert json.loads((artifacts.folder_of(project, mine) / "artifact.json").read_text())["kind"] == "candidates"
    assert runs.read(project, str(mine.run))[0].engine == "preferences"


def test_a_reward_model_scores_answers_beside_the_ranking(
    road: tuple[Project, Catalog], mine: artifacts.Artifact, tmp_path: Path
) -> None:
    project, catalog = road
    recipe = {"stage": "judge", "candidates": "mine", "rule": "letter-share", "letter": "e", "name": "for-reward"}
    done(project, catalog, recipe_from(recipe))
    values = {"schedule": {"max_steps": 4}, "precision": {"dtype": "float32"}, "name": "likes-e"}
    reward = done(
        project, catalog, recipe_from({"stage": "reward", "base": "base", "preferences": "for-reward", **values})
    )
    folder = artifacts.folder_of(project, reward)
    item = candidate_set(project, catalog, "mine")
    file = tmp_path / "judged" / "judgements.jsonl"
    growing = tmp_path / "candidates.jsonl"
    lines = item.candidates.read_bytes().splitlines(keepends=True)
    growing.write_bytes(b"".join(lines[:4]))
    scores = Scores(growing, file, RewardChoice(name="likes-e", identity=reward.identity, folder=folder))
    scores.start()
    try:
        until(lambda: scores.refresh() is not None and len(scores.known) == 12)
        with open(growing, "ab") as more:
            more.writelines(lines[4:])
        until(lambda: scores.refresh() is not None and len(scores.known) == 18)
    finally:
        scores.close()
    arena = Arena(growing, file, "ann", overlap=0, repeat=0, scores=scores.scores, seed=1)
    gain = arena.choice.gain(5)
    assert gain is not None
    assert gain[0] >= gain[1]
    differences = []
    while pair := arena.next():
        if {pair.left, pair.right} <= scores.scores.keys():
            differences.append(abs(scores.scores[pair.left] - scores.scores[pair.right]))
        arena.judge("tie")
    assert len(differences) >= 15
    assert differences == sorted(differences)
    kept = Scores(growing, file, scores.reward)
    assert kept.scores == scores.scores  # another session finds them
    wrong = Scores(growing, file, RewardChoice(name="no", identity="c0ffee", folder=tmp_path / "nowhere"))
    wrong.start()
    with pytest.raises(WorkbenchError, match="The reward model no scores nothing"):
        until(lambda: wrong.refresh() is None)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
