"""One-permutation MinHash in 512 bytes, from which two documents' similarity is estimated.

Li, Owen and Zhang 2012, "One permutation hashing": the hashes fall into bins by their highest bits, and of each bin
the smallest counts. Matching bins ÷ bins that either has filled estimates the Jaccard index without bias. Of the
smallest four bits are kept (Li and König 2010, "b-bit minwise hashing"), and what matches by chance is taken out.
Documents with fewer runs than bins are told nearly exactly.
"""

from __future__ import annotations

import numpy as np

BINS = 1024
VALUES = 15  # of a filled bin: 1 to 15; an empty one is 0
BYTES = BINS // 2
WORDS = BYTES // 8
_SHIFT = np.uint64(64 - BINS.bit_length() + 1)
# In a byte, which is two bins: how many of them are 0.
_ZEROS = np.array([(not byte & 15) + (not byte >> 4) for byte in range(256)], np.uint8)


def sketch(hashes: np.ndarray) -> np.ndarray:
    """uint64 [WORDS] of uint64 hashes [any number above 0], each bit of which must be random."""
    ordered = np.sort(hashes)
    bins = (ordered >> _SHIFT).astype(np.int64)
    first = np.flatnonzero(np.diff(bins, prepend=-1))
    values = np.zeros(BINS, np.uint8)
    values[bins[first]] = ordered[first] % np.uint64(VALUES) + np.uint64(1)
    return (values[0::2] | values[1::2] << 4).view("<u8")


def similarity(left_NB: np.ndarray, right_NB: np.ndarray) -> np.ndarray:
    """float32 [N] from uint8 [N, BYTES] twice: the estimated Jaccard index of each pair, 0 to 1."""
    filled = BINS - _zeros(left_NB | right_NB)  # by either
    both = 2 * BINS - _zeros(left_NB) - _zeros(right_NB) - filled
    equal = _zeros(left_NB ^ right_NB) - (BINS - filled)
    matching = (equal - both / VALUES) / (1 - 1 / VALUES)
    return np.clip(matching / np.maximum(filled, 1), 0, 1).astype(np.float32)


def _zeros(bins_NB: np.ndarray) -> np.ndarray:
    return _ZEROS[bins_NB].sum(axis=1, dtype=np.int32)
