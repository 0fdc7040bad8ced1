"""The verbs corpus show, rejects, documents and try, on a corpus of some documents."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workbench.store.project import Project, create


def run(project: Project, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *map(str, words), "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With a corpus `notes`, cleaned by a preset of the project's own."""
    folder = tmp_path_factory.mktemp("project")
    made = create(folder / "my-llm")
    texts = [f"Note {number}: " + "the words of it and " * number + "no more." for number in range(40)]
    texts += [texts[30], "A clear \x1b]52;c;aGk=\x07screen\x1b[2J of the fourth kind " + "and so on " * 30]
    (folder / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (made.root / "cleaning").mkdir()
    preset = "- step: normalise\n- {step: length, min_characters: 200}\n- step: exact-duplicates\n"
    (made.root / "cleaning" / "mine.yaml").write_text(preset)
    done = run(made, "import", folder / "notes.jsonl", "--clean", "mine", "--name", "notes")
    assert done.returncode == 0, done.stderr
    return made


def test_the_funnel(project: Project) -> None:
    shown = json.loads(run(project, "corpus", "show", "notes", "--json").stdout)
    assert [step["step"] for step in shown["funnel"]] == ["read", "normalise", "length", "exact-duplicates"]
    assert shown["funnel"][0]["in"] == 42
    assert shown["funnel"][2]["reasons"] == {"under 200 characters": 10}
    assert shown["funnel"][3]["reasons"] == {"duplicate": 1}
    assert shown["documents"] == sum(shown["lengths"].values()) == 31
    text = run(project, "corpus", "show", "notes").stdout
    assert "under 200 characters 10" in text
    assert "notes: 31 documents" in text


def test_the_rejects(project: Project) -> None:
    found = json.loads(run(project, "corpus", "rejects", "notes", "--step", "length", "--json").stdout)
    assert len(found) == 10
    assert found[0]["parameter"] == "min_characters"
    assert found[0]["value"] == len(found[0]["text"])
    shown = run(project, "corpus", "rejects", "notes", "--reason", "duplicate")
    assert shown.stdout.startswith("exact-duplicates: duplicate\n  notes.jsonl, number 40\n")
    wrong = run(project, "corpus", "rejects", "notes", "--reason", "duplicates")
    assert wrong.returncode == 1
    assert "Did you mean duplicate?" in wrong.stderr


def test_the_documents(project: Project) -> None:
    found = json.loads(run(project, "corpus", "documents", "notes", "--search", "FOURTH kind", "--json").stdout)
    assert found["total"] == 1
    (one,) = found["documents"]
    start, stop = one["hit"]
    assert one["excerpt"][start:stop] == "fourth kind"
    assert (one["source"], one["position"]) == ("notes.jsonl", 41)
    shown = run(project, "corpus", "documents", "notes", "--search", "fourth kind")
    assert "⟦fourth kind⟧" in shown.stdout
    assert "\x1b" not in shown.stdout  # what a document holds reaches no terminal
    assert "1 of 1 document." in shown.stderr


def test_another_threshold(project: Project) -> None:
    tried = json.loads(run(project, "corpus", "try", "notes", "--set", "length.min_characters=100", "--json").stdout)
    assert (tried["documents"], tried["sampled"]) == (42, 42)
    assert tried["funnel"]["length"] == {"rejected_before": 10, "rejected_after": 5}
    assert (tried["kept_before"], tried["kept_after"]) == (32, 37)  # duplicates are not compared
    assert len(tried["now_kept"]) == 5
    shown = run(project, "corpus", "try", "notes", "--set", "length.min_characters=100").stdout
    assert shown.startswith("Of 42 sampled documents 37 are kept, before 32.")
    assert "Kept now (was length: under 200 characters" in shown


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("corpus", "shw"), 2, "There is no verb 'corpus shw'."),
        (("corpus", "show", "note"), 1, "Did you mean notes?"),
        (("corpus", "try", "notes", "--set", "length"), 2, "Write it as --set STEP.PARAMETER=VALUE."),
        (
            ("corpus", "try", "notes", "--set", "length.min=3"),
            1,
            "The step length in the trial has no parameter 'min'.",
        ),
        (("import", "x.txt", "--clean", "min"), 1, "There is no cleaning preset 'min'. Did you mean mine?"),
    ],
)
def test_wrong_words(project: Project, words: tuple[str, ...], status: int, sentence: str) -> None:
    done = run(project, *words)
    assert done.returncode == status
    assert sentence.replace("?", "") in done.stderr.replace("\n       ", " ")
    assert "Traceback" not in done.stderr


def test_one_document_from_which_nothing_was_left_out(project: Project, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("A text that is alone.")
    assert run(project, "import", tmp_path / "one.txt", "--clean", "none", "--name", "one").returncode == 0
    shown = run(project, "corpus", "show", "one")
    assert shown.stdout.startswith("one: 1 document, 21 B\n")
    assert "rejects" not in shown.stderr
    assert "corpus rejects notes" in run(project, "corpus", "show", "notes").stderr


def test_an_import_that_ended_goes_on(project: Project, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "long.yaml").write_text("- {step: length, min_characters: 1000}\n")
    words = ("import", tmp_path / "short.txt", "--clean", tmp_path / "long.yaml", "--name", "short")
    first = run(project, *words)
    assert first.returncode == 1
    assert "The corpus would be empty" in first.stderr
    (failed,) = [path for path in project.runs.iterdir() if "short.txt" in (path / "recipe.yaml").read_text()]
    (failed / "work").mkdir()  # as a stop or a full disk leaves it
    again = run(project, *words)
    assert again.stderr.startswith(f"import: going on with {failed.name}")
    assert "The corpus would be empty" in again.stderr


def test_a_list_of_words_is_part_of_what_a_corpus_is(project: Project, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A badword here.")
    (tmp_path / "b.txt").write_text("A fine word here.")
    (tmp_path / "words.txt").write_text("badword\n")
    (tmp_path / "listed.yaml").write_text("- {step: words, file: words.txt, max_count: 0}\n")
    words = ("import", tmp_path / "a.txt", tmp_path / "b.txt", "--clean", tmp_path / "listed.yaml", "--json")
    first = json.loads(run(project, *words, "--name", "listed").stdout)
    assert first["metrics"]["funnel"][1]["rejected"] == 1
    assert json.loads(run(project, *words, "--name", "listed").stdout)["skipped"]
    (tmp_path / "words.txt").write_text("otherword\n")
    second = json.loads(run(project, *words, "--name", "listed").stdout)
    assert not second["skipped"]
    assert second["metrics"]["funnel"][1]["rejected"] == 0


def test_what_was_not_fetched_is_read_again_on_request(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("A page that is there.")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        words = ("import", f"{root}/a.txt", f"{root}/b.txt", "--name", "pages")
        first = run(project, *words)
        assert "warning: 1 source was not fetched: the same command with --again reads all of them anew" in first.stderr
        (tmp_path / "b.txt").write_text("A page that came later.")
        same = run(project, *words)
        assert "import: skipped, corpus/pages is made already\n1 source was not fetched then; --again" in same.stderr
        second = json.loads(run(project, *words, "--again", "--json").stdout)
        assert (second["skipped"], second["corpus"], second["metrics"]["documents"]) == (False, "pages-2", 2)
        server.shutdown()
    wrong = run(project, "import", tmp_path / "a.txt", "--name", "a", "--again")
    assert "None of these sources is fetched" in wrong.stderr
