"""Items that were planted in a corpus are found, all of them and nothing else; and the scores without them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.benchmarks.measured import add_benchmark, add_model, choice, measured, text_item
from workbench.benchmarks.contamination import contamination, corpora_of, text_of
from workbench.benchmarks.lookup import resolve
from workbench.benchmarks.results import Item
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.documents import CorpusWriter
from workbench.corpus.overlap import Search
from workbench.errors import WorkbenchError
from workbench.store import artifacts
from workbench.store.artifacts import Artifact
from workbench.store.catalog import Catalog
from workbench.store.project import Project

SYLLABLES = ["ka", "lo", "mi", "ru", "ten", "sha", "vor", "ix", "pel", "quo", "dra", "ze"]


def sentence(draw: random.Random, words: int) -> str:
    return " ".join("".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))) for _ in range(words))


def words_of(text: str) -> list[str]:
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text.lower()).split()


def grams_of(text: str, n: int) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}


def look(search: Search, documents: Sequence[str], corpus: str = "corpus/a", first: int = 0) -> None:
    search.look(pa.array(documents, pa.string()), corpus, first, [f"{number}.txt" for number in range(len(documents))])


def write_corpus(folder: Path, documents: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with CorpusWriter(folder) as writer:
        for number, text in enumerate(documents):
            writer.add(text, f"{number}.txt")
    return folder


def questions(draw: random.Random, n: int = 60, words: int = 30) -> list[Item]:
    return [choice("arc", number, number % 2 == 0, sentence(draw, words)) for number in range(n)]


def test_what_was_planted_is_found_with_its_place(tmp_path: Path) -> None:
    draw = random.Random(1)
    items = questions(draw)
    documents = [sentence(draw, 400) for _ in range(50)]
    # Thirteen words of item 4 in other case and with punctuation, twelve of item 8, all of item 10 in two documents.
    thirteen = words_of(items[4].prompt)[7:20]
    documents[3] += " «" + ", ".join(thirteen).upper() + "!»"
    documents[5] += " " + " ".join(words_of(items[8].prompt)[:12])
    documents[7] += "\n" + text_of(items[10]) + " and on"
    documents[41] = text_of(items[10]).replace(" ", " \t\n ")
    benchmark = measured(tmp_path / "base", {"arc": items})
    seen: list[tuple[int, int]] = []
    found = contamination(
        benchmark, {"corpus/books": write_corpus(tmp_path / "books", documents)}, lambda *far: seen.append(far)
    )
    assert {hit.item: hit.documents for hit in found.touched} == {"4": 1, "10": 2}
    four, ten = found.touched
    assert (four.words, four.found) == (" ".join(thirteen), 1)
    assert four.places[0].document == 3
    assert [(place.corpus, place.document, place.source) for place in ten.places] == [
        ("corpus/books", 7, "7.txt"), ("corpus/books", 41, "41.txt"),
    ]  # fmt: skip
    assert ten.found == ten.of == 31 - 13 + 1
    (task,) = found.tasks
    assert (task.gram, task.n, task.touched, task.too_short) == (13, 60, 2, 0)
    assert found.documents == 50
    assert seen[-1][0] == seen[-1][1] == pytest.approx(found.bytes, rel=0.01)


def test_the_score_without_the_touched_items(tmp_path: Path) -> None:
    """Right answers stand at even numbers; ten of them, and nothing else, were in the text."""
    draw = random.Random(2)
    items = questions(draw)
    folder = write_corpus(tmp_path / "books", [items[number].prompt for number in range(0, 20, 2)])
    (task,) = contamination(measured(tmp_path / "base", {"arc": items}), {"corpus/books": folder}).tasks
    assert task.all is not None
    assert task.clean is not None
    assert task.dirty is not None
    assert (task.all.value, task.clean.value, task.dirty.value) == (0.5, 0.4, 1.0)
    assert (task.clean.n, task.dirty.n) == (50, 10)
    assert task.clean.low == pytest.approx(0.276, abs=0.001)  # Wilson's for 20 of 50


def test_nothing_touched_and_everything_touched(tmp_path: Path) -> None:
    draw = random.Random(3)
    items = questions(draw, n=20)
    benchmark = measured(tmp_path / "base", {"arc": items})
    empty = write_corpus(tmp_path / "other", [sentence(draw, 300)])
    (task,) = contamination(benchmark, {"corpus/other": empty}).tasks
    assert (task.touched, task.dirty, task.clean) == (0, None, task.all)
    full = write_corpus(tmp_path / "full", ["\n".join(item.prompt for item in items)])
    (task,) = contamination(benchmark, {"corpus/full": full}).tasks
    assert (task.touched, task.clean, task.dirty) == (20, None, task.all)


def test_random_text_agrees_with_the_definition() -> None:
    """A vocabulary of three words, so that runs meet by chance: the same items and documents as by sets of tuples."""
    for seed in range(40):
        draw = random.Random(seed)
        vocabulary = ["naïve,", "don't", "Ünder"]
        texts = [" ".join(draw.choices(vocabulary, k=draw.randint(4, 16))) for _ in range(12)]
        items = [("short" if number % 3 else "long", text) for number, text in enumerate(texts)]
        documents = [" ".join(draw.choices(vocabulary, k=draw.randint(0, 200))) for _ in range(30)]
        documents[4] = texts[5] + " — " + texts[6].upper()
        search = Search(items)
        look(search, documents[:11])
        look(search, documents[11:], first=11)
        expected: dict[int, set[int]] = {}
        for number, (task, text) in enumerate(items):
            own = grams_of(text, search.gram[task])
            places = {place for place, document in enumerate(documents) if own & grams_of(document, search.gram[task])}
            if places:
                expected[number] = places
        hits = search.hits()
        assert {number: hit.documents for number, hit in hits.items()} == {n: len(p) for n, p in expected.items()}
        assert expected
        for number, hit in hits.items():
            n = search.gram[items[number][0]]
            assert {place.document for place in hit.places} == set(sorted(expected[number])[:3])
            everywhere = set().union(*(grams_of(document, n) for document in documents))
            own = grams_of(items[number][1], n)
            assert (hit.found, hit.of) == (len(own & everywhere), len(own))
            assert tuple(hit.words.split()) in own & everywhere


def test_a_run_over_the_end_of_a_document_is_none() -> None:
    draw = random.Random(4)
    text = sentence(draw, 20)
    words = text.split()
    search = Search([("arc", text)])
    look(search, [" ".join(words[:12]), " ".join(words[12:]), "", "  ", "!?"])
    assert search.hits() == {}
    look(search, ["", " ".join(words[:13]), ""])
    assert search.hits()[0].places[0].document == 1


@pytest.mark.parametrize(("words", "gram", "too_short"), [(40, 13, 0), (13, 13, 0), (10, 10, 0), (8, 8, 0), (5, 8, 30)])
def test_the_length_follows_the_items(words: int, gram: int, too_short: int) -> None:
    """The 5th percentile of the items' lengths, between 8 and 13: with one item in 31 far shorter, that of the rest."""
    draw = random.Random(5)
    texts = [sentence(draw, words) for _ in range(30)]
    search = Search([("t", text) for text in [*texts, "tiny thing"]])
    assert search.gram == {"t": gram}
    assert search.too_short == {"t": too_short + 1}
    look(search, [" ".join(texts)])
    assert len(search.hits()) == 30 - too_short


