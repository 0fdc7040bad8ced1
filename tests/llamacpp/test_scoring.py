"""Scores of a GGUF are those of lm-eval's HFLM on its checkpoint; quantised ones are the same in any company."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.llamacpp.language_model import LlamaCppModel
from tests.llamacpp.stages import run_export
from workbench.contract import Sampling, ScoresTexts
from workbench.errors import WorkbenchError

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

HEADER = "Making things is mostly waiting. " * 8  # about 150 tokens of the tiny model's 256
PAIRS = [
    *(("The pump", f" number {number} is the one that ran") for number in range(70)),  # more than sequences
    *((f"{HEADER}Question {number}:", f" {letter}") for number in range(9) for letter in "ABCD"),
    *((f"{HEADER}Question {number}:", f" answer {number} it is") for number in range(9)),
    ("The harbour lay quiet  ", "under fog"),
    ("", "The harbour lay quiet"),
    ("", "<|bos|>begins with BOS"),
    ("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "Yes<|im_end|>"),
    *(("word " * 150, f"choice {number} beyond the context") for number in range(3)),
    ("The same", " pair"),
    ("The same", " pair"),
]
TEXTS = [
    "",
    "x",
    "The harbour lay quiet under fog.",
    *("".join(f"word {n} " for n in range(count)) for count in (20, 43, 70, 120)),
]


@pytest.fixture(scope="module")
def tiny(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppModel]:
    folder = tmp_path_factory.mktemp("tiny")
    run_export(make_model("qwen3"), folder, "f32")
    model = LlamaCppModel(folder / "output")
    yield model
    model.close()


@pytest.fixture(scope="module")
def quantised(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppModel]:
    folder = tmp_path_factory.mktemp("quantised")
    run_export(make_model("qwen3"), folder, "q8_0")
    model = LlamaCppModel(folder / "output")
    yield model
    model.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[LlamaCppModel], list[int]]:
    """The numbers of tokens that a model decodes from now on."""

    def counting(model: LlamaCppModel) -> list[int]:
        sizes: list[int] = []
        decode = model._context.decode

        def remembering(tokens: Sequence[int], *given: Any) -> None:
            sizes.append(len(tokens))
            decode(tokens, *given)

        monkeypatch.setattr(model._context, "decode", remembering)
        return sizes

    return counting


def test_scores_are_those_of_lm_eval(tiny: LlamaCppModel, make_model: Callable[..., Path]) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="lm-eval, the reference, is not installed")
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = make_model("qwen3")
    # Keys and values are in f16 here.
    harness: Any = huggingface.HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=PreTrainedTokenizerFast.from_pretrained(folder),
        batch_size=8,
    )
    expected = harness.loglikelihood([SimpleNamespace(args=pair, task_name=None) for pair in PAIRS], disable_tqdm=True)
    scores = tiny.score(PAIRS)
    for score, (likelihood, _) in zip(scores, expected, strict=True):
        assert score.log_likelihood == pytest.approx(likelihood, rel=1e-4, abs=0.02)
    assert {pair[0][:4] for pair, score in zip(PAIRS, scores, strict=True) if score.truncated} == {"word"}
    assert isinstance(tiny, ScoresTexts)
    texts = [SimpleNamespace(args=(text,)) for text in TEXTS]
    assert [score.log_likelihood for score in tiny.score_texts(TEXTS)] == pytest.approx(
        harness.loglikelihood_rolling(texts, disable_tqdm=True), rel=1e-4, abs=0.02
    )


def test_a_quantised_score_is_the_same_in_any_company(quantised: LlamaCppModel) -> None:
    together = quantised.score(PAIRS)
    order = random.Random(0).sample(range(len(PAIRS)), len(PAIRS))
    shuffled = quantised.score([PAIRS[number] for number in order])
    assert shuffled == [together[number] for number in order]
    for number in order[:40]:
        assert quantised.score([PAIRS[number]]) == [together[number]]
    list(quantised.generate(["Once", HEADER], Sampling(temperature=0, max_tokens=4)))
    assert quantised.score(PAIRS[70:90]) == together[70:90]


def test_a_header_is_decoded_once(quantised: LlamaCppModel, decoded: Callable[[LlamaCppModel], list[int]]) -> None:
    questions = [f"{HEADER}Question {number}:" for number in range(20)]
    lengths = [1 + len(quantised.tokenize(question)) for question in questions]
    assert min(lengths) > 128 + 16
    quantised.score([("x", " y")])
    sizes = decoded(quantised)
    for question in questions:  # call for call
        quantised.score([(question, f" {letter}") for letter in "ABCD"])
    assert sizes.count(128) == 1
    assert sizes.count(lengths[0] - 128) >= 9
    assert max(sizes[1:]) < 40


def test_short_stems_are_decoded_together(
    tiny: LlamaCppModel, quantised: LlamaCppModel, decoded: Callable[[LlamaCppModel], list[int]]
) -> None:
    pairs = [(f"Number {number} is", f" {word} here") for number in range(8) for word in ("one", "two")]
    counts = {}
    for name, model in (("f32", tiny), ("q8_0", quantised)):
        sizes = decoded(model)
        model.score(pairs)
        counts[name] = len(sizes)
    assert counts == {"f32": 2, "q8_0": 24}  # all stems, all continuations; each stem, each continuation


def test_continuations_without_tokens_are_refused(tiny: LlamaCppModel) -> None:
    with pytest.raises(WorkbenchError, match="'' has no tokens"):
        tiny.score([("A context", "")])
    assert tiny.score([]) == []
