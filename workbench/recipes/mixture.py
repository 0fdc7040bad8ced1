"""Several corpora in one training: their shares, and the phases in which those change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recipes.base import weighted

MANY_EPOCHS = 4  # from which on repeated text teaches less and less (Muennighoff et al. 2023)


@dataclass(frozen=True, slots=True)
class Mixture:
    """What is trained on from a share `at` of the training on: corpora, with weights or in proportion to their size."""

    at: float  # 0 is the beginning, 1 the end
    names: tuple[str, ...]
    weights: tuple[float, ...] | None

    def shares(self, sources: Sequence[str], tokens: Sequence[int]) -> list[float]:
        """The share of the tokens that comes from each of `sources`, which have so many to train on; their sum is 1."""
        sizes = dict(zip(sources, map(float, tokens), strict=True))
        given = dict(zip(self.names, self.weights or [sizes[name] for name in self.names], strict=True))
        return [given.get(name, 0.0) / sum(given.values()) for name in sources]


def whole_shares(mixtures: Sequence[Mixture], sources: Sequence[str], tokens: Sequence[int]) -> list[float]:
    """The share of all tokens of the training that comes from each source."""
    stops = [item.at for item in mixtures[1:]] + [1.0]
    lasting = [stop - item.at for item, stop in zip(mixtures, stops, strict=True)]
    each = [item.shares(sources, tokens) for item in mixtures]
    return [
        sum(time * shares[place] for time, shares in zip(lasting, each, strict=True)) for place in range(len(sources))
    ]


def mixture(texts: Sequence[str], at: float = 0.0) -> Mixture:
    """Of `name` or `name=weight` each.

    Raises `WorkbenchError` for a weight that is no positive number, and a corpus that is named twice.
    """
    names, weights = zip(*map(weighted, texts), strict=True)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise WorkbenchError(
            f"The corpus {twice!r} is named twice in {', '.join(texts)}.", f"Name it once: {twice}=0.5."
        )
    return Mixture(at, names, weights if any("=" in text for text in texts) else None)


def phase(text: str) -> Mixture:
    """Of `0.9: good=0.8, web=0.2`. Raises `WorkbenchError` if it is none."""
    share, colon, rest = text.partition(":")
    texts = [item for item in re.split(r"[,\s]+", rest) if item]
    try:
        at = float(share)
    except ValueError:
        at = 0.0
    if not (colon and texts and 0 < at < 1):
        raise WorkbenchError(
            f"{text!r} is no phase.",
            "Give the share of the training at which it begins, and its corpora: '0.9: good=0.8, web=0.2'.",
        )
    return mixture(texts, at)


def phase_texts(value: Any) -> Any:
    """Phases as texts, where a file has them as mappings of `at` and `corpus`."""
    if isinstance(value, (str, dict)):
        value = [value]
    return [_phase_text(item) for item in value] if isinstance(value, list) else value


def _phase_text(value: Any) -> Any:
    if not isinstance(value, dict) or set(value) != {"at", "corpus"}:
        return value
    corpora = value["corpus"]
    return f"{value['at']}: {', '.join(map(str, corpora)) if isinstance(corpora, list) else corpora}"