def test_the_wording_of_a_task_touches_nothing() -> None:
    """Each of 40 items begins with the same instruction, which stands in a document; so does one item whole."""
    draw = random.Random(6)
    wording = "Read the following passage with care, then choose from the answers below the one that fits it best. "
    texts = [wording + sentence(draw, 20) for _ in range(40)]
    search = Search([("arc", text) for text in texts])
    look(search, [wording, texts[17] + ".", wording * 3])
    assert list(search.hits()) == [17]


def test_examples_before_a_question_are_not_its_own() -> None:
    item = replace(choice("arc", 1, True, "Example. Answer: x. What now?"), more={"question": "What now?"})
    assert text_of(item) == "What now?  yes"
    assert text_of(replace(item, choices=(), right=None, target="forty-two")) == "What now? forty-two"


def test_text_without_choices_is_looked_for_too(tmp_path: Path) -> None:
    draw = random.Random(7)
    items = [replace(text_item("text", number, 80.0 + number), target=sentence(draw, 50)) for number in range(12)]
    folder = write_corpus(tmp_path / "books", [items[3].target])
    (task,) = contamination(measured(tmp_path / "base", {"text": items}), {"corpus/books": folder}).tasks
    assert (task.metric, task.touched) == ("bits_per_byte", 1)
    assert task.clean is not None
    assert task.all is not None
    assert task.clean.value > task.all.value  # the touched one has 83 nats, the mean is 85.5


