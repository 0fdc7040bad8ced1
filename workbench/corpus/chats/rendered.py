"""The ids of what a chat template has written: its own special tokens are such, those inside messages are text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

from workbench.corpus.chats.template import Rendering


class RenderedIds:
    """Encodes renderings with a tokenizer whose special tokens are `special`: text -> id."""

    def __init__(self, tokenizer: Tokenizer, special: Mapping[str, int]):
        self._tokenizer, self._special = tokenizer, special

    def ids(self, renderings: Sequence[Rendering]) -> list[tuple[np.ndarray, np.ndarray]]:
        """(ids_L int32, offsets_L2 int32) of each."""
        encodings = self._tokenizer.encode_batch(
            [_without(rendering) for rendering in renderings], add_special_tokens=False
        )
        found = []
        for rendering, encoding in zip(renderings, encodings, strict=True):
            if rendering.plain:
                found.append(self._ids_with_plain(rendering))
            else:
                offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
                found.append((np.array(encoding.ids, np.int32), offsets))
        return found

    def _ids_with_plain(self, rendering: Rendering) -> tuple[np.ndarray, np.ndarray]:
        """Ids and offsets where messages hold texts of special tokens.

        The template's own special tokens are found with those texts blanked out; what is between them is
        encoded by a tokenizer that knows no special tokens, as the whole one would have done it.
        """
        [encoding] = self._tokenizer.encode_batch([_without(rendering)], add_special_tokens=False)
        special = set(self._special.values())
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        done = 0

        def between(start: int, stop: int) -> None:
            tokenizer = self._plain_later if start else self.plain
            piece = tokenizer.encode(rendering.text[start:stop], add_special_tokens=False)
            ids.extend(piece.ids)
            offsets.extend((start + first, start + last) for first, last in piece.offsets)

        for number, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            if number in special and last > first:
                between(done, first)
                ids.append(number)
                offsets.append((first, last))
                done = last
        between(done, len(rendering.text))
        return np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2)

    @cached_property
    def plain(self) -> Tokenizer:
        """Knows no special tokens: their texts are text."""
        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.encode_special_tokens = True
        return tokenizer

    @cached_property
    def _plain_later(self) -> Tokenizer:
        """`plain` for what does not begin a text: some tokenizers put a space before its first word, once."""
        written = self.plain.to_str().replace('"prepend_scheme":"first"', '"prepend_scheme":"never"')
        tokenizer = Tokenizer.from_str(written)
        tokenizer.encode_special_tokens = True
        return tokenizer


def _without(rendering: Rendering) -> str:
    """The text, of the same length, with the special texts that came from messages blanked out."""
    text = rendering.text
    for start, stop in rendering.plain:
        text = f"{text[:start]}{'.' * (stop - start)}{text[stop:]}"
    return text
