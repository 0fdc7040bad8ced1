"""Passes, presets, counts and examples: what an import does with its steps, on small inputs."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.corpus.test_pipeline_faults import write_rows
from workbench.corpus import looking
from workbench.corpus.cleaning import presets
from workbench.corpus.cleaning.length import Length
from workbench.corpus.pipeline import notes
from workbench.corpus.pipeline.batches import Consumed, batches
from workbench.corpus.pipeline.passes import Pass, passes_of
from workbench.corpus.reading import Raw, Reject
from workbench.corpus.trial import Trial
from workbench.errors import WorkbenchError
from workbench.recipes.corpus import ImportRecipe


def steps(*names: str):
    return presets.steps_from([{"step": name} for name in names])


# ------------------------------------------------------------------ passes and batches


@pytest.mark.parametrize(
    ("names", "passes"),
    [
        ([], [Pass(), Pass()]),
        (["normalise", "length"], [Pass(judged=(0, 1)), Pass()]),
        (["normalise", "exact-duplicates"], [Pass(judged=(0,), keyed=(1,)), Pass(decided=(1,))]),
        (
            ["exact-duplicates", "near-duplicates", "length"],
            [Pass(keyed=(0, 1)), Pass(decided=(0, 1), judged=(2,)), Pass()],
        ),
        (
            ["exact-duplicates", "paragraph-duplicates", "near-duplicates"],
            [Pass(keyed=(0, 1)), Pass(decided=(0, 1), keyed=(2,)), Pass(decided=(2,))],
        ),
        (["paragraph-duplicates"], [Pass(keyed=(0,)), Pass(decided=(0,)), Pass()]),
    ],
)
def test_steps_that_compare_are_barriers(names, passes):
    assert passes_of(steps(*names)) == passes


def test_batches_depend_on_the_sources_alone():
    draw = random.Random(0)
    items = [Raw(content=bytes(draw.randrange(60_000)), source=f"{n}", file=0) for n in range(400)]
    items.insert(7, Reject("bad", "broken", "x" * 100))  # type: ignore[arg-type]
    consumed = Consumed(lambda: None)

    def reading():
        for item in items:
            consumed.add(10)
            yield item

    found = list(batches(reading(), consumed))
    assert [item for batch in found for item in batch.items] == items
    assert sum(batch.consumed for batch in found) == 10 * len(items)
    assert found[0].size < 130_000 < found[2].size  # the first ones are small: there is something to see at once
    assert max(batch.size for batch in found) < (8 << 20) + 60_000
    assert len({batch.digest for batch in found}) == len(found)
    again = list(batches(iter(items), Consumed(lambda: None)))
    assert [batch.digest for batch in again] == [batch.digest for batch in found]


# ------------------------------------------------------------------ examples


def test_the_lowest_are_kept_however_they_come():
    numbers = list(enumerate(random.Random(1).sample(range(10_000), 500)))
    expected = sorted(number for _, number in numbers)[:20]
    for _ in range(3):
        random.shuffle(numbers)
        lowest = notes.Lowest(20)
        for ordinal, number in numbers:
            if lowest.wants("a", number):
                lowest.add("a", number, ordinal, None)
        assert sorted(number for _, number, _ in lowest.rows()) == expected
    assert not notes.Lowest(0).wants("a", 1)


def test_an_excerpt_lies_around_the_first_span():
    text = "a" * 50_000 + "offence" + "b" * 50_000
    shown, spans = notes.excerpt(text, ((50_000, 50_007), (99_000, 99_005)), 1000)
    assert len(shown) == 1000
    assert [shown[span["start"] : span["stop"]] for span in spans] == ["offence"]
    assert notes.excerpt("short", (), 1000) == ("short", [])


def test_a_change_is_shown_where_it_is():
    before = "x" * 5000 + "one" + "y" * 5000
    sides = notes.around_change(before, before.replace("one", "two"))
    assert sides[0].replace("one", "two") == sides[1]
    assert len(sides[0]) == notes.CHANGE_CHARACTERS


def test_tables_beside_the_documents(stage, tmp_path):
    write_rows(tmp_path / "rows.jsonl", 300)
    entries = [
        {"step": "normalise"},
        {"step": "length", "min_characters": 100},
        *({"step": f"{k}-duplicates"} for k in ("exact", "near")),
    ]
    made = stage("import", sources=[str(tmp_path)], clean=entries, keep_rejects=7)
    tables = {
        name: pq.read_table(made.output / f"{name}.parquet").to_pylist()
        for name in ("rejects", "changes", "clusters", "sample")
    }
    counts: dict[tuple[str, str], int] = {}
    for row in tables["rejects"]:
        counts[row["step"], row["reason"]] = counts.get((row["step"], row["reason"]), 0) + 1
    funnel = {step["step"]: step for step in made.report["funnel"]}
    for (name, reason), count in counts.items():
        assert count == min(7, funnel[name]["reasons"][reason])
    assert len(counts) == 3
    short = next(row for row in tables["rejects"] if row["step"] == "length")
    assert (short["parameter"], short["limit"], short["value"]) == ("min_characters", 100, len(short["text"]))
    assert [row["position"] for row in tables["rejects"]] == sorted(row["position"] for row in tables["rejects"])
    assert 0 < len(tables["changes"]) <= 20
    assert all(row["before"] != row["after"] for row in tables["changes"])
    assert len(tables["sample"]) == 300
    assert any("\r\n" in row["text"] for row in tables["sample"])  # as it came
    clusters: dict[int, list[dict]] = {}
    for row in tables["clusters"]:
        clusters.setdefault(row["cluster"], []).append(row)
    assert len(clusters) > 10
    assert all(sum(row["kept"] for row in members) == 1 < len(members) for members in clusters.values())
    assert made.report["by_language"] == {"": {"documents": made.report["documents"], "bytes": made.report["bytes"]}}
    assert sum(made.report["lengths"].values()) == made.report["documents"]


# ------------------------------------------------------------------ presets


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_can_be_read(name):
    found = presets.load(name)
    assert presets.steps_from(presets.plain(found)) == found
    assert (found == []) == (name == "none")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("- step: normalize", r"There is no cleaning step 'normalize'\. Did you mean normalise\?"),
        (
            "- {step: length, min_character: 3}",
            r"length in .* has no parameter 'min_character'\. Did you mean min_characters\?",
        ),
        (
            "- {step: length, min_characters: many}",
            r"In the step length of .*: min_characters is 'many', but should be a whole",
        ),
        ("- length", r"mine\.yaml has an entry that does not say its step: 'length'\. Write each as"),
        ("step: length", r"is not a list of steps\."),
        ("- {step: length", r"is not valid YAML at line \d\."),
    ],
)
def test_a_wrong_preset_is_told_with_the_nearest(tmp_path, content, sentence):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(WorkbenchError, match=sentence):
        presets.load(str(tmp_path / "mine.yaml"))


def test_a_projects_own_presets(tmp_path):
    (tmp_path / "cleaning").mkdir()
    (tmp_path / "cleaning" / "mine.yaml").write_text("- {step: words, file: ../cleaning/bad.txt, max_count: 1}")
    (step,) = presets.load("mine", tmp_path)
    assert presets.files_of([step]) == [str(tmp_path / "cleaning" / "bad.txt")]
    with pytest.raises(
        WorkbenchError, match=r"There is no cleaning preset 'mines'\. Did you mean mine\? Your own go to"
    ):
        presets.load("mines", tmp_path)


def test_a_recipe_holds_the_steps():
    recipe = presets.resolved(ImportRecipe(sources=["a"], min_characters=30))
    assert isinstance(recipe.clean, list)
    assert [entry["step"] for entry in recipe.clean] == ["html-text", "normalise", "length", "exact-duplicates"]
    assert recipe.clean[2] == {"step": "length", "version": 1, "min_characters": 30, "max_characters": None}
    assert presets.resolved(recipe) == recipe
    assert recipe.identity() != presets.resolved(ImportRecipe(sources=["a"])).identity()
    assert ImportRecipe(sources=["a"], clean="mine.yaml").absolute(Path("/here")).clean == "/here/mine.yaml"
    assert ImportRecipe(sources=["a"], clean="mine").absolute(Path("/here")).clean == "mine"


# ------------------------------------------------------------------ looking


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    from tests.corpus.conftest import make_stage

    folder = tmp_path_factory.mktemp("looked")
    lines = [{"text": f"Number {n} is {'long ' * n}and speaks of Straße {n}."} for n in range(100)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    entries = [{"step": "normalise"}, {"step": "length", "min_characters": 100, "max_characters": 400}]
    return make_stage(folder, "import", {"sources": [str(folder / "rows.jsonl")], "clean": entries}).run(), entries


def test_rejects_by_step_and_reason(looked_at):
    folder = looked_at[0].output
    assert len(list(looking.rejects(folder))) == sum(looked_at[0].report["dropped"].values())
    (broken,) = looking.rejects(folder, step="read")
    assert (broken.reason, broken.source, broken.position) == ("broken JSON", "rows.jsonl", 100)
    short = list(looking.rejects(folder, reason="under 100 characters"))
    assert all(one.step == "length" and one.value == len(one.text) < 100 for one in short)
    with pytest.raises(WorkbenchError, match=r"Nothing was rejected for the reason 'under'\. .*under 100 characters"):
        list(looking.rejects(folder, reason="under"))


def test_documents_are_found(looked_at):
    folder, documents = looked_at[0].output, looked_at[0].report["documents"]
    found = looking.find_documents(folder, search="STRAßE 2", limit=3)
    assert found.total == 10
    first = found.documents[0]
    assert first.hit is not None
    assert first.excerpt[slice(*first.hit)] == "Straße 2"
    everything = looking.find_documents(folder, limit=2, skip=1)
    assert everything.total == documents
    assert [one.number for one in everything.documents] == [1, 2]
    assert looking.find_documents(folder, search="nowhere").total == 0
    with pytest.raises(WorkbenchError, match=r"No document is of the language 'en'\."):
        looking.find_documents(folder, language="en")


def test_a_moved_threshold(looked_at):
    made, entries = looked_at
    trial = Trial(made.output, entries)
    effect = trial.move({"length.min_characters": 50}, seconds=60)
    before, after = (Length(min_characters=least, max_characters=400) for least in (100, 50))
    assert (effect.documents, effect.sampled) == (100, 100)
    kept = [sum(step.apply(document).outcome == "kept" for document in trial.sample) for step in (before, after)]
    assert [effect.kept_before, effect.kept_after] == kept
    assert effect.kept_before == made.report["documents"] < effect.kept_after
    assert len(effect.now_kept) == effect.kept_after - effect.kept_before
    assert all(50 <= len(fate.document.text) < 100 for fate in effect.now_kept)
    assert effect.now_rejected == []
    stricter = trial.move({"length.max_characters": 300}, seconds=60)
    assert stricter.funnel["length"][1] - stricter.funnel["length"][0] == len(stricter.now_rejected) > 0
    # However slow the machine, it is not about a handful of documents.
    hurried = Trial(made.output, entries).move({"length.min_characters": 50}, seconds=0)
    assert (hurried.documents, hurried.sampled) == (50, 100)
    # The same as an import with that threshold.
    assert stricter.kept_after == sum(100 <= len(document.text) <= 300 for document in trial.sample)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("lenght.min_characters", r"was not cleaned with a step 'lenght'\. Did you mean length\?"),
        ("length.min", r"The step length in the trial has no parameter 'min'\."),
    ],
)
def test_what_cannot_be_tried(looked_at, key, sentence):
    with pytest.raises(WorkbenchError, match=sentence):
        Trial(looked_at[0].output, looked_at[1]).move({key: 1})


def test_a_comparison_cannot_be_tried(stage, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    made = stage("import", sources=[str(tmp_path)])
    with pytest.raises(WorkbenchError, match="compares all documents of a corpus"):
        Trial(made.output, presets.plain(presets.load("plain"))).move({"exact-duplicates.x": 1})
