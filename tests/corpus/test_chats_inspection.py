"""The inspector shows what is trained on, and data that would teach nothing, or wrong things, is an error before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.corpus.model_folders import CHATML, byte_tokenizer, write_folder
from workbench.corpus.chats.checks import raise_errors
from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.inspection import SequenceView, inspector
from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.corpus.chats.training_data import conversation_rows, document_rows, mark_rows, max_length, pair_rows
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.preference import DpoRecipe, KtoRecipe
from workbench.recipes.pretrain import PretrainRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe

ROWS = [
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"What is {n}?"},
        {"role": "assistant", "content": f"A number 🟢, {'very ' * (n % 5)}{n}."},
    ]
    for n in range(40)
]


def chats(folder: Path, rows=ROWS) -> Path:
    folder.mkdir()
    with ConversationWriter(folder) as writer:
        for number, messages in enumerate(rows, 1):
            writer.add(messages, None, f"rows.jsonl:{number}")
    return folder


def preferences(folder: Path) -> Path:
    folder.mkdir()
    with PreferenceWriter(folder) as writer:
        for number, (system, question, answer) in enumerate(ROWS, 1):
            worse = [{"role": "assistant", "content": "No idea."}]
            source = f"rows.jsonl:{number}"
            writer.add(Pair(prompt=[system, question], chosen=[answer], rejected=worse, source=source))
            writer.add(Mark(prompt=[system, question], completion=[answer], label=bool(number % 2), source=source))
    return folder


def sft(**values) -> SftRecipe:
    return validate(SftRecipe, {"base": "base", "data": ["chats"], "max_length": 128, **values}).resolved()


def texts(sequence: SequenceView, **having) -> str:
    return "".join(t.text for t in sequence.tokens if all(getattr(t, key) == value for key, value in having.items()))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tokenizer whose tokens are bytes: a character of several shows at its last."""
    tokenizer = byte_tokenizer("<|im_start|>", "<|im_end|>")
    return write_folder(tmp_path_factory.mktemp("model"), tokenizer, CHATML, eos_token="<|im_end|>")


def other_base(folder: Path, template: str, **config) -> Path:
    return write_folder(folder, byte_tokenizer("<|s|>", "<|e|>", "<|b|>"), template, **{"eos_token": "<|e|>", **config})


def test_the_batch_shown_is_the_batch_trained_on(base, tmp_path):
    recipe, inputs = sft(), {"base": base, "data.0": chats(tmp_path / "chats")}
    shown = inspector(recipe, inputs)
    rows = conversation_rows(recipe, inputs, ChatTokenizer(base), max_length=128).train
    for step in (0, 3):
        view, batch = shown.batch(step), rows.batch(step)
        assert (view.tokens, view.trained, view.epoch) == (batch.tokens, batch.trained, batch.epoch)
        for sequence, trained in zip(view.sequences, batch.sequences, strict=True):
            assert [token.id for token in sequence.tokens] == trained.ids_L.tolist()
            assert [token.trained for token in sequence.tokens] == trained.trained_L.tolist()
            assert [document.start for document in sequence.documents] == list(trained.starts)
            assert [document.row for document in sequence.documents] == list(trained.rows)
    assert shown.facts.rows + shown.facts.held_out == len(ROWS)
    assert shown.facts.steps_per_epoch == rows.steps_per_epoch


def test_tokens_have_their_text_and_role(base, tmp_path):
    inputs = {"base": base, "data.0": chats(tmp_path / "chats")}
    shown = inspector(sft(conversations={"packing": False}), inputs)
    for sequence in shown.batch(0).sequences:
        [document] = sequence.documents
        number = int(document.source.rpartition(":")[2]) - 1
        system, question, answer = ROWS[number]
        assert texts(sequence) == ChatTokenizer(base).render(ROWS[number])
        assert texts(sequence, trained=True) == f"{answer['content']}<|im_end|>"
        assert texts(sequence, role="user") == f"<|im_start|>user\n{question['content']}<|im_end|>\n"
        assert system["content"] in texts(sequence, role="system")


