"""Many prompts at once: each answer is what it would be alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engines.pytorch import folders
from engines.pytorch.generation import draw, generate_batch
from engines.pytorch.language_model import TransformersModel
from engines.text_model import grouped_by_length
from tests.pytorch.tuning_workspace import write_model
from workbench.contract import Sampling, Token

PROMPTS = ["The cat", "The teacher sees the river and the garden. The moon likes", "A", "The cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_model(tmp_path_factory.mktemp("generation") / "base")
    model = folders.open_causal_lm(path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # an untrained model's draws all look alike
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[TransformersModel]:
    opened = TransformersModel(folder)
    yield opened
    opened.close()


def ids(tokens: list[Token], prompt: int) -> list[int | None]:
    return [token.id for token in tokens if token.prompt == prompt]


def test_greedy_answers_are_those_of_each_prompt_alone(model: TransformersModel) -> None:
    sampling = Sampling(temperature=0, max_tokens=16)
    together = list(model.generate(PROMPTS, sampling))
    for number, prompt in enumerate(PROMPTS):
        assert ids(together, number) == ids(list(model.generate([prompt], sampling)), 0)
        assert [token.finish for token in together if token.prompt == number][-1] in ("stop", "length")
    assert len({tuple(ids(together, number)) for number in range(3)}) > 1


def test_draws_do_not_depend_on_the_company_but_on_the_number(model: TransformersModel) -> None:
    sampling = Sampling(seed=3, max_tokens=16, temperature=1.0)
    together = list(model.generate(PROMPTS, sampling))
    assert ids(together, 0) == ids(list(model.generate(PROMPTS[:1], sampling)), 0)
    assert ids(together, 1) == ids(list(model.generate(PROMPTS[:2], sampling)), 1)
    assert ids(together, 0) != ids(together, 3)  # the same prompt, asked twice
    assert together == list(model.generate(PROMPTS, sampling))


def test_rows_that_end_leave_and_the_others_go_on(folder: Path) -> None:
    language_model = folders.open_causal_lm(folder)
    prompts = [[0, 20, 30], [0, 40], [0, 50, 60, 70, 80]]
    sampling = Sampling(temperature=0, max_tokens=12)
    free: dict[int, list[int]] = {}
    for row, token in generate_batch(language_model, prompts, sampling, ends=()):
        free.setdefault(row, []).append(token)
    assert [len(free[row]) for row in range(3)] == [12, 12, 12]
    end = free[0][3]
    found: dict[int, list[int]] = {}
    for row, token in generate_batch(language_model, prompts, sampling, ends={end}):
        found.setdefault(row, []).append(token)
    for row in range(3):
        place = free[row].index(end) + 1 if end in free[row] else 12
        assert found[row] == free[row][:place]
    assert len(found[0]) <= 4


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(4000, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in range(4000)]
    seen = torch.zeros(4000, 4, dtype=torch.bool)
    free = draw(logits, Sampling(temperature=1.0, top_p=1.0, top_k=0), seen, generators).bincount(minlength=4) / 4000
    assert torch.allclose(free.float(), logits[0].softmax(0), atol=0.03)
    cut = draw(logits, Sampling(temperature=1.0, top_p=1.0, top_k=2), seen, generators).bincount(minlength=4) / 4000
    assert torch.allclose(cut.float(), torch.tensor([0.731, 0.269, 0, 0]), atol=0.03)
    [likeliest] = draw(logits[:1], Sampling(temperature=0, repetition_penalty=5.0), seen[:1], generators[:1]).tolist()
    assert likeliest == 0
    penalised = torch.tensor([[True, False, False, False]])
    [other] = draw(logits[:1], Sampling(temperature=0, repetition_penalty=5.0), penalised, generators[:1]).tolist()
    assert other == 1


def test_groups_hold_prompts_of_similar_length() -> None:
    lengths = [10, 900, 12, 880, 11, 4000]
    groups = grouped_by_length(lengths, 100, most=16_384)
    assert sorted(place for group in groups for place in group) == list(range(6))
    assert groups[0][0] == 5
    for group in groups:
        assert len(group) * (lengths[group[0]] + 100) <= 16_384
