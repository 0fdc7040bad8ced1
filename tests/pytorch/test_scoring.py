"""Scores of pairs and texts are those of lm-eval's HFLM, in any company; what is shared is computed once."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from engines.harness import Window
from engines.pytorch.language_model import TransformersModel
from engines.pytorch.scoring import pack
from tests.pytorch.conftest import VOCAB_SIZE
from workbench.contract import Score, ScoresTexts
from workbench.errors import WorkbenchError

LENGTH = 192
HEADER = "Questions about the language, each with its answer.\n\n" + "".join(
    f"Question: what does {name} do?\nAnswer: it is a statement.\n\n" for name in ("import", "del", "pass")
)
PAIRS = [
    *(("The value of", f" {word}") for word in ("the object", "an", "a", "class")),
    *((f"{HEADER}Question: {name}?\nAnswer:", f" {answer}") for name in ("if", "for", "with") for answer in "ABCD"),
    ("The statement ends in spaces:  ", "here"),
    ("A line\n", "and another"),
    ("  ", "only white space before"),
    ("", "The object is a class."),
    ("", "The object is a function."),
    ("", "<|bos|>begins with BOS"),
    ("", "<|eos|>begins with EOS"),
    ("<|bos|><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "Yes"),
    ("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "No<|im_end|>"),
    ("one " * 150, "beginning left out"),
    *(("two " * 150, f"choice {number}") for number in range(2)),
    ("three " * 150, "number " * 30),
    ("The same", " pair"),
    ("The same", " pair"),
]
TEXTS = [
    "",
    "x",
    "The object is a class.",
    *("".join(f"word {n} " for n in range(count)) for count in (20, 31, 60, 90)),
]


@pytest.fixture(scope="module")
def make(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with a tiny model whose logits say something, and a tokenizer that adds BOS, or knows none."""

    def folder(architecture: str = "llama", *, bos: bool = True, **changes: Any) -> Path:
        path = tmp_path_factory.mktemp("model") / "m"
        shutil.copytree(artifacts / "tokenizer", path)
        if not bos:
            tokenizer = json.loads((path / "tokenizer.json").read_text()) | {"post_processor": None}
            (path / "tokenizer.json").write_text(json.dumps(tokenizer))
            (path / "tokenizer_config.json").write_text('{"eos_token": "<|eos|>", "pad_token": "<|pad|>"}')
        shape = {
            "vocab_size": VOCAB_SIZE, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": LENGTH,
            "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
        }  # fmt: skip
        config = AutoConfig.for_model(architecture, **shape | changes)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(6)
        model.save_pretrained(path)
        return path

    return folder


def reference(folder: Path) -> Any:
    huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="lm-eval, the reference, is not installed")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return huggingface.HFLM(pretrained=model, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder), batch_size=1)


def requests(rows: Sequence[tuple[str, ...]]) -> list[Any]:
    return [SimpleNamespace(args=row, task_name=None) for row in rows]


def assert_same(scores: list[Score], expected: list[tuple[float, bool]]) -> None:
    for score, (likelihood, greedy) in zip(scores, expected, strict=True):
        assert score.log_likelihood == pytest.approx(likelihood, abs=1e-3)
        assert score.greedy == greedy


@pytest.mark.parametrize("bos", [True, False], ids=["with BOS", "without BOS"])
def test_scores_are_those_of_lm_eval(make: Callable[..., Path], bos: bool) -> None:
    folder = make(bos=bos)
    model, harness = TransformersModel(folder, device="cpu"), reference(folder)
    # A context of white space alone is an error there where no BOS comes before it.
    pairs = [pair for pair in PAIRS if bos or pair[0] != "  "]
    scores = model.score(pairs)
    assert model._scorer._packs
    assert_same(scores, harness.loglikelihood(requests(pairs), disable_tqdm=True))
    assert len({round(score.log_likelihood, 2) for score in scores}) > 25
    truncated = {pair[0][:3] for pair, score in zip(pairs, scores, strict=True) if score.truncated}
    assert truncated == {"one", "two", "thr"}
    assert isinstance(model, ScoresTexts)
    assert [score.log_likelihood for score in model.score_texts(TEXTS)] == pytest.approx(
        harness.loglikelihood_rolling(requests([(text,) for text in TEXTS]), disable_tqdm=True), abs=1e-3
    )


