"""Token ids on disk, in datatrove's layout, written in one pass and read by memory map.

`00000.ds` is a flat run of little-endian token ids, `00000.ds.index` the cumulative ends of its
documents as uint64, counted in tokens from the file's beginning; a document never crosses files.
`00000.ds.keys` has a hash of each document's text as uint64: what is held out is chosen by it, so that
it stays the same in a larger corpus and with another tokenizer.
`shards.json`, written last, says what there is: a folder without it is not finished.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import xxhash

from workbench import durable
from workbench.errors import WorkbenchError

DESCRIPTION = "shards.json"
ENDS, KEYS = ".index", ".keys"
BUFFER_BYTES = 1 << 20


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrower of uint16 and uint32 that holds every id, little-endian."""
    return np.dtype("<u2") if vocab_size <= 65_536 else np.dtype("<u4")


def document_key(text: bytes) -> int:
    """The hash of a document's text, in UTF-8, by which it is held out: XXH3, 64 bits."""
    return xxhash.xxh3_64_intdigest(text)


def narrowed(ids_T: np.ndarray, vocab_size: int) -> np.ndarray:
    """`ids_T` in the type that shards have.

    Raises `ValueError` if an id is outside the vocabulary, which a cast would hide.
    """
    if ids_T.size and (int(ids_T.min()) < 0 or int(ids_T.max()) >= vocab_size):
        raise ValueError(f"token ids {ids_T.min()} to {ids_T.max()} do not fit a vocabulary of {vocab_size}")
    return np.ascontiguousarray(ids_T, token_dtype(vocab_size))


class ShardWriter:
    """Appends documents to the shards in `folder`, which must be empty; a context manager.

    A shard is closed once it holds `shard_tokens`. Leaving the block by an exception, or without
    `finish`, leaves no `shards.json`.
    """

    def __init__(self, folder: Path, *, vocab_size: int, shard_tokens: int):
        self.folder = folder
        self.vocab_size = vocab_size
        self.shard_tokens = shard_tokens
        self.dtype = token_dtype(vocab_size)
        self.tokens = 0
        self.documents = 0
        self._files: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._ends = array("Q")  # of the open shard's documents, in tokens
        self._keys = array("Q")
        self._end = 0

    def extend(self, ids_T: np.ndarray, lengths_N: np.ndarray, keys_N: np.ndarray) -> None:
        """Add N documents that follow one another in `ids_T`, of any integer type, with their keys.

        Raises `ValueError` if an id is outside the vocabulary.
        """
        ids_T, ends_N = narrowed(ids_T, self.vocab_size), np.cumsum(lengths_N, dtype=np.int64)
        first = begin = 0  # document, token
        while first < len(ends_N):
            room = self.shard_tokens - self._end
            stop = min(first + int(np.searchsorted(ends_N[first:] - begin, room)) + 1, len(ends_N))
            end = int(ends_N[stop - 1])
            if self._file is None:
                path = self.folder / f"{len(self._files):05d}.ds"
                self._file = open(path, "wb", buffering=BUFFER_BYTES)  # noqa: SIM115
            self._file.write(ids_T[begin:end].data)
            self._ends.frombytes((ends_N[first:stop] - begin + self._end).astype(np.uint64).tobytes())
            self._keys.frombytes(np.asarray(keys_N[first:stop], np.uint64).tobytes())
            self._end += end - begin
            self.tokens += end - begin
            self.documents += stop - first
            first, begin = stop, end
            if self._end >= self.shard_tokens:
                self._close_shard()

    def finish(self) -> dict[str, Any]:
        """Close the last shard and write `shards.json`; answers what that holds."""
        self._close_shard()
        description = {
            "dtype": "uint16" if self.dtype.itemsize == 2 else "uint32",
            "vocab_size": self.vocab_size,
            "tokens": self.tokens,
            "documents": self.documents,
            "files": self._files,
        }
        durable.write_json(self.folder / DESCRIPTION, description)
        return description

    def _close_shard(self) -> None:
        if self._file is None:
            return
        self._file.close()
        name = f"{len(self._files):05d}.ds"
        np.asarray(self._ends).astype("<u8", copy=False).tofile(self.folder / f"{name}{ENDS}")
        np.asarray(self._keys).astype("<u8", copy=False).tofile(self.folder / f"{name}{KEYS}")
        self._files.append({"name": name, "tokens": self._end, "documents": len(self._ends)})
        self._file, self._ends, self._keys, self._end = None, array("Q"), array("Q"), 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


