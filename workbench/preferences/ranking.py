"""What a person decides before they rank."""

from __future__ import annotations

import getpass
from dataclasses import dataclass, field
from pathlib import Path


def login() -> str:
    """The name of who is logged in; "me" where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "me"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardChoice:
    """A reward model that says which pairs tell most."""

    name: str
    identity: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """`overlap` and `repeat` are shares; see `choice.Choice`."""

    rater: str = field(default_factory=login)
    whole_sets: bool = False  # all answers to a prompt in their order, instead of pairs
    overlap: float = 0.1
    repeat: float = 0.05
    reward: RewardChoice | None = None
    evaluation: bool = False  # only to compare models: kept apart from what trains, no pairs of one model's answers