def test_what_is_cut_is_said(base, tmp_path):
    inputs = {"base": base, "data.0": chats(tmp_path / "chats")}
    lengths = [len(ChatTokenizer(base).conversation(row).ids_L) for row in ROWS]
    length = sorted(lengths)[20]
    shown = inspector(sft(max_length=length), inputs)
    out = shown.facts.held_out
    assert sum(n > length for n in lengths) - out <= shown.facts.cut <= sum(n > length for n in lengths)
    views = [shown.batch(step) for step in range(shown.facts.steps_per_epoch)]
    cut = [document for view in views for sequence in view.sequences for document in sequence.documents if document.cut]
    assert len(cut) >= shown.facts.cut
    assert all(document.stop == length for document in cut)
    with pytest.raises(
        WorkbenchError, match=r"Of 40 rows nothing .* within 40 tokens\. The first: rows\.jsonl:1: '<|im"
    ) as error:
        inspector(sft(max_length=40), inputs)
    assert error.value.remedy == "Raise --max-length."


def test_mixtures_take_their_share(base, tmp_path):
    long = [[*row, {"role": "user", "content": "More?"}, {"role": "assistant", "content": "Yes."}] for row in ROWS]
    inputs = {"base": base, "data.0": chats(tmp_path / "one"), "data.1": chats(tmp_path / "two", long)}
    packing = {"packing": False}

    def share(data: list[str]) -> float:
        shown = inspector(sft(data=data, conversations=packing, max_length=512), inputs)
        views = [shown.batch(step) for step in range(shown.facts.steps_per_epoch)]
        roles = [
            len({token.role for token in s.tokens}) and texts(s).count("<|im_start|>")
            for v in views
            for s in v.sequences
        ]
        return sum(count == 5 for count in roles) / len(roles)

    assert share(["one", "two"]) == pytest.approx(0.5, abs=0.05)
    assert share(["one=0.8", "two=0.2"]) == pytest.approx(0.2, abs=0.03)


def test_pairs_and_marks(base, tmp_path):
    folder = preferences(tmp_path / "pairs")
    inputs = {"base": base, "preferences": folder}
    dpo = validate(DpoRecipe, {"base": "base", "preferences": "pairs", "max_length": 256}).resolved()
    shown = inspector(dpo, inputs)
    view = shown.batch(1)
    assert [s.documents[0].label for s in view.sequences] == ["chosen", "rejected"] * dpo.batch.batch_size
    rows = pair_rows(dpo, folder, ChatTokenizer(base), max_length=256)
    for place, number in enumerate(rows.order.batch(1)):
        for sequence, encoded in zip(view.sequences[2 * place : 2 * place + 2], rows.train[number], strict=True):
            assert [token.id for token in sequence.tokens] == encoded.ids_L.tolist()
            assert texts(sequence, trained=True).endswith("<|im_end|>")
    assert texts(view.sequences[1], trained=True) == "No idea.<|im_end|>"
    kto = validate(KtoRecipe, {"base": "base", "preferences": "pairs", "max_length": 256}).resolved()
    good = [s for s in inspector(kto, inputs).batch(0).sequences if s.documents[0].label == "good"]
    assert all(int(s.documents[0].source.rpartition(":")[2]) % 2 for s in good)
    assert good
    prompts = {json.dumps(item.prompt) for item in rows.items}
    assert not prompts & {json.dumps(item.prompt) for item in rows.held_out_items}