def test_a_greedy_answer_is_known_as_such(make: Callable[..., Path]) -> None:
    folder = make()
    model, harness = TransformersModel(folder, device="cpu"), reference(folder)
    context = harness.tok_encode("The value of")
    drawn = harness.model.generate(torch.tensor([context]), max_new_tokens=3, do_sample=False)[0].tolist()
    ids = tuple(drawn)
    likely, other = Window(ids, 3), Window((*ids[:-1], (ids[-1] + 1) % VOCAB_SIZE), 3)
    assert [greedy for _, greedy in model._scorer.score([likely, other])] == [True, False]


# cohere scales its logits; gemma3 sees 64 tokens back in every layer but one of six.
@pytest.mark.parametrize(
    ("architecture", "changes", "packs"),
    [
        ("qwen3", {}, True),
        ("gpt2", {"n_positions": LENGTH, "n_embd": 64, "n_layer": 2, "n_head": 2}, True),
        ("cohere", {}, False),
        ("gemma3_text", {"sliding_window": 64}, True),
    ],
)
def test_other_architectures(
    make: Callable[..., Path], architecture: str, changes: dict[str, Any], packs: bool
) -> None:
    folder = make(architecture, **changes)
    model, harness = TransformersModel(folder, device="cpu"), reference(folder)
    assert_same(model.score(PAIRS), harness.loglikelihood(requests(PAIRS), disable_tqdm=True))
    assert model._scorer._packs == packs
    if packs:
        short = [("The value of", f" {word}") for word in ("the", "an", "object")]
        assert_same(model.score(short), harness.loglikelihood(requests(short), disable_tqdm=True))


def test_company_and_order_change_nothing(make: Callable[..., Path]) -> None:
    model = TransformersModel(make(), device="cpu")
    alone = [model.score([pair])[0].log_likelihood for pair in PAIRS]
    order = random.Random(0).sample(range(len(PAIRS)), len(PAIRS))
    together = model.score([PAIRS[number] for number in order])
    assert [score.log_likelihood for score in together] == pytest.approx([alone[number] for number in order], abs=1e-3)


def test_what_is_shared_is_computed_once(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Few-shot questions with four choices each cost their own tokens and one header: not 4 x (header + question)."""
    model = TransformersModel(make(max_position_embeddings=1024), device="cpu")
    model.score(PAIRS[:1])
    seen: list[int] = []
    forward = model._model.base_model.forward

    def counting(*given: Any, **inputs: Any) -> Any:
        seen.append(inputs["input_ids"].numel())
        return forward(*given, **inputs)

    monkeypatch.setattr(model._model.base_model, "forward", counting)
    header = HEADER * 4
    questions = [f"{header}Question {number}: what is {number} times two? It is" for number in range(24)]
    sizes = [len(model.tokenize(text)) - len(model.tokenize(header)) for text in questions]
    model.score([(question, f" {letter}") for question in questions for letter in "ABCD"])
    once = len(model.tokenize(header)) + sum(sizes)
    assert sum(seen) < 1.25 * once  # the rest is padding
    seen.clear()
    model.score([(question, " E") for question in questions])
    assert sum(seen) < 1.25 * sum(sizes)  # the header was kept
    again = model.score([(question, " E") for question in questions])
    model.score(PAIRS)
    assert model.score([(question, " E") for question in questions]) == again  # to the last bit


def test_rows_are_trees_of_what_differs() -> None:
    windows = [Window((1, 2, 3, 4, 9), 2), Window((1, 2, 3, 5, 9), 2), Window((1, 2, 3, 5, 8), 1), Window((1, 7), 1)]
    [row] = pack(windows, range(4), header=0)
    assert row.tokens == [1, 2, 3, 4, 5]
    assert row.positions == [0, 1, 2, 3, 3]
    assert row.targets == [(0, 2, 4), (0, 3, 9), (1, 2, 5), (1, 4, 9), (2, 4, 8), (3, 0, 7)]
    assert row.mask(6).astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_long_continuations_and_empty_ones(make: Callable[..., Path]) -> None:
    model = TransformersModel(make(), device="cpu")
    [long] = model.score([("A context", " word" * 400)])
    assert long.truncated
    assert long.tokens > LENGTH
    assert long.log_likelihood < -LENGTH
    with pytest.raises(WorkbenchError, match="'' has no tokens"):
        model.score([("A context", "")])
    assert model.score([]) == []
