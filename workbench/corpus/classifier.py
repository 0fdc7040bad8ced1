"""A linear model of a text's quality, learnt from good and bad examples.

Features are the words and pairs of words at the beginning of a text, hashed into 2^18 buckets (Weinberger et al. 2009,
"Feature hashing"), with log(1 + count), scaled to length 1. The model is a logistic regression with balanced classes,
by Nesterov's accelerated gradient. How well it tells new texts is measured on marks that it did not see: each fifth of
them is scored by a model of the other four.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from workbench.corpus.marks import CHARACTERS
from workbench.corpus.shingles import mixed, runs, word_hashes
from workbench.errors import WorkbenchError
from workbench.wording import amount

KEY, FORMAT = "classifier", 1  # in the file's metadata
BITS = 18
ORDERS = (1, 2)  # words, and pairs of words
FOLDS = 5
LEAST = 10  # marks of each kind
STEPS = 400
STRENGTH = 10.0  # of the data against the regulariser, as scikit-learn's C
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Level:
    """What a threshold did to marks that the model had not seen: documents that score below it are rejected."""

    threshold: float
    precision: float | None  # of those that were kept, the share that was marked good
    recall: float  # of those that were marked good, the share that was kept
    rejected_bad: float  # of those that were marked bad, the share that was rejected


@dataclass(frozen=True, slots=True)
class Measured:
    """How well a classifier tells marks that it had not seen."""

    good: int
    bad: int
    auc: float  # the probability that a good one scores above a bad one
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Classifier:
    """`score` is above 0.5 where a text is rather good than bad, if both were equally many."""

    weights: np.ndarray  # float32 [2^BITS]
    bias: float
    measured: Measured

    def score(self, text: str) -> float:
        """0 (bad) to 1 (good), by the first `CHARACTERS` of `text`."""
        buckets, values = features(text)
        return float(_sigmoid(values @ self.weights[buckets] + self.bias))

    def save(self, file: Path) -> None:
        """Replace `file`, as safetensors with what was measured beside the weights."""
        from safetensors.numpy import save

        from workbench.durable import fsync_directory

        # One entry: safetensors writes several in any order, and the same marks are to give the same bytes.
        metadata = {KEY: json.dumps({"format": FORMAT, **asdict(self.measured)})}
        tensors = {"weights": self.weights, "bias": np.array([self.bias], np.float32)}
        file.parent.mkdir(exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        partial.write_bytes(save(tensors, metadata))
        partial.replace(file)
        fsync_directory(file.parent)

    @classmethod
    def load(cls, file: Path) -> Classifier:
        """Raises `WorkbenchError` if there is none at `file`."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "np") as opened:
                measured = json.loads((opened.metadata() or {}).get(KEY, "{}"))
                if measured.pop("format", None) != FORMAT:
                    raise WorkbenchError(
                        f"{file} is no classifier of this program.", "Train one: workbench classifier."
                    )
                measured["levels"] = tuple(Level(**level) for level in measured["levels"])
                return cls(opened.get_tensor("weights"), float(opened.get_tensor("bias")[0]), Measured(**measured))
        except (OSError, SafetensorError) as error:
            what = f"The classifier {file} cannot be read: {error}."
            raise WorkbenchError(what, "Train it: workbench classifier train --name NAME.") from None


