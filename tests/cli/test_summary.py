"""What is said of a training in one line, whatever its method reports."""

from __future__ import annotations

import pytest

from workbench.cli.summary import outcome


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ({"eval_loss": 4.63, "eval_bits_per_byte": 1.9012}, "1.901 bits per byte"),
        ({"eval_loss": 3.42, "eval_loss_before": 5.4}, "held-out loss 5.400 → 3.420"),
        ({"eval_reward_accuracy": 0.928, "length_only_accuracy": 0.5},
         "92.8% of held-out pairs right (by length alone 50.0%)"),
        ({"eval_loss": 0.5, "eval_reward_accuracy": 0.8, "eval_reward_margin": 0.55}, "80.0% of held-out pairs right"),
        ({"eval_loss": -11.0, "eval_reward_mean": 10.99, "eval_reward_mean_before": 2.57, "eval_kl": 5.07},
         "held-out reward 2.57 → 10.99, 5.07 nats from the base"),
        ({"eval_loss": 0.49, "eval_kl": 0.1, "eval_reward_margin": 0.2}, "held-out loss 0.490"),
        ({"parameters": 5}, ""),
    ],
)  # fmt: skip
def test_the_outcome_is_what_the_method_is_after(report: dict[str, float], sentence: str) -> None:
    assert outcome(report) == sentence
