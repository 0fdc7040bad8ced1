"""The bridge over a real tiny model, and what it keeps of the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import tiny
from workbench.benchmarks.answered import Answered, key_of
from workbench.contract import LanguageModel, Sampling, Score, Token
from workbench.errors import WorkbenchError

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")

from workbench.benchmarks.bridge import Bridge, sampling_of

CONTEXT = 256
LONG = "The value of an object is what it holds. " * 60
PAIRS = [("The value of", f" {word}") for word in ("the", "an", "a")] + [(LONG, " an end"), ("", "a text alone")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    from engines.pytorch import PyTorchEngine

    return PyTorchEngine().load(tiny.write_model(tmp_path_factory.mktemp("model") / "m", context=CONTEXT))


class Counted:
    """A model that remembers what it was asked, and can die."""

    def __init__(self, model: LanguageModel):
        self._model = model
        self.asked: list[Any] = []
        self.seeds: list[int | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        self.asked.append(list(pairs))
        return self._model.score(pairs)

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Token]:
        self.asked.append(list(prompts))
        self.seeds.append(sampling.seed)
        return self._model.generate(prompts, sampling)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Answered]:
    opened = Answered(tmp_path / "answered" / "model.jsonl")
    yield opened
    opened.close()


def test_scores_say_what_is_greedy_and_what_was_cut(model: LanguageModel, kept: Answered) -> None:
    bridge = Bridge(model, kept)
    context = "The value of"
    (token,) = list(model.generate([context], Sampling(max_tokens=1, temperature=0)))[:1]
    found = bridge.scores([*PAIRS, (context, token.text)])
    assert [score.truncated for score in found] == [False, False, False, True, False, False]
    whole = model.tokenize(context + token.text, special=True)
    if whole[: len(model.tokenize(context))] == model.tokenize(context):  # the split is that of the whole text
        assert found[-1].greedy == (found[-1].tokens == 1)
    assert not found[1].greedy


def test_what_was_answered_is_not_asked_again(model: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "answered" / "model.jsonl"
    first = Answered(file)
    before = Bridge(model, first).scores(PAIRS)
    first.close()
    counted, second, heard = Counted(model), Answered(file), []
    bridge = Bridge(counted, second, advance=heard.append)
    assert bridge.scores([*PAIRS, *PAIRS]) == [*before, *before]
    assert counted.asked == []
    assert (bridge.computed, bridge.known, sum(heard)) == (0, len(PAIRS), len(PAIRS))
    bridge.scores([("The value of", " is")])
    assert counted.asked == [[("The value of", " is")]]
    second.close()


def test_a_torn_line_is_asked_again_with_what_it_was_asked_with(model: LanguageModel, tmp_path: Path) -> None:
    """So that nothing differs, not in the last digit."""
    file = tmp_path / "answered" / "model.jsonl"
    pairs = [*PAIRS, *((f"{number} {LONG}", " an end") for number in range(6))]
    first = Answered(file)
    expected = Bridge(model, first).scores(pairs)
    first.close()
    whole = file.read_bytes()
    chunks = [json.loads(line)["answers"] for line in whole.splitlines()]
    assert len(chunks) > 1
    assert sum(map(len, chunks)) == len(pairs)
    for cut, torn in ((1, len(chunks)), (len(whole) - 2, 1), (len(whole) - 1, 0)):
        file.write_bytes(whole[:cut])
        counted, second = Counted(model), Answered(file)
        assert Bridge(counted, second).scores(pairs) == expected
        second.close()
        assert [len(asked) for asked in counted.asked] == [len(chunk) for chunk in chunks[len(chunks) - torn :]]
        third = Answered(file)
        assert all(third.get(key_of("score", *pair)) for pair in pairs)
        third.close()


def test_a_damaged_file_is_no_hindrance(model: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "answered" / "model.jsonl"
    file.parent.mkdir()
    file.write_bytes(b'\x00\xff\n[]\n{"answers": 3}\n{"other": {}}\nnull\n\n{"answers": {"')
    opened = Answered(file)
    bridge = Bridge(model, opened)
    found = bridge.scores(PAIRS)
    assert bridge.computed == len(PAIRS)
    opened.close()
    again = Answered(file)
    assert Bridge(model, again).scores(PAIRS) == found
    again.close()


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "answered" / "model.jsonl").mkdir(parents=True)
    with pytest.raises(WorkbenchError, match="cannot be used: Is a directory"):
        Answered(tmp_path / "answered" / "model.jsonl")


def test_drawn_answers_differ_by_number_and_repeat_by_seed(model: LanguageModel, tmp_path: Path) -> None:
    settings = {"temperature": 1.0, "do_sample": True, "max_gen_toks": 16}
    requests = [("The value of", settings)] * 3 + [("A class", settings)] * 3

    def texts(seed: int, name: str) -> tuple[list[str], Counted]:
        counted, kept = Counted(model), Answered(tmp_path / "answered" / name)
        found = [answer["text"] for answer in Bridge(counted, kept, seed=seed).answers(requests)]
        kept.close()
        return found, counted

    first, counted = texts(0, "a.jsonl")
    assert len(set(first)) == 6
    assert len(set(counted.seeds)) == 3
    assert all(len(prompts) == 2 for prompts in counted.asked)  # one number of each prompt together
    assert texts(0, "b.jsonl")[0] == first
    assert texts(1, "c.jsonl")[0] != first
    assert texts(0, "a.jsonl")[1].asked == []


def test_greedy_answers_are_asked_once(model: LanguageModel, kept: Answered) -> None:
    counted = Counted(model)
    found = Bridge(counted, kept).answers([("The value of", {"max_gen_toks": 8})] * 3)
    assert counted.asked == [["The value of"]]
    assert found[0] == found[1] == found[2]
    assert found[0]["tokens"] <= 8


def test_a_prompt_that_is_too_long_keeps_its_end(model: LanguageModel, kept: Answered) -> None:
    counted = Counted(model)
    prompt = LONG + "The end is here:"
    (found,) = Bridge(counted, kept).answers([(prompt, {"max_gen_toks": 32})])
    ((asked,),) = counted.asked
    assert found["truncated"]
    assert prompt.endswith(asked)
    assert CONTEXT - 32 - 4 <= len(model.tokenize(asked, special=True)) + 1 <= CONTEXT - 32
    (whole,) = Bridge(counted, kept).answers([("Short", {"max_gen_toks": 32})])
    assert not whole["truncated"]


def test_a_special_token_ends_an_answer_where_a_stop_text_names_it(model: LanguageModel, kept: Answered) -> None:
    """Engines look for stops in text, where special tokens do not show; the harness sees them."""

    class Says:
        context_length, chat_template = CONTEXT, None

        def tokenize(self, text: str, *, special: bool = False) -> list[int]:
            return model.tokenize(text, special=special)

        def generate(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Token]:
            (end,) = model.tokenize("<|im_end|>", special=True)
            for prompt in range(len(prompts)):
                yield Token(text="Yes", id=20, prompt=prompt)
                yield Token(text="", id=end, prompt=prompt)
                yield Token(text=" and more", id=21, prompt=prompt, finish="length")

    said: Any = Says()
    settings = {"until": ["<|im_end|>", "\n"]}
    assert [answer["text"] for answer in Bridge(said, kept).answers([("A", settings), ("B", settings)])] == ["Yes"] * 2
    assert Bridge(said, kept).answers([("A", {"until": ["\n"]})])[0]["text"] == "Yes and more"


def test_settings_are_the_harnesss() -> None:
    assert sampling_of({}, 4096, 3) == Sampling(max_tokens=256, temperature=0, top_p=1, top_k=0, seed=3)
    given = {"until": "\n", "max_gen_toks": 900, "temperature": 0.5, "do_sample": True, "top_p": 0.9, "top_k": 7}
    assert sampling_of(given, 1024, 0) == Sampling(
        max_tokens=512, temperature=0.5, top_p=0.9, top_k=7, seed=0, stop=("\n",)
    )
    assert sampling_of(given | {"do_sample": False}, 1024, 0).temperature == 0
    assert replace(sampling_of({"temperature": None}, 8, 0), seed=None).max_tokens == 4