def features(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Buckets (int64, all different) and values (float32, of length 1); one of value 0 for a text without words."""
    words = word_hashes(text[:CHARACTERS])
    hashes = np.concatenate([mixed(runs(words, order) + np.uint64(order)) for order in ORDERS])
    if not len(hashes):
        return np.zeros(1, np.int64), np.zeros(1, np.float32)
    buckets, counts = np.unique(hashes >> np.uint64(64 - BITS), return_counts=True)
    values = np.log1p(counts).astype(np.float32)
    return buckets.astype(np.int64), values / np.linalg.norm(values)


def train(texts: Sequence[str], good: Sequence[bool]) -> Classifier:
    """A classifier of `texts`, measured in folds and then learnt from all. The same marks give the same bytes.

    Raises `WorkbenchError` if there are fewer than `LEAST` of a kind.
    """
    label = np.array(good, bool)
    if min(label.sum(), (~label).sum()) < LEAST:
        what = f"{amount(int(label.sum()), 'documents', 'are')} marked good and {(~label).sum():,} bad."
        raise WorkbenchError(what, f"Mark at least {LEAST} of each: workbench corpus mark CORPUS ROW good.")
    rows = [features(text) for text in texts]
    fold = _folds(texts, label)
    unseen = np.empty(len(rows))
    for part in range(FOLDS):
        weights, bias = _fit([row for row, own in zip(rows, fold, strict=True) if own != part], label[fold != part])
        for place in np.flatnonzero(fold == part):
            buckets, values = rows[place]
            unseen[place] = _sigmoid(values @ weights[buckets] + bias)
    weights, bias = _fit(rows, label)
    return Classifier(weights, bias, _measure(unseen, label))


def _folds(texts: Sequence[str], label: np.ndarray) -> np.ndarray:
    """Fold of each: as many good and bad ones in each, by the texts' hashes; the same text is in one fold."""
    import xxhash

    hashes = np.array([xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) for text in texts], np.uint64)
    fold = np.empty(len(texts), np.int64)
    for side in (True, False):
        own = label == side
        _, rank = np.unique(hashes[own], return_inverse=True)
        fold[own] = rank % FOLDS
    return fold


def _fit(rows: Sequence[tuple[np.ndarray, np.ndarray]], good: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (float32 [2^BITS]) and bias that minimise the balanced logistic loss + |weights|² / (2 C N)."""
    ends = np.cumsum([len(buckets) for buckets, _ in rows])
    starts, lengths = np.concatenate([[0], ends[:-1]]), np.diff(ends, prepend=0)
    used, column = np.unique(np.concatenate([buckets for buckets, _ in rows]), return_inverse=True)
    value = np.concatenate([values for _, values in rows]).astype(np.float64)
    share = np.where(good, 0.5 / good.sum(), 0.5 / (~good).sum())  # both kinds weigh the same, all together 1
    sign = np.where(good, 1.0, -1.0)
    penalty = 1 / (STRENGTH * len(rows))
    # One document's loss curves by at most a quarter of its features' length squared: 1, and 1 for the bias.
    rate = 1 / (0.5 + penalty)
    current = ahead = np.zeros(len(used) + 1)
    for step in range(STEPS):
        margin = sign * (np.add.reduceat(value * ahead[column], starts) + ahead[-1])
        slope = -sign * share * _sigmoid(-margin)
        gradient = np.append(np.bincount(column, value * np.repeat(slope, lengths), len(used)), slope.sum())
        gradient[:-1] += penalty * ahead[:-1]
        following = ahead - rate * gradient
        ahead = following + step / (step + 3) * (following - current)
        current = following
    weights = np.zeros(1 << BITS, np.float32)
    weights[used] = current[:-1]
    return weights, float(current[-1])


def _measure(score: np.ndarray, good: np.ndarray) -> Measured:
    levels = []
    for threshold in THRESHOLDS:
        kept = score >= threshold
        precision = float((kept & good).sum() / kept.sum()) if kept.any() else None
        recall, rejected_bad = float((kept & good).sum() / good.sum()), float((~kept & ~good).sum() / (~good).sum())
        levels.append(Level(threshold, precision, recall, rejected_bad))
    bad = np.sort(score[~good])
    below = np.searchsorted(bad, score[good], "left") + np.searchsorted(bad, score[good], "right")
    return Measured(int(good.sum()), int((~good).sum()), float(below.mean() / 2 / len(bad)), tuple(levels))


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(value, -500, 500)))
