"""The same folder opened by both engines: the same logits, answers and scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from engines.harness import Window
from engines.mlx import MlxEngine
from engines.mlx.scoring import batches
from engines.pytorch import PyTorchEngine
from tests.mlx.conftest import model_folder
from workbench.contract import Sampling
from workbench.errors import WorkbenchError

PROMPTS = ["The value of", "import", "x = 1\n" * 5, "é"]
PAIRS = [
    ("The value of", " the object"),
    ("The value of", " a thing there"),
    ("import", " statement is executed"),
    ("", "class"),
    ("x = 1\n" * 9, "y"),
    ("word " * 70, "end"),
]


class Opened(NamedTuple):
    folder: Path
    torch: Any
    mlx: Any


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, artifacts: Path
) -> Iterator[Opened]:
    folder = model_folder(
        tmp_path_factory.mktemp("model"), artifacts / "tokenizer", architecture=request.param,
        tie_word_embeddings=request.param == "qwen3",
    )  # fmt: skip
    both = Opened(folder, PyTorchEngine().load(folder), MlxEngine().load(folder, dtype="float32"))
    yield both
    both.torch.close()
    both.mlx.close()


class Watched:
    """A model that remembers how many tokens it was given."""

    def __init__(self, model: Any):
        self.model, self.seen = model, []

    def __call__(self, tokens: Any, **rest: Any) -> Any:
        self.seen.append(tokens.shape[1])
        return self.model(tokens, **rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def answers(model: Any, prompts: list[str], **sampling: Any) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for token in model.generate(prompts, Sampling(**sampling)):
        if token.id is not None:
            found.setdefault(token.prompt, []).append(token.id)
    return found


def test_logits(opened: Opened) -> None:
    tokens = opened.mlx.tokenize("The value of the object is " * 12)[:64]
    expected, found = (np.concatenate(list(model.distributions(tokens, 17))) for model in opened[1:])
    assert found.shape == (64, 600)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_greedy_answers_in_a_batch_and_alone(opened: Opened) -> None:
    expected = answers(opened.torch, PROMPTS, temperature=0, max_tokens=20)
    assert answers(opened.mlx, PROMPTS, temperature=0, max_tokens=20) == expected
    for number, prompt in enumerate(PROMPTS):
        assert answers(opened.mlx, [prompt], temperature=0, max_tokens=20)[0] == expected[number]


def test_scores_and_probabilities(opened: Opened) -> None:
    for method, items in (("score", PAIRS), ("score_texts", ["The value of the object. " * 12, "x"])):
        expected, found = (getattr(model, method)(items) for model in opened[1:])
        for one, other in zip(expected, found, strict=True):
            assert (one.tokens, one.greedy, one.truncated) == (other.tokens, other.greedy, other.truncated)
            assert other.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-4, rel=1e-6)
    expected, found = (model.probabilities("The value", " of a thing", top=3) for model in opened[1:])
    assert [item.id for item in found] == [item.id for item in expected]
    for one, other in zip(expected, found, strict=True):
        assert other.log_probability == pytest.approx(one.log_probability, abs=1e-4)
        assert [text for text, _ in other.alternatives] == [text for text, _ in one.alternatives]


def test_the_same_call_scores_the_same_whatever_came_before(opened: Opened) -> None:
    first = opened.mlx.score(PAIRS)
    opened.mlx.score(PAIRS[::-1][:3])
    assert opened.mlx.score(PAIRS) == first


def test_what_was_read_before_is_not_read_again(opened: Opened) -> None:
    writer = opened.mlx._writer
    watched = Watched(writer._model)
    conversation = "The value of the object is what it says"
    expected = answers(opened.torch, [conversation + " more"], temperature=0, max_tokens=4)[0]
    answers(opened.mlx, [conversation], temperature=0, max_tokens=4)
    writer._model = watched
    try:
        answer = answers(opened.mlx, [conversation + " more"], temperature=0, max_tokens=4)[0]
    finally:
        writer._model = watched.model
    assert answer == expected
    assert sum(watched.seen) < 4 + len(opened.mlx.tokenize(" more")) + 2  # the rest of the prompt and four tokens


def test_an_iterator_closed_half_way_leaves_the_model_usable(opened: Opened) -> None:
    iterator = opened.mlx.generate(["The value of"], Sampling(temperature=0, max_tokens=20))
    next(iterator)
    iterator.close()
    again = answers(opened.mlx, ["The value of"], temperature=0, max_tokens=6)
    assert again == answers(opened.torch, ["The value of"], temperature=0, max_tokens=6)


def test_windows_that_begin_alike_are_read_once() -> None:
    stem = tuple(range(100, 160))
    windows = [Window((*stem, 1, 2), 2), Window((*stem, 3), 1), Window((7, 8, 9), 1), Window((*stem, 1, 5, 6), 3)]
    found = sorted((sorted(numbers), shared) for numbers, shared in batches(windows))
    assert found == [([0, 1, 3], 59), ([2], 1)]


def test_folders_that_cannot_be_opened(opened: Opened, tmp_path: Path) -> None:
    def broken(name: str, **config: Any) -> Path:
        shutil.copytree(opened.folder, tmp_path / name)
        path = tmp_path / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return tmp_path / name

    cases = {
        broken("unknown", model_type="mamba9000"): "of the architecture 'mamba9000', which mlx-lm does not know",
        broken("quantised", quantization_config={"quant_method": "bitsandbytes"}): "quantised by bitsandbytes",
    }
    cut = broken("cut")
    with open(cut / "model.safetensors", "r+b") as file:
        file.truncate(5000)
    cases[cut] = "cannot be opened as a model"
    for folder, message in cases.items():
        with pytest.raises(WorkbenchError, match=message):
            MlxEngine().load(folder)