def test_pairs_serve_as_marks_and_answers_are_cut(base, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    with PreferenceWriter(folder) as writer:
        for _, question, answer in ROWS:
            writer.add(
                Pair(prompt=[question], chosen=[answer], rejected=[{"role": "assistant", "content": "word " * 99}])
            )
    kto = validate(KtoRecipe, {"base": "base", "preferences": "pairs"}).resolved()
    rows = mark_rows(kto, folder, ChatTokenizer(base), max_length=128)
    assert len(rows.train) + len(rows.held_out) == 2 * len(ROWS)
    assert rows.cut == len(ROWS)
    assert {(item.label, encoded.cut) for item, [encoded] in zip(rows.items, rows.train, strict=True)} == {
        (True, False), (False, True),
    }  # fmt: skip


def test_plain_text_in_pieces(base, tmp_path, stage):
    documents = ["".join(f"{n} sheep and {k} goats; " for k in range(30)) for n in range(20)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    corpus = stage("import", sources=[str(tmp_path / "texts.jsonl")]).output
    recipe = validate(ContinueRecipe, {"base": "base", "corpus": "texts", "max_length": 64}).resolved()
    shown = inspector(recipe, {"base": base, "corpus": corpus})
    trained = sum(shown.batch(step).trained for step in range(shown.facts.steps_per_epoch))
    # Every token but the first of each document is predicted once an epoch, and EOS with them.
    expected = sum(len(text.strip()) for text in documents)
    spare = shown.facts.steps_per_epoch * 16 * 64
    assert 0.8 * expected < trained < min(expected + 40, spare) * 1.1
    assert texts(shown.batch(0).sequences[0], role="text").count("sheep") > 1


def test_of_a_single_text_the_end_is_held_out(base, tmp_path, stage):
    (tmp_path / "text.txt").write_text(" ".join(f"{n} sheep" for n in range(1000)))
    corpus = stage("import", sources=[str(tmp_path / "text.txt")]).output
    recipe = validate(ContinueRecipe, {"base": "base", "corpus": "texts", "max_length": 64}).resolved()
    split = document_rows(recipe, corpus, ChatTokenizer(base), max_length=64)
    assert split.text.endswith("999 sheep")
    assert 0 < len(split.text) < 0.2 * len((tmp_path / "text.txt").read_text())


def test_windows_of_pretraining(stage, tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"{n} green bottles hanging on the wall. " for n in range(3000)))
    corpus = stage("import", sources=[str(tmp_path / "text.txt")]).output
    tokenizer = stage("tokenizer", {"corpus": corpus}, vocab_size=512).output
    shards = stage("shards", {"corpus": corpus, "tokenizer": tokenizer}).output
    recipe = validate(PretrainRecipe, {"corpus": "c", "tokenizer": "t", "model": {"size": "nano"}}).resolved()
    view = inspector(recipe, {"shards": shards, "tokenizer": tokenizer}).batch(0)
    assert len(view.sequences) == recipe.batch.batch_size
    assert "green bottles" in texts(view.sequences[0])
    assert view.trained == view.tokens - len(view.sequences) - sum(len(s.documents) - 1 for s in view.sequences)


TURN = (
    "{% for m in messages %}<|s|>{{ m.role }}\n{{ m.content }}<|e|>{% endfor %}"
    "{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
)
WRONG = [
    (TURN.replace("<|e|>", "<|e|><|e|>"), {},
     r"EOS stands twice in a row in 40 rows\. The first: rows\.jsonl:1: '<\|s\|>system"),
    (f"<|b|><|b|>{TURN}", {"bos_token": "<|b|>"},
     "BOS stands twice in a row in 40 rows"),
    (TURN.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"), {},
     "The chat template drops the system message of 40 rows"),
    (TURN.replace("<|e|>", "\n"), {}, "No end of a turn stands after 40 rows"),
    (TURN, {"eos_token": None}, "has no token that ends an answer"),
    ("{{ messages | length }}", {}, "writes the first 2 messages in another way"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "config", "match"), WRONG, ids=range(len(WRONG)))
def test_wrong_data_is_an_error_with_the_row(tmp_path, template, config, match):
    if config.get("eos_token", "") is None:
        folder = write_folder(tmp_path / "model", byte_tokenizer("<|s|>"), template.replace("<|e|>", "\n"))
    else:
        folder = other_base(tmp_path / "model", template, **config)
    inputs = {"base": folder, "data.0": chats(tmp_path / "chats")}
    with pytest.raises(WorkbenchError, match=match):
        raise_errors(inspector(sft(max_length=200), inputs).facts.findings)


def test_how_many_rows_are_left_out_is_said_once(base, tmp_path):
    long = [[{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "Yes."}]] * 2
    for number, pronoun in ((1, "1 row has .*: it is"), (2, "2 rows have .*: they are")):
        data = chats(tmp_path / f"chats-{number}", [*ROWS, *long[:number]])
        [finding] = inspector(sft(max_length=200), {"base": base, "data.0": data}).facts.findings
        assert re.fullmatch(f"{pronoun} left out.", finding.what)


def test_answers_and_pairs_are_counted_each_by_its_name(base, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    long = [{"role": "user", "content": "word " * 60}]
    with PreferenceWriter(folder) as writer:
        for number, prompt in enumerate([*([ROWS[n][1]] for n in range(8)), long], 1):
            said = [[{"role": "assistant", "content": text}] for text in ("Yes.", "No.")]
            writer.add(Pair(prompt=prompt, chosen=said[0], rejected=said[1], source=f"rows.jsonl:{number}"))
    dpo = validate(DpoRecipe, {"base": "base", "preferences": "pairs", "max_length": 200}).resolved()
    [finding] = inspector(dpo, {"base": base, "preferences": folder}).facts.findings
    assert finding.what == "2 answers of 1 pair have nothing to train on within 200 tokens: 1 pair is left out."


def test_rows_that_come_more_than_once_in_a_batch(base, tmp_path):
    inputs = {"base": base, "data.0": chats(tmp_path / "few", ROWS[:8])}
    unpacked = {"packing": False}
    shown = inspector(sft(conversations=unpacked, batch={"batch_size": 16}), inputs)
    assert 2 <= shown.facts.rows <= 7
    assert shown.batch(0).repeated == (shown.facts.rows, -(-16 // shown.facts.rows))
    shown = inspector(sft(conversations=unpacked, batch={"batch_size": 2}), inputs)
    assert shown.batch(0).repeated == (0, 1)


def test_sound_data_has_no_findings(base, tmp_path):
    inputs = {"base": base, "data.0": chats(tmp_path / "chats"), "preferences": preferences(tmp_path / "pairs")}
    assert inspector(sft(), inputs).facts.findings == ()
    dpo = validate(DpoRecipe, {"base": "base", "preferences": "pairs", "max_length": 256}).resolved()
    assert inspector(dpo, inputs).facts.findings == ()


def test_too_little_to_hold_out(base, tmp_path):
    inputs = {"base": base, "data.0": chats(tmp_path / "chats", ROWS[:1])}
    with pytest.raises(WorkbenchError, match="has 1 different first question: too few"):
        inspector(sft(), inputs)


def test_the_length_follows_from_the_context(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 512}')
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": ".."}')
    assert [max_length(None, folder) for folder in (tmp_path, adapter, tmp_path / "none")] == [512, 512, 1024]
    assert max_length(99, tmp_path) == 99


def workbench(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench.cli", *words], cwd=cwd, capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_the_verb_shows_the_batch_of_a_recipe(tmp_path):
    project = tmp_path / "project"
    assert workbench("new", str(project), cwd=tmp_path).returncode == 0
    (project / "text.txt").write_text("".join(f"{n} \x1b[31mgreen bottles on the wall. " for n in range(4000)))
    recipes = [
        {"stage": "import", "name": "books", "sources": ["text.txt"]},
        {"stage": "tokenizer", "name": "bpe", "corpus": "books", "vocab_size": 512},
    ]
    pretrain = {"stage": "pretrain", "name": "base", "corpus": "books", "tokenizer": "bpe", "model": {"size": "nano"}}
    (project / "data.yaml").write_text(yaml.safe_dump(recipes))
    (project / "base.yaml").write_text(yaml.safe_dump(pretrain))
    assert workbench("run", "data.yaml", cwd=project).returncode == 0
    early = workbench("inspect", "base.yaml", cwd=project)
    assert early.returncode == 1
    assert "is not made yet, so there are no batches to show" in early.stderr
    assert workbench("shards", "--corpus", "books", "--tokenizer", "bpe", cwd=project).returncode == 0
    shown = workbench("inspect", "base.yaml", "--batch", "3", "--row", "1", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert "pretrain: batch 3, in epoch 0 of " in shown.stdout
    assert "text      trained  " in shown.stdout
    assert "\x1b" not in shown.stdout
    other = workbench("inspect", "base.yaml", "--set", "batch.batch_size=3", "--json", cwd=project)
    assert len(json.loads(other.stdout)["sequences"]) == 3
    plain = json.loads(workbench("inspect", "base.yaml", "--batch", "3", "--json", cwd=project).stdout)
    assert plain["step"] == 3
    assert 0.9 < plain["trained_share"] < 1
    assert len(plain["sequences"]) == plain["batch_size"]
    data = workbench("inspect", "data.yaml", "--stage", "books", cwd=project)
    assert data.returncode == 1
    assert "A recipe of import has no batches to look at." in data.stderr
