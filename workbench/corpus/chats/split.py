"""What is held out, decided by a hash of the question: the same for every engine, whatever else is in the set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xxhash


def prompt_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """What a split is made by: the messages up to the first question, that one included.

    Answers to one question, and conversations that go on from it, fall on the same side.
    """
    begin = []
    for message in messages:
        begin.append([message.get("role"), message.get("content")])
        if message.get("role") == "user":
            break
    return json.dumps(begin, ensure_ascii=False, sort_keys=True)


def held_out(key: str, fraction: float, seed: int) -> bool:
    """Whether what has this key is held out: true for about `fraction` of all keys, by xxh3-64 of seed and key."""
    return _hash(key, seed) < int(fraction * 2**64)


def held_out_rows(keys: Sequence[str], fraction: float, seed: int) -> np.ndarray:
    """Which rows are held out, bool [rows]; of two different keys at least one is, and at least one is not."""
    hashes = np.array([_hash(key, seed) for key in keys], np.uint64)
    chosen = hashes < np.uint64(min(int(fraction * 2**64), 2**64 - 1))
    if len(hashes) and not chosen.any() and (hashes != hashes.min()).any():
        chosen = hashes == hashes.min()
    elif len(hashes) and chosen.all():
        chosen = hashes != hashes.max()
    return chosen


def _hash(key: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(key.encode(errors="surrogatepass"), seed % 2**64)
