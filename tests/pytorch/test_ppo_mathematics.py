"""PPO's rewards, advantages and losses against NumPy, written out token by token from the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.pytorch.ppo import mathematics
from engines.pytorch.ppo.generation import draw
from engines.reinforcement import advantages
from engines.reinforcement.answers import uniform_numbers

LENGTHS = (5, 1, 8, 3)


@pytest.fixture
def numbers() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shape = (len(LENGTHS), max(LENGTHS))
    found = {name: generator.normal(size=shape) for name in ("log_probs", "reference", "values", "new", "new_values")}
    found["scores"] = generator.normal(size=len(LENGTHS)) * 3
    return found


@pytest.fixture
def mask() -> np.ndarray:
    return np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]


def reference_rewards(numbers: dict[str, np.ndarray], kl_coef: float) -> list[list[float]]:
    """Ziegler et al. 2019: -beta · log(pi / rho) for every token, and the score of the whole at the last."""
    rows = []
    for row, length in enumerate(LENGTHS):
        rewards = [-kl_coef * (numbers["log_probs"][row, t] - numbers["reference"][row, t]) for t in range(length)]
        rewards[-1] += numbers["scores"][row]
        rows.append(rewards)
    return rows


def reference_advantages(rewards: list[list[float]], values: np.ndarray, gamma: float, lam: float) -> list[list[float]]:
    """Schulman et al. 2016, eq. 16, as the double sum that it is."""
    rows = []
    for row, length in enumerate(LENGTHS):
        errors = []
        for t in range(length):
            after = values[row, t + 1] if t + 1 < length else 0.0
            errors.append(rewards[row][t] + gamma * after - values[row, t])
        rows.append([sum((gamma * lam) ** k * errors[t + k] for k in range(length - t)) for t in range(length)])
    return rows


def flat(rows: list[list[float]]) -> np.ndarray:
    return np.array([value for row in rows for value in row])


def test_rewards_and_advantages_equal_the_papers(numbers: dict[str, np.ndarray], mask: np.ndarray) -> None:
    rewards_BT = advantages.token_rewards(
        numbers["scores"], numbers["log_probs"], numbers["reference"], mask, kl_coef=0.3
    )
    expected = reference_rewards(numbers, 0.3)
    assert np.allclose(rewards_BT[mask], flat(expected), atol=1e-12)
    assert np.abs(rewards_BT[~mask]).sum() == 0
    found_BT = advantages.advantages(rewards_BT, numbers["values"], mask, gamma=0.97, lam=0.9)
    expected_advantages = flat(reference_advantages(expected, numbers["values"], 0.97, 0.9))
    assert np.allclose(found_BT[mask], expected_advantages, atol=1e-12)
    assert np.abs(found_BT[~mask]).sum() == 0


def test_whitening_is_over_tokens_alone(numbers: dict[str, np.ndarray], mask: np.ndarray) -> None:
    values_BT = numbers["values"] * 4 + 2
    chosen = values_BT[mask]
    for shift in (True, False):
        expected = (chosen - chosen.mean()) / np.sqrt(chosen.var() + 1e-8) + (0 if shift else chosen.mean())
        found_BT = advantages.whitened(values_BT, mask, shift_mean=shift)
        assert np.allclose(found_BT[mask], expected, atol=1e-12)
        assert np.abs(found_BT[~mask]).sum() == 0


def test_whitening_over_two_processes_is_that_of_all_tokens(numbers: dict[str, np.ndarray], mask: np.ndarray) -> None:
    values_BT = numbers["values"]
    together_BT = advantages.whitened(values_BT, mask)
    halves = (slice(0, 2), slice(2, 4))
    # What a sum over processes would answer: the first call asks for count and sum, the second for squares.
    count, added = float(mask.sum()), float(values_BT[mask].sum())
    squares = ((values_BT[mask] - added / count) ** 2).sum()
    for half in halves:
        answers = iter([np.array([count, added]), np.array([squares])])
        apart_BT = advantages.whitened(values_BT[half], mask[half], total=lambda _, answers=answers: next(answers))
        assert np.allclose(apart_BT, together_BT[half], atol=1e-12)


def test_losses_and_their_gradients_equal_numpy(numbers: dict[str, np.ndarray], mask: np.ndarray) -> None:
    chosen = mask
    old, new = numbers["log_probs"][chosen], numbers["log_probs"][chosen] + 0.3 * numbers["new"][chosen]
    gains = numbers["reference"][chosen]
    values, new_values = numbers["values"][chosen], numbers["new_values"][chosen]
    returns = numbers["new"][chosen]

    new_N = torch.from_numpy(new).requires_grad_()
    loss_N, clipped_N = mathematics.policy_loss(new_N, torch.from_numpy(old), torch.from_numpy(gains), 0.2)
    loss_N.mean().backward()
    ratio = np.exp(new - old)
    expected, slopes, outside = [], [], []
    for r, a in zip(ratio, gains, strict=True):
        free, bounded = r * a, min(max(r, 0.8), 1.2) * a
        expected.append(-min(free, bounded))
        outside.append(bounded < free)
        slopes.append(0.0 if bounded < free else -a * r)
    assert 0.2 < np.mean(outside) < 0.8  # both cases are there
    assert np.allclose(loss_N.detach().numpy(), expected, atol=1e-12)
    assert clipped_N.tolist() == outside
    assert new_N.grad is not None
    assert np.allclose(new_N.grad.numpy(), np.array(slopes) / len(slopes), atol=1e-12)

    values_N = torch.from_numpy(new_values).requires_grad_()
    loss_N, clipped_N = mathematics.value_loss(values_N, torch.from_numpy(values), torch.from_numpy(returns), 0.2)
    expected = []
    for now, before, target in zip(new_values, values, returns, strict=True):
        near = min(max(now, before - 0.2), before + 0.2)
        expected.append(0.5 * max((now - target) ** 2, (near - target) ** 2))
    assert np.allclose(loss_N.detach().numpy(), expected, atol=1e-12)
    assert 0.2 < clipped_N.double().mean() < 0.8


def test_the_coefficient_goes_after_the_target() -> None:
    assert advantages.adapted_kl_coef(0.1, 6.0, target=6.0, horizon=10_000, answers=256) == 0.1
    higher = advantages.adapted_kl_coef(0.1, 6.6, target=6.0, horizon=10_000, answers=256)
    assert higher == pytest.approx(0.1 * (1 + 0.1 * 256 / 10_000))
    most = advantages.adapted_kl_coef(0.1, 600.0, target=6.0, horizon=10_000, answers=256)
    assert most == pytest.approx(0.1 * (1 + 0.2 * 256 / 10_000))
    least = advantages.adapted_kl_coef(0.1, -5.0, target=6.0, horizon=10_000, answers=256)
    assert least == pytest.approx(0.1 * (1 - 0.2 * 256 / 10_000))


def test_draws_have_the_probabilities_of_the_softmax() -> None:
    logits_V = torch.tensor([1.0, -2.0, 0.5, -torch.inf, 3.0])
    uniform = torch.from_numpy(uniform_numbers(1, 200_000, 7)[0])
    drawn = draw(logits_V.expand(len(uniform), -1), uniform)
    shares = torch.bincount(drawn, minlength=5).double() / len(drawn)
    assert torch.allclose(shares, logits_V.double().softmax(0), atol=4e-3)  # 3.5 deviations of a share of a half
    assert shares[3] == 0
    edges = draw(logits_V.expand(2, -1), torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64))
    assert edges.tolist() == [0, 4]


def test_uniform_numbers_are_a_function_of_their_key() -> None:
    assert np.array_equal(uniform_numbers(4, 3, 1, 2), uniform_numbers(4, 3, 1, 2))
    assert not np.array_equal(uniform_numbers(4, 3, 1, 2), uniform_numbers(4, 3, 1, 3))
