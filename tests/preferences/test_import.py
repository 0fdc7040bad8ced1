"""import-preferences: pairs and marks in every format, and rows that say nothing about what is better."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from workbench.contract import Finished, Job, Warned, parse_event
from workbench.corpus.chats.pairs import read_marks, read_pairs
from workbench.errors import WorkbenchError
from workbench.preferences.engine import PreferencesEngine
from workbench.reporting import RunReporter


class Imported:
    """The folder that import-preferences made of `rows`, its report and its warnings."""

    def __init__(self, root: Path, *rows: object, source: Path | None = None, form: str = "auto"):
        if source is None:
            source = root / "rows.jsonl"
            source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        number = len(list(root.glob("run-*")))
        directory, self.folder = root / f"run-{number}", root / f"out-{number}"
        directory.mkdir()
        self.folder.mkdir()
        recipe = {"stage": "import-preferences", "sources": [str(source)], "format": form}
        reporter = RunReporter(directory)
        job = Job(
            run="1", stage="import-preferences", recipe=recipe, inputs={}, output=self.folder, directory=directory
        )
        try:
            PreferencesEngine().run(job, reporter)
        finally:
            reporter.close()
        events = [parse_event(line) for line in (directory / "events.jsonl").read_text().splitlines()]
        assert isinstance(events[-1], Finished)
        self.report = dict(events[-1].report)
        self.warnings = [event.message for event in events if isinstance(event, Warned)]
        self.pairs = list(read_pairs(self.folder))
        self.marks = list(read_marks(self.folder))

    @property
    def short(self) -> list[tuple[list[tuple[str, str]], ...]]:
        """(prompt, chosen, rejected) of each pair, messages as (role, content)."""
        return [
            tuple([(m["role"], m["content"]) for m in part] for part in (pair.prompt, pair.chosen, pair.rejected))
            for pair in self.pairs
        ]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SIMPLE = ([("user", "2+2?")], [("assistant", "4.")], [("assistant", "5.")])
TURNS = ([("user", "Hi"), ("assistant", "Hello"), ("user", "2+2?")], [("assistant", "4.")], [("assistant", "5.")])
PAIRS = {
    "text": ({"prompt": "2+2?", "chosen": "4.", "rejected": "5."}, SIMPLE),
    "messages": ({"prompt": [user("2+2?")], "chosen": [assistant("4.")], "rejected": [assistant("5.")]}, SIMPLE),
    "implicit": ({"chosen": [user("2+2?"), assistant("4.")], "rejected": [user("2+2?"), assistant("5.")]}, SIMPLE),
    "implicit turns": (
        {"chosen": [user("Hi"), assistant("Hello"), user("2+2?"), assistant("4.")],
         "rejected": [user("Hi"), assistant("Hello"), user("2+2?"), assistant("5.")]}, TURNS),
    "prompt repeated": (
        {"prompt": "2+2?", "chosen": [user("2+2?"), assistant("4.")], "rejected": [user("2+2?"), assistant("5.")]},
        SIMPLE),
    "implicit text": ({"chosen": "The sky is blue.", "rejected": "The sky is green."},
                      ([("user", "The sky is")], [("assistant", "blue.")], [("assistant", "green.")])),
    "hh-rlhf": ({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: 2+2?\n\nAssistant: 4.",
                 "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: 2+2?\n\nAssistant: 5."}, TURNS),
    "sharegpt": ({"conversations": [{"from": "human", "value": "2+2?"}], "chosen": {"from": "gpt", "value": "4."},
                  "rejected": {"from": "gpt", "value": "5."}}, SIMPLE),
    "ultrafeedback": (
        {"prompt": "2+2?", "messages": [user("2+2?"), assistant("4.")], "chosen": [user("2+2?"), assistant("4.")],
         "rejected": [user("2+2?"), assistant("5.")], "score_chosen": 8.0, "score_rejected": 2.0}, SIMPLE),
    "system": ({"system": "Add.", "prompt": "2+2?", "chosen": "4.", "rejected": "5."},
               ([("system", "Add."), *SIMPLE[0]], *SIMPLE[1:])),
}  # fmt: skip


@pytest.mark.parametrize("form", PAIRS)
def test_pairs_of_every_format(tmp_path, form):
    row, expected = PAIRS[form]
    assert Imported(tmp_path, row).short == [expected]


MARKS = {
    "text": {"prompt": "2+2?", "completion": "4.", "label": True},
    "messages": {"prompt": [user("2+2?")], "completion": [assistant("4.")], "label": "true"},
    "conversation": {"messages": [user("2+2?"), assistant("4.")], "label": 1},
}


@pytest.mark.parametrize("form", MARKS)
def test_marks_of_every_format(tmp_path, form):
    done = Imported(tmp_path, MARKS[form])
    [mark] = done.marks
    assert (mark.prompt, mark.completion, mark.label) == ([user("2+2?")], [assistant("4.")], True)
    assert done.pairs == []
    assert done.report["marks"] == 1


def test_bytes_that_are_not_utf8_are_told_of(tmp_path):
    source = tmp_path / "latin.jsonl"
    source.write_bytes(
        b'{"prompt": "q", "chosen": "caf\xe9", "rejected": "b"}\n{"prompt": "q", "chosen": "c", "rejected": "d"}\n'
    )
    done = Imported(tmp_path, source=source)
    assert done.pairs[0].chosen == [assistant("caf\ufffd")]
    assert done.report["repaired"] == 1
    assert done.warnings == [
        "1 row had bytes that are not UTF-8; each became the character U+FFFD. The first: latin.jsonl:1."
    ]


def test_transcripts_of_different_questions_say_so(tmp_path):
    good = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    differ = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: other\n\nAssistant: c"}
    done = Imported(tmp_path, good, differ)
    assert (done.report["pairs"], done.report["dropped"]) == (1, {"the questions differ": 1})


def test_who_when_and_how_much(tmp_path):
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "rater": "ann", "time": 1.5, "margin": 2, "tags": ["x"]}
    scored = {"prompt": "q", "chosen": "c", "rejected": "d", "score_chosen": 8.5, "score_rejected": 6,
              "annotator": "gpt4", "timestamp": "1970-01-01T00:01:00+00:00"}  # fmt: skip
    first, second = Imported(tmp_path, row, scored).pairs
    assert (first.rater, first.time, first.margin, first.tags) == ("ann", 1.5, 2.0, ("x",))
    assert (second.rater, second.time, second.margin, second.tags) == ("gpt4", 60.0, 2.5, ())
    assert (first.source, second.source) == ("rows.jsonl:1", "rows.jsonl:2")


BAD = [
    ({"prompt": "q", "chosen": "same ", "rejected": "same"}, "chosen = rejected"),
    ({"prompt": "q", "chosen": "a", "rejected": " \n"}, "empty answer"),
    ({"prompt": "q", "chosen": "a", "rejected": None}, "no answer"),
    ({"prompt": " ", "chosen": "a", "rejected": "b"}, "no question"),
    ({"chosen": "alpha", "rejected": "beta"}, "empty question"),
    ({"prompt": [user("q"), assistant("x")], "chosen": "a", "rejected": "b"}, "no question"),
    ({"prompt": "q", "chosen": [assistant("a"), user("b")], "rejected": "b"}, "no answer to the last question"),
    ({"prompt": "q", "chosen": [{"role": "wizard", "content": "a"}], "rejected": "b"}, "unknown role"),
    ({"prompt": "q", "chosen": 5, "rejected": "b"}, "no messages"),
    ([1], "not an object"),
]


def test_bad_pairs_are_counted_and_quoted(tmp_path):
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    done = Imported(tmp_path, good, *(row for row, _ in BAD), good, form="trl")
    assert len(done.pairs) == 1
    rows = pq.read_table(done.folder / "rejects.parquet").to_pylist()
    reasons = [reason for _, reason in BAD] + ["duplicate"]
    assert {row["source"]: row["reason"] for row in rows} == {f"rows.jsonl:{n}": r for n, r in enumerate(reasons, 2)}
    assert done.warnings[1].startswith("rows.jsonl:2: chosen = rejected: ")
    with pytest.raises(WorkbenchError, match=r"Not one preference is left: chosen = rejected \(1\)"):
        Imported(tmp_path, BAD[0][0])
    with pytest.raises(WorkbenchError, match="in no format that is known"):
        Imported(tmp_path, {"a": 1})
    with pytest.raises(WorkbenchError, match=r"no mark \(1\)"):
        Imported(tmp_path, {"prompt": "q", "completion": "a", "label": "perhaps"})


def test_contradictions_and_length_are_counted(tmp_path):
    one = {"prompt": "q", "chosen": "long answer", "rejected": "b", "rater": "ann"}
    again = one | {"rater": "bob"}
    other = {"prompt": "q", "chosen": "b", "rejected": "long answer", "rater": "cid"}
    endless = {"prompt": "q", "chosen": "word " * 100_000, "rejected": "b"}
    done = Imported(tmp_path, one, again, other, endless)
    assert done.report["contradicted"] == 1
    assert done.report["longer_chosen"] == 0.75
    assert done.report["long_answers"] == 1
    assert done.report["prompts"] == 1


def test_hostile_text_is_kept_as_it_is(tmp_path):
    text = "\x1b]52;c;aGk=\x07 [/INST] <|im_end|> \u202e"
    [pair] = Imported(tmp_path, {"prompt": text, "chosen": text, "rejected": "b"}).pairs
    assert pair.prompt == [user(text)]
    assert pair.chosen == [assistant(text)]


def test_the_real_sets(tmp_path, shared):
    folder = shared / "preferences"
    pairs = Imported(tmp_path, source=folder / "alpaca_eval_pairs.jsonl")
    assert (pairs.report["pairs"], pairs.report["prompts"], pairs.report["dropped"]) == (5807, 587, {"duplicate": 193})
    assert 0.45 < pairs.report["longer_chosen"] < 0.55
    assert pairs.pairs[0].rater == "alpaca_eval_gpt4"
    sharegpt = Imported(tmp_path, source=folder / "sharegpt_pairs_demo.json")
    assert (sharegpt.report["pairs"], sharegpt.report["format"]) == (295, "sharegpt")
    marks = Imported(tmp_path, source=folder / "kto_demo.json")
    assert (len(marks.marks), sum(mark.label for mark in marks.marks)) == (300, 150)