@pytest.fixture
def trained(project: Project, catalog: Catalog) -> tuple[Project, list[Item]]:
    """`tuned` learned from a corpus that holds items 0 and 2, and conversations that hold item 5; `other` holds 7."""
    draw = random.Random(8)
    items = questions(draw)
    books = _corpus(project, catalog, "books", [sentence(draw, 100), items[0].prompt + " " + items[2].prompt])
    _corpus(project, catalog, "other", [items[7].prompt])
    partial = project.folder("chats") / "talk.partial"
    partial.mkdir()
    with ConversationWriter(partial) as writer:
        writer.add([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": items[5].prompt}], None, "t:1")
    talk = _seal(project, catalog, partial, "chats", "talk")
    base = add_model(project, catalog, "base", {"corpus": books})
    tuned = add_model(project, catalog, "tuned", {"base": base, "data.0": talk})
    add_benchmark(project, catalog, tuned, {"arc": items})
    add_benchmark(project, catalog, add_model(project, catalog, "foreign"), {"arc": items})
    return project, items


def test_the_corpora_of_the_lineage_are_searched(trained: tuple[Project, list[Item]], catalog: Catalog) -> None:
    project, _ = trained
    benchmark = resolve(project, catalog, "tuned")
    corpora = corpora_of(project, catalog, benchmark)
    assert sorted(corpora) == ["chats/talk", "corpus/books"]
    found = contamination(benchmark, corpora)
    assert {hit.item: hit.places[0].corpus for hit in found.touched} == {
        "0": "corpus/books", "2": "corpus/books", "5": "chats/talk",
    }  # fmt: skip
    assert [
        hit.item for hit in contamination(benchmark, corpora_of(project, catalog, benchmark, ["other"])).touched
    ] == ["7"]


def test_a_corpus_that_is_gone_is_not_passed_over(trained: tuple[Project, list[Item]], catalog: Catalog) -> None:
    project, _ = trained
    shutil.rmtree(project.folder("chats") / "talk")
    with pytest.raises(WorkbenchError, match="chats/talk, which tuned was made from, is gone"):
        corpora_of(project, catalog, resolve(project, catalog, "tuned"))


def test_the_verb(trained: tuple[Project, list[Item]]) -> None:
    project, _ = trained
    done = run(project, "contamination", "tuned")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("arc"))
    assert line.split()[:7] == ["arc", "acc", "13", "60", "3", "5.0%", "50.0%"]
    found = json.loads(run(project, "contamination", "tuned", "--corpus", "other", "--json").stdout)
    assert found["corpora"] == ["corpus/other"]
    assert [(hit["item"], hit["places"][0]["source"]) for hit in found["touched"]] == [("7", "0.txt")]


def test_of_items_that_are_all_too_short_no_share_is_said(
    trained: tuple[Project, list[Item]], catalog: Catalog
) -> None:
    project, _ = trained
    brief = questions(random.Random(9), n=12, words=5)
    add_benchmark(project, catalog, add_model(project, catalog, "brief"), {"arc": brief})
    done = run(project, "contamination", "brief", "--corpus", "other")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("arc"))
    assert line.split()[3:7] == ["12", "0", "not", "told"]
    assert line.split()[-1] == "12"  # too short


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("foreign",), "No corpus of this project is known to have made foreign. Name one: --corpus NAME."),
        (("tuned", "--corpus", "boks"), "Did you mean books?"),
        (("tund",), "Did you mean tuned?"),
        (("base",), "Run it: workbench benchmark base --panel quick"),
    ],
)
def test_what_cannot_be_is_told(trained: tuple[Project, list[Item]], words: tuple[str, ...], sentence: str) -> None:
    done = run(trained[0], "contamination", *words)
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.split())


def run(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *words, "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def _corpus(project: Project, catalog: Catalog, name: str, documents: Sequence[str]) -> Artifact:
    partial = write_corpus(project.folder("corpus") / f"{name}.partial", documents)
    return _seal(project, catalog, partial, "corpus", name)


def _seal(project: Project, catalog: Catalog, partial: Path, kind: str, name: str) -> Artifact:
    return artifacts.seal(
        project, catalog, partial, kind=kind, name=name, identity=name.ljust(64, "0"), stage="import", run=None,
        recipe={}, inputs={}, report={}, versions={},
    )  # fmt: skip
