"""The parts that a corpus is tokenised in: which row groups they are, and their tokens on disk.

`part-000012` is the tokens of a part's documents, then their lengths in tokens and their keys, a uint64 each;
`part-000012.json`, its receipt, is written last: a part without it is not finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from workbench import durable
from workbench.corpus import documents
from workbench.corpus.documents import RowGroup
from workbench.corpus.encoding import Encoder, encoder_called
from workbench.corpus.shards import document_key, narrowed, token_dtype

PART_BYTES = 16 << 20  # of text; a second and a half of one core
SLICE_BYTES = 1 << 20  # encoded at a time


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a part holds. `bytes` of text in UTF-8."""

    documents: int
    tokens: int
    bytes: int


def parts_of(corpus: Path) -> list[list[RowGroup]]:
    """The row groups of a corpus in order, in parts of about 16 MiB. Depends on the corpus alone."""
    parts: list[list[RowGroup]] = []
    size = PART_BYTES
    for group in documents.row_groups(corpus):
        if size >= PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(group)
        size += group.bytes
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenising:
    """What the processes need that do the parts."""

    corpus: Path
    tokenizer: Path
    encoder: str
    work: Path  # where parts and receipts lie
    vocab_size: int
    bos: int
    eos: int
    parts: Sequence[Sequence[RowGroup]]

    def file(self, number: int) -> Path:
        return self.work / f"part-{number:06d}"

    def receipt(self, number: int) -> Receipt | None:
        """Of a part that is finished."""
        try:
            found = Receipt(**json.loads(self.file(number).with_suffix(".json").read_text(encoding="utf-8")))
            size = self.file(number).stat().st_size
        except (OSError, ValueError, TypeError):
            return None
        itemsize = token_dtype(self.vocab_size).itemsize
        return found if size == found.tokens * itemsize + found.documents * 16 else None

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ids [tokens], lengths [documents], keys [documents]) of a finished part, memory-mapped."""
        receipt, dtype = self.receipt(number), token_dtype(self.vocab_size)
        assert receipt is not None
        content = np.memmap(self.file(number), np.uint8, "r")
        end = receipt.tokens * dtype.itemsize
        lengths_N, keys_N = np.frombuffer(content[end:].tobytes(), "<u8").reshape(2, receipt.documents)
        return content[:end].view(dtype), lengths_N, keys_N


def encode_part(tokenising: Tokenising, number: int, advance: Callable[[int], None] | None = None) -> int:
    """Write the part `number` and its receipt; answers the number. `advance` hears of each slice's bytes."""
    encoder = _encoder(tokenising.encoder, tokenising.tokenizer)
    bos_1, eos_1 = np.array([tokenising.bos], np.uint32), np.array([tokenising.eos], np.uint32)
    path = tokenising.file(number)
    # The process id keeps a process that outlives its parent for a moment from writing into the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    tokens = size = 0
    lengths: list[np.ndarray] = []
    keys: list[np.ndarray] = []
    with open(temporary, "wb") as file:
        for texts in _slices(tokenising, number):
            encoded = encoder.encode(texts)
            ids_T = np.concatenate([piece for ids in encoded for piece in (bos_1, ids, eos_1)])
            file.write(narrowed(ids_T, tokenising.vocab_size).data)
            lengths.append(np.array([len(ids) + 2 for ids in encoded], "<u8"))
            raw = [text.encode() for text in texts]
            keys.append(np.array([document_key(text) for text in raw], "<u8"))
            done = sum(map(len, raw))
            tokens, size = tokens + len(ids_T), size + done
            if advance is not None:
                advance(done)
        for numbers in (*lengths, *keys):
            file.write(numbers.data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    receipt = Receipt(documents=sum(map(len, lengths)), tokens=tokens, bytes=size)
    durable.write_json(path.with_suffix(".json"), asdict(receipt))
    return number


@lru_cache(maxsize=1)
def _encoder(name: str, folder: Path) -> Encoder:
    """One for all parts of a process."""
    return encoder_called(name, folder)


def _slices(tokenising: Tokenising, number: int) -> Iterator[list[str]]:
    """The texts of a part, about 1 MiB at a time, or one document where that is longer."""
    for group in tokenising.parts[number]:
        column = documents.read_row_group(tokenising.corpus, group).column("text")
        ends = np.cumsum(pc.binary_length(column).to_numpy())
        begin = 0
        while begin < len(ends):
            reached = int(ends[begin - 1]) if begin else 0
            stop = max(begin + 1, int(np.searchsorted(ends, reached + SLICE_BYTES, side="right")))
            yield column.slice(begin, stop - begin).to_pylist()
            begin = stop
