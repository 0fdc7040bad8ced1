"""Text to token ids, fast: tiktoken where it gives the same ids as the tokenizer itself.

Measured on one core and 9.4 MB: tiktoken 24 MB/s, `Tokenizer.encode_batch_fast` 3.1 MB/s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tokenizers import AddedToken, Tokenizer

from workbench.corpus.tokenizer import GPT2_PATTERN, load_tokenizer

if TYPE_CHECKING:
    import tiktoken

AWKWARD = (
    "<|bos|><|im_end|> <|endoftext|>",
    "  \n \n\t x\r\n\r\r\n",
    "DON'T don't I'LL 'S",
    "1234567890 3.14e-10",
    " " * 300,
    "\n" * 20,
    "e\u0301 \u0300",
    "한국어 텍스트 日本語 ไทย العربية",
    "👩‍👩‍👧‍👦🏽 🇩🇪",
    "\u00a0\u3000\u2028x\u200b",
    "\U0001f9ff\U000e0041\ue000",
)


class Encoder(Protocol):
    """`name` is the library's."""

    name: str

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids [tokens] of each text, uint32; texts of special tokens count as text."""


class ExactEncoder:
    """The tokenizer itself."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer

    def added_tokens(self) -> list[AddedToken]:
        return list(self._tokenizer.get_added_tokens_decoder().values())

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]


class FastEncoder:
    """The same vocabulary in tiktoken.

    It merges whichever neighbours make the token of lowest id. That is what BPE does as long as each
    token comes from one pair only, which training nearly always gives: `choose_encoder` tries it.
    """

    name = "tiktoken"

    def __init__(self, encoding: tiktoken.Encoding, exact: ExactEncoder):
        self._encoding, self._exact = encoding, exact

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._ids(text) for text in texts]

    def _ids(self, text: str) -> np.ndarray:
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        except BaseException as error:
            # Its regular expressions run out of stack in a million spaces, which before 0.14 was a panic of Rust.
            if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
                raise
            return self._exact.encode([text])[0]


def choose_encoder(folder: Path, sample: Iterable[str]) -> Encoder:
    """The fast encoder if it agrees with the tokenizer in `folder` on every text of `sample`, else the exact one.

    Raises `WorkbenchError` if there is no readable tokenizer.
    """
    exact = ExactEncoder(load_tokenizer(folder))
    fast = _fast_encoder(folder, exact)
    if fast is None:
        return exact
    added = (token.content for token in exact.added_tokens())  # those that are not special are tokens in a text too
    for text in (*AWKWARD, *added, *sample):
        if not np.array_equal(fast.encode([text])[0], exact.encode([text])[0]):
            return exact
    return fast


def encoder_called(name: str, folder: Path) -> Encoder:
    """The encoder of the tokenizer in `folder` that `choose_encoder` chose: `name` is its `Encoder.name`."""
    exact = ExactEncoder(load_tokenizer(folder))
    fast = _fast_encoder(folder, exact) if name == FastEncoder.name else None
    return fast or exact


def _fast_encoder(folder: Path, exact: ExactEncoder) -> FastEncoder | None:
    """None if tiktoken is not installed or has no means for this kind of tokenizer."""
    try:
        import tiktoken
    except ImportError:
        return None
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if content["model"]["type"] != "BPE" or not all(added["special"] for added in content["added_tokens"]):
        return None  # tokens that were added for words are looked for in a text before it is split
    match content["pre_tokenizer"], content["normalizer"]:
        case {"pretokenizers": [{"type": "Split", "pattern": {"Regex": pattern}}, {"type": "ByteLevel"}]}, None:
            pass
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}, None:
            pattern = GPT2_PATTERN
        case _:
            return None
    special = {added["content"]: added["id"] for added in content["added_tokens"]}
    byte = byte_of_character()
    vocabulary = content["model"]["vocab"].items()
    ranks = {bytes(map(byte.__getitem__, text)): number for text, number in vocabulary if text not in special}
    encoding = tiktoken.Encoding("corpus", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    return FastEncoder(encoding, exact)


@cache
def byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's table).

    Printable Latin-1 stands for itself; the other bytes, in order, for the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(0x100) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
