"""Generation and scores of a real trained model, against transformers' own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from engines.pytorch import PyTorchEngine
from engines.pytorch.language_model import TransformersModel
from engines.pytorch.pretrain import pretrain
from engines.stop_texts import StopGate
from tests.pytorch.conftest import Listener, Workspace
from workbench.contract import LanguageModel, Sampling
from workbench.errors import WorkbenchError

GREEDY = Sampling(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Path:
    path = tmp_path_factory.mktemp("model")
    for name in ("tokenizer", "shards"):
        (path / name).symlink_to(artifacts / name)
    job = Workspace(path).job(schedule__max_steps=80, optimizer__learning_rate=1e-2, evaluation__sample_tokens=0)
    pretrain(job, Listener())
    return job.output


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[LanguageModel]:
    opened = PyTorchEngine().load(folder)
    assert isinstance(opened, LanguageModel)
    yield opened
    opened.close()


def test_greedy_generation_is_that_of_transformers(model: TransformersModel, folder: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder)
    prompts = ["The value of", "import"]
    answers: dict[int, list[int]] = {0: [], 1: []}
    for token in model.generate(prompts, GREEDY):
        if token.id is not None:
            answers[token.prompt].append(token.id)
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([[0, *model.tokenize(prompt)]])
        expected = reference.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
        assert answers[number] == [token for token in expected if token != 1]


def test_a_seed_repeats_and_another_differs(model: TransformersModel) -> None:
    def text(seed: int) -> str:
        sampling = Sampling(seed=seed, max_tokens=20, temperature=1.0)
        return "".join(token.text for token in model.generate(["The "], sampling))

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(5)}) == 5


def test_pieces_are_whole_characters_and_the_last_says_why(model: TransformersModel) -> None:
    # At a high temperature an untrained-like model writes bytes of characters in any order.
    tokens = list(model.generate(["é"], Sampling(temperature=5.0, top_k=0, top_p=1.0, max_tokens=40, seed=3)))
    assert [token.finish for token in tokens[:-1]] == [None] * (len(tokens) - 1)
    assert tokens[-1].finish in ("length", "stop")
    for token in tokens:
        token.text.encode()  # no half of a character


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(model: TransformersModel) -> None:
    full = "".join(token.text for token in model.generate(["The value of"], GREEDY))
    stop = full[4:7]
    tokens = list(model.generate(["The value of"], Sampling(temperature=0, max_tokens=12, stop=(stop,))))
    assert "".join(token.text for token in tokens) == full[: full.index(stop)]
    assert tokens[-1].finish == "stop"


def test_stop_gate_holds_back_a_possible_beginning() -> None:
    gate = StopGate(["\n\nUser:"])
    assert [gate.add("a\n"), gate.add("\nUs"), gate.add("e"), gate.add("d\n\nUser: x")] == ["a", "", "", "\n\nUsed"]
    assert gate.stopped


def test_scores_are_exact_in_any_batch(model: TransformersModel, folder: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder)
    pairs = [("The value of", " the object"), ("import", " statement is executed"), ("", "class"), ("x = 1\n" * 9, "y")]
    scores = model.score(pairs)
    for (context, continuation), score in zip(pairs, scores, strict=True):
        before = [0, *model.tokenize(context.rstrip())]
        whole = [0, *model.tokenize(context + continuation)]
        logits = reference(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected = sum(logits[place - 1, whole[place]].item() for place in range(len(before), len(whole)))
        assert score.tokens == len(whole) - len(before)
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
    greedy = "".join(token.text for token in model.generate(["The value of"], Sampling(temperature=0, max_tokens=3)))
    assert model.score([("The value of", greedy)])[0].log_likelihood < 0


def test_special_tokens_in_text_stay_text(model: TransformersModel) -> None:
    assert 1 not in model.tokenize("<|eos|>")
    assert model.tokenize("<|eos|>", special=True) == [1]


def test_a_base_model_continues_what_was_said(model: TransformersModel) -> None:
    assert model.chat_template is None
    assert model.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "a\n\nb"


def test_bad_folders_and_prompts_get_their_sentence(model: TransformersModel, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="context is 64"):
        list(model.generate(["word " * 100], GREEDY))
    with open(broken(folder, tmp_path / "cut") / "model.safetensors", "r+b") as file:
        file.truncate(5000)
    cases = {
        broken(folder, tmp_path / "config", "config.json"): r"config\.json is missing",
        broken(folder, tmp_path / "tokenizer", "tokenizer*"): "no tokenizer",
        broken(folder, tmp_path / "weights", "*.safetensors"): "cannot be opened",
        tmp_path / "cut": "cannot be read",
    }
    for path, sentence in cases.items():
        with pytest.raises(WorkbenchError, match=sentence):
            PyTorchEngine().load(path)


def broken(folder: Path, copy: Path, without: str = "") -> Path:
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(without))
    return copy
