"""import-chat and template-chat: every format, every container, and rows that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.corpus.chats.conversations import read_conversations
from workbench.errors import WorkbenchError


def jsonl(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def imported(folder: Path) -> list[list[tuple[str, str]]]:
    return [[(turn["role"], turn["content"]) for turn in row.messages] for row in read_conversations(folder)]


def rejects(folder: Path) -> dict[str, str]:
    rows = pq.read_table(folder / "rejects.parquet").to_pylist()
    return {row["source"]: row["reason"] for row in rows}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


QUESTION, ANSWER = ("user", "2+2?"), ("assistant", "4.")
FORMATS = {
    "chatml": {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4."}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4."}]},
    "alpaca": {"instruction": "2+2?", "input": "", "output": "4."},
    "prompt-completion": {"prompt": "2+2?", "completion": "4."},
    "preference": {"prompt": "2+2?", "chosen": "4.", "rejected": "5."},
    "kto": {"prompt": "2+2?", "completion": "4.", "label": True},
}


@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_found_out(stage, tmp_path, form):
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", FORMATS[form]))])
    assert done.report["format"] == form
    assert imported(done.output) == [[QUESTION, ANSWER]]


VARIANTS = [
    ({"messages": json.dumps(FORMATS["chatml"]["messages"])}, [QUESTION, ANSWER]),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}, assistant("4.")]},
     [QUESTION, ANSWER]),
    ({"system": "Be brief.", **FORMATS["sharegpt"]}, [("system", "Be brief."), QUESTION, ANSWER]),
    ({"instruction": "Add.", "input": "2+2", "output": "4."}, [("user", "Add.\n\n2+2"), ANSWER]),
    ({"instruction": "And now?", "output": "5.", "history": [["2+2?", "4."]]},
     [QUESTION, ANSWER, ("user", "And now?"), ("assistant", "5.")]),
    ({"prompt": [user("2+2?")], "completion": [assistant("4.")]}, [QUESTION, ANSWER]),
    ({"question": "2+2?", "answer": "4."}, [QUESTION, ANSWER]),
    ({"chosen": FORMATS["chatml"]["messages"], "rejected": []}, [QUESTION, ANSWER]),
    ({"conversations": FORMATS["sharegpt"]["conversations"][:1], "chosen": {"from": "gpt", "value": "4."},
      "rejected": {"from": "gpt", "value": "5."}}, [QUESTION, ANSWER]),
    ({**FORMATS["chatml"], "label": "1"}, [QUESTION, ANSWER]),
    ({"instruction": "Add.", "context": "2+2", "response": "4.", "category": "m"}, [("user", "Add.\n\n2+2"), ANSWER]),
    ({"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4.", "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5."},
     [QUESTION, ANSWER]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), VARIANTS, ids=range(len(VARIANTS)))
def test_ways_to_write_them(stage, tmp_path, row, expected):
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", row))])
    assert imported(done.output) == [expected]


def test_tools_and_calls_are_kept(stage, tmp_path):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "Oslo"}'}}
    messages = [
        user("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "1", "name": "weather"},
        assistant("It rains."),
    ]
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", {"messages": messages, "tools": tools}))])
    [row] = read_conversations(done.output)
    assert row.tools == tools
    assert row.messages[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"at": "Oslo"}}
    assert row.messages[2] == {"role": "tool", "content": "rain", "name": "weather", "tool_call_id": "1"}
    assert done.report["with_tools"] == 1


BAD = [
    ({"messages": [user("a")]}, "no answer"),
    ({"messages": [user("a"), assistant(" \n")]}, "empty answer"),
    ({"messages": [user(" "), assistant("b")]}, "empty question"),
    ({"messages": [assistant("b"), user("a")]}, "roles out of order"),
    ({"messages": [user("a"), user("b"), assistant("c")]},
     "roles out of order"),
    ({"messages": [user("a"), {"role": "system", "content": "s"}, assistant("c")]},
     "roles out of order"),
    ({"messages": [user("a"), assistant("b"), user("c")]},
     "no answer to the last question"),
    ({"messages": [{"role": "wizard", "content": "a"}]}, "unknown role"),
    ({"messages": [{"content": "a"}]}, "a message without a role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "content is not text"),
    ({"messages": ["hello"]}, "a message is not an object"),
    ({"messages": []}, "no messages"),
    ({"messages": "[{]"}, "a field that should be JSON is not"),
    ({"other": 1}, "no messages"),
    ([1, 2], "not an object"),
    ("text", "not an object"),
    (None, "not an object"),
]  # fmt: skip


def test_bad_rows_are_counted_and_quoted(stage, tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", FORMATS["chatml"], *(row for row, _ in BAD), FORMATS["chatml"])
    with path.open("ab") as file:
        file.write(b'{"messages": \xff}\n\n')
    done = stage("import-chat", sources=[str(path)], format="chatml")
    assert imported(done.output) == [[QUESTION, ANSWER]]
    expected = {f"rows.jsonl:{n}": reason for n, (_, reason) in enumerate(BAD, 2)}
    expected |= {f"rows.jsonl:{len(BAD) + 2}": "duplicate", f"rows.jsonl:{len(BAD) + 3}": "broken JSON"}
    assert rejects(done.output) == expected
    assert sum(done.report["dropped"].values()) == len(BAD) + 2
    assert [bad["source"] for bad in done.report["bad_rows"]] == [f"rows.jsonl:{n}" for n in range(2, 7)]
    assert done.warnings[0].startswith(f"{len(BAD) + 2} rows were left out: ")
    assert done.warnings[1] == 'rows.jsonl:2: no answer: {"messages":[{"role":"user","content":"a"}]}'


def test_nothing_is_left(stage, tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", {"messages": [user("a")]})
    with pytest.raises(
        WorkbenchError, match=r"Not one conversation is left: no answer \(1\)\. The first: rows\.jsonl:1"
    ):
        stage("import-chat", sources=[str(path)], format="chatml")
    with pytest.raises(WorkbenchError, match="in no format that is known: the first has 'x', 'y'"):
        stage("import-chat", sources=[str(jsonl(tmp_path / "odd.jsonl", {"x": 1, "y": 2}))])
    with pytest.raises(WorkbenchError, match="The sources hold no rows"):
        stage("import-chat", sources=[str(jsonl(tmp_path / "empty.jsonl"))])
    with pytest.raises(WorkbenchError, match="There is no file or folder"):
        stage("import-chat", sources=[str(tmp_path / "nowhere.jsonl")])
    (tmp_path / "notes.md").write_text("text")
    with pytest.raises(WorkbenchError, match="not a kind of file"):
        stage("import-chat", sources=[str(tmp_path / "notes.md")])


def test_hostile_text_is_kept_as_it_is(stage, tmp_path):
    text = "\x1b]52;c;aGk=\x07 [/INST] <|im_end|> \u202e \x00"
    row = {"prompt": text, "completion": text}
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", row))])
    assert imported(done.output) == [[("user", text), ("assistant", text)]]


def test_what_json_cannot_hold_is_left_out(stage, tmp_path):
    deep = "[" * 500 + "]" * 500
    path = tmp_path / "rows.jsonl"
    good = json.dumps(FORMATS["chatml"])
    rows = [
        good,
        good.replace("2+2", r"\ud800"),
        good.replace("{", '{"tools": [' + deep + "], ", 1),
        '{"messages": ' + deep + "}",
    ]
    path.write_text("\n".join(rows))
    done = stage("import-chat", sources=[str(path)], format="auto")
    assert done.report["rows"] == 1
    assert set(rejects(done.output)) == {"rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4"}
    cells = tmp_path / "rows.csv"
    cells.write_text('messages\n"[{""role"": ""user"", ""content"": ""\\ud800""}]"\n')
    with pytest.raises(WorkbenchError, match="Not one conversation is left"):
        stage("import-chat", sources=[str(cells)], format="chatml")


def test_a_very_long_answer_is_flagged(stage, tmp_path):
    row = {"prompt": "Go on.", "completion": "word " * 100_000}
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", row))])
    assert done.report["long_answers"] == 1
    assert any("over 32,768 characters" in warning for warning in done.warnings)


def containers(folder: Path, rows: list[dict]) -> dict[str, Path]:
    """The same rows in every kind of file."""
    folder.mkdir()
    (folder / "rows.json").write_bytes(orjson.dumps(rows))
    (folder / "wrapped.json").write_bytes(orjson.dumps({"version": 1, "data": rows}))
    jsonl(folder / "lines.json", *rows)
    jsonl(folder / "rows.jsonl", *rows)
    (folder / "mark.jsonl").write_bytes(b"\xef\xbb\xbf" + (folder / "rows.jsonl").read_bytes())
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "rows.parquet")
    flat = "prompt,completion\n" + "".join(f'"{r["prompt"]}","{r["completion"]}"\n' for r in rows)
    (folder / "rows.csv").write_text(flat)
    (folder / "rows.tsv").write_text(flat.replace('","', '"\t"').replace("prompt,", "prompt\t"))
    return {path.name: path for path in folder.iterdir()}


def test_every_kind_of_file(stage, tmp_path):
    rows = [{"prompt": f"What,\n is {n}?", "completion": f"ä {n}\n"} for n in range(700)]
    expected = [[("user", row["prompt"]), ("assistant", row["completion"])] for row in rows]
    for name, path in containers(tmp_path / "files", rows).items():
        assert imported(stage("import-chat", sources=[str(path)]).output) == expected, name


def test_damaged_files_are_left_out_of_several(stage, tmp_path):
    jsonl(tmp_path / "good.jsonl", FORMATS["alpaca"])
    (tmp_path / "bad.json").write_text('[{"a": 1},')
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really PAR1")
    (tmp_path / "bad.csv").write_text('a,b\n"open')
    (tmp_path / "wide.jsonl").write_bytes('{"a": 1}'.encode("utf-16"))
    done = stage("import-chat", sources=[str(tmp_path)])
    assert done.report["rows"] == 1
    reasons = {
        "bad.json": "broken JSON",
        "bad.parquet": "corrupt parquet",
        "bad.csv": "broken CSV",
        "wide.jsonl": "not UTF-8",
    }
    assert rejects(done.output) == reasons
    with pytest.raises(WorkbenchError, match=r"bad\.json is not valid JSON"):
        stage("import-chat", sources=[str(tmp_path / "bad.json")])


def test_a_saved_data_set_and_the_hub(stage, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}]}
        for n in range(300)
    ]
    train, test = datasets.Dataset.from_list(rows), datasets.Dataset.from_list(rows[:3])
    train.save_to_disk(tmp_path / "single", num_shards=2)
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path / "split")
    expected = [[("user", f"{n}?"), ("assistant", f"{n}.")] for n in range(300)]
    assert imported(stage("import-chat", sources=[str(tmp_path / "single")]).output) == expected
    done = stage("import-chat", sources=[str(tmp_path / "split")])
    assert imported(done.output) == expected
    assert done.warnings == ["the split 'test' of split is not read."]
    # A folder of Parquet files stands in for one of the hub's: the library opens both alike.
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub" / "train.parquet")
    monkeypatch.chdir(tmp_path)
    assert imported(stage("import-chat", sources=["hf:./hub"]).output) == expected
    with pytest.raises(WorkbenchError, match="The data set 'nobody/nothing' cannot be fetched"):
        stage("import-chat", sources=["hf:nobody/nothing"])


def test_prompts_alone(stage, tmp_path):
    (tmp_path / "prompts.txt").write_text("Who are you?\n\n  What is 2+2?  \nWho are you?\n")
    done = stage("import-chat", sources=[str(tmp_path / "prompts.txt")], format="prompts")
    assert imported(done.output) == [[("user", "Who are you?")], [("user", "What is 2+2?")]]
    assert done.report["prompts"] is True
    rows = [
        FORMATS["chatml"],
        {"prompt": "p"},
        FORMATS["alpaca"] | {"input": "x"},
        "text",
        FORMATS["sharegpt"],
        {"a": 1},
    ]
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", *rows))], format="prompts")
    assert imported(done.output) == [[("user", text)] for text in ("2+2?", "p", "2+2?\n\nx", "text")]
    assert done.report["dropped"] == {"duplicate": 1, "no question": 1}


def test_the_real_sets(stage, shared):
    chats = stage("import-chat", sources=[str(shared / "chat" / "alpaca_demo.json")])
    assert (chats.report["rows"], chats.report["format"], chats.report["dropped"]) == (985, "alpaca", {"duplicate": 14})
    marked = stage("import-chat", sources=[str(shared / "preferences" / "kto_demo.json")])
    assert (marked.report["rows"], marked.report["dropped"]) == (150, {"marked as bad": 150})
    chosen = stage("import-chat", sources=[str(shared / "preferences" / "sharegpt_pairs_demo.json")])
    assert (chosen.report["rows"], chosen.report["format"]) == (295, "preference")
    seeds = stage("import-chat", sources=[str(shared / "chat" / "self_instruct_seed_tasks.jsonl")], format="prompts")
    assert seeds.report["rows"] == 175
    answered = stage("import-chat", sources=[str(shared / "chat" / "self_instruct_seed_tasks.jsonl")])
    assert (answered.report["rows"], answered.report["format"]) == (175, "self-instruct")


def test_every_instance_of_a_task_is_a_conversation(stage, tmp_path):
    task = {"instruction": "Add.", "instances": [{"input": "1+1", "output": "2"}, {"input": "", "output": "?"}]}
    bad = {"instruction": "Add.", "instances": [{"input": "5", "output": ""}, {"input": "3+1", "output": "4"}]}
    done = stage("import-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", task, bad, {**task, "instances": []}))])
    assert imported(done.output) == [
        [("user", "Add.\n\n1+1"), ("assistant", "2")],
        [("user", "Add."), ("assistant", "?")],
        [("user", "Add.\n\n3+1"), ("assistant", "4")],
    ]
    assert done.report["dropped"] == {"empty answer": 1, "no instances": 1}


LATIN = b"caf\xe9"
SAVED_IN_LATIN = {
    "rows.jsonl": b'{"prompt": "p", "completion": "' + LATIN + b'"}\n{"prompt": "p", "completion": "tea"}\n',
    "rows.json": b'[{"prompt": "p", "completion": "' + LATIN + b'"}, {"prompt": "p", "completion": "tea"}]',
    "rows.csv": b"prompt,completion\np," + LATIN + b"\np,tea\n",
}


@pytest.mark.parametrize("name", SAVED_IN_LATIN)
def test_bytes_that_are_not_utf8_are_told_of(stage, tmp_path, name):
    (tmp_path / name).write_bytes(SAVED_IN_LATIN[name])
    done = stage("import-chat", sources=[str(tmp_path / name)])
    assert imported(done.output) == [[("user", "p"), ("assistant", "caf\ufffd")], [("user", "p"), ("assistant", "tea")]]
    assert done.report["repaired"] == 1
    assert done.warnings == [
        f"1 row had bytes that are not UTF-8; each became the character U+FFFD. The first: {name}:1."
    ]


# --------------------------------------------------------------------------- template-chat


def test_labels_become_questions_in_several_ways(stage, tmp_path):
    rows = [{"text": f"Sentence {n}.", "label": ["bad", "good"][n % 2]} for n in range(60)]
    done = stage("template-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", *rows))], task="classification")
    written = imported(done.output)
    assert done.report["labels"] == ["bad", "good"]
    assert sum(done.report["phrasings"]) == 60
    assert min(done.report["phrasings"]) > 0
    assert all("bad or good" in question for [(_, question), _] in written)
    assert [answer for _, (_, answer) in written] == [row["label"] for row in rows]
    assert all(row["text"] in question for row, [(_, question), _] in zip(rows, written, strict=True))


def test_numbered_labels_get_names(stage, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("review,stars\nFine {text},1\nPoor,0\nOdd,7\n,1\n")
    done = stage(
        "template-chat", sources=[str(path)], task="classification", text_field="review", answer_field="stars",
        label_names=["negative", "positive"], phrasings=1,
    )  # fmt: skip
    assert imported(done.output)[0] == [
        ("user", "Fine {text}\n\nWhich of these is it: negative or positive?"), ("assistant", "positive"),
    ]  # fmt: skip
    assert done.report["dropped"] == {"a label without a name": 1, "empty 'review'": 1}


@pytest.mark.parametrize("answer", [1, "1", "B", "b", "mars"])
def test_choices_are_lettered(stage, tmp_path, answer):
    row = {"question": "Which is red?", "choices": ["venus", "mars"], "answer": answer}
    done = stage(
        "template-chat", sources=[str(jsonl(tmp_path / "rows.jsonl", row, row | {"answer": 5}))], task="qa",
        choices_field="choices", phrasings=1,
    )  # fmt: skip
    assert imported(done.output) == [[("user", "Which is red?\n\nA. venus\nB. mars"), ("assistant", "B. mars")]]
    assert done.report["dropped"] == {"an answer that is none of the choices": 1}


def test_questions_about_texts_and_summaries(stage, tmp_path):
    row = {
        "context": "It rains.",
        "question": "What falls?",
        "answer": ["Rain", "Water"],
        "text": "Long.",
        "summary": "S.",
    }
    path = str(jsonl(tmp_path / "rows.jsonl", row))
    asked = stage("template-chat", sources=[path], task="qa", text_field="context", phrasings=1)
    assert imported(asked.output) == [[("user", "It rains.\n\nWhat falls?"), ("assistant", "Rain")]]
    summed = stage("template-chat", sources=[path], task="summarisation", phrasings=1)
    assert imported(summed.output) == [[("user", "Summarise the following text.\n\nLong."), ("assistant", "S.")]]
    with pytest.raises(WorkbenchError, match=r"no 'label' \(1\)") as error:
        stage("template-chat", sources=[path], task="classification")
    assert "There are: 'context', 'question'" in error.value.remedy
    with pytest.raises(WorkbenchError, match="A summarisation has no question_field"):
        stage("template-chat", sources=[path], task="summarisation", question_field="question")