class Shards:
    """The token ids in `folder` as one long sequence of `tokens`, memory-mapped.

    `document_ends` [documents] are cumulative over all files, so document i is
    `read(document_ends[i - 1], document_ends[i])`, the first from 0; `document_keys` [documents] are the hashes of
    their texts.
    Raises `WorkbenchError` if files are missing, cut short or do not fit each other.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        description = _read_description(folder)
        self.vocab_size: int = description["vocab_size"]
        self.tokens: int = description["tokens"]
        self.documents: int = description["documents"]
        self.dtype = token_dtype(self.vocab_size)
        self._maps: list[np.ndarray] = []
        self._starts: list[int] = []  # global offset of each file's first token
        ends, keys = [], []
        start = 0
        for entry in description["files"]:
            path = folder / entry["name"]
            ends.append(_read_ends(path, entry) + np.uint64(start))
            keys.append(_read_numbers(path.with_name(path.name + KEYS), entry))
            _expect_size(path, entry["tokens"] * self.dtype.itemsize)
            self._maps.append(np.memmap(path, self.dtype, "r") if entry["tokens"] else np.empty(0, self.dtype))
            self._starts.append(start)
            start += entry["tokens"]
        self.document_ends: np.ndarray = np.concatenate(ends) if ends else np.empty(0, np.uint64)
        self.document_keys: np.ndarray = np.concatenate(keys) if keys else np.empty(0, np.uint64)
        if start != self.tokens or len(self.document_ends) != self.documents:
            raise _broken(folder / DESCRIPTION, "its sums do not fit its files")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens `start` to `stop` [stop - start], in `dtype`; inside one file without a copy, read-only.

        Raises `IndexError` outside of 0 to `tokens`.
        """
        start, stop = int(start), int(stop)
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start} to {stop} of {self.tokens}")
        parts = []
        number = max(bisect_right(self._starts, start) - 1, 0)
        while start < stop:
            begin, tokens = self._starts[number], self._maps[number]
            parts.append(tokens[start - begin : stop - begin])
            start = min(stop, begin + len(tokens))
            number += 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        numbers = [description["vocab_size"], description["tokens"], description["documents"]]
        numbers += [entry[key] for entry in description["files"] for key in ("tokens", "documents")]
        names = [entry["name"] for entry in description["files"]]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError("a count is not a whole number")
        if not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("a name is not that of a file in it")
    except FileNotFoundError:
        raise _broken(path, "the file is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(path, f"it does not describe shards ({error!r})") from None
    return description


def _read_ends(path: Path, entry: dict[str, Any]) -> np.ndarray:
    """Document ends [documents] inside the file, checked against its description."""
    index = path.with_name(path.name + ENDS)
    ends = _read_numbers(index, entry)
    last = int(ends[-1]) if ends.size else 0
    if last != entry["tokens"] or np.any(ends[1:] < ends[:-1]):
        raise _broken(index, f"its documents end at token {last:,} of {entry['tokens']:,}, or run backwards")
    return ends


def _read_numbers(path: Path, entry: dict[str, Any]) -> np.ndarray:
    """One uint64 a document, [documents]."""
    _expect_size(path, entry["documents"] * 8)
    return np.fromfile(path, "<u8").astype(np.uint64, copy=False)


def _expect_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise _broken(path, "the file is missing")
    actual = path.stat().st_size
    if actual != expected:
        raise _broken(path, f"it has {actual:,} bytes instead of {expected:,}")


def _broken(path: Path, why: str) -> WorkbenchError:
    return WorkbenchError(
        f"The shards in {path.parent} cannot be used: {path.name}: {why}.",
        "Delete that folder and run the stage again; it is made anew from the corpus.",
    )
