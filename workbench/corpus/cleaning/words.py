"""Words that the user lists: documents with too many of them go, or the words are masked."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.corpus.scripts import has_no_spaces, lower
from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH

if TYPE_CHECKING:
    import ahocorasick

MASK = "[masked word]"  # as the placeholders of personal data: never a special token
REASON = "listed words"


class Words(Step):
    """Reject documents with more of the listed words than allowed, or mask each of them.

    Case does not count. A word is found only as a whole one, between characters that are neither letters nor digits;
    one that begins or ends in a script without spaces (Chinese, Japanese, Thai) is found anywhere there. Entries may
    have several words. Lists of others: LDNOOBW, which C4 was filtered by (Raffel et al. 2020).
    """

    name: ClassVar[str] = "words"

    file: str = Field("", description="A list of words, one a line, in UTF-8.", json_schema_extra=PATH)
    words: tuple[str, ...] = Field((), description="Words, besides those of the file.")
    max_count: int | None = Field(
        0, ge=0, description="Reject a document with more of them.", json_schema_extra={"unit": "words"}
    )
    max_share: float | None = Field(
        None, ge=0, le=1, description="Reject a document of which they are a larger share, in characters."
    )
    mask: bool = Field(False, description=f"Write {MASK} for each of them in documents that are not rejected.")

    @model_validator(mode="after")
    def _has_some(self) -> Self:
        if not self.file and not self.words:
            raise ValueError("there is no list: give a file, or words")
        if self.max_count is None and self.max_share is None and not self.mask:
            raise ValueError("nothing is done with the words: give max_count, max_share or mask")
        if self.mask and self.max_count == 0:
            raise ValueError("nothing is left to mask where max_count is 0: raise it, or set it to null")
        return self

    def apply(self, document: Document) -> Verdict:
        spans = tuple(_find(_automaton(self.file, self.words), document.text))
        if not spans:
            return KEPT
        if self.max_count is not None and len(spans) > self.max_count:
            return Verdict(
                "rejected", REASON, value=len(spans), limit=self.max_count, parameter="max_count", spans=spans
            )
        share = sum(stop - start for start, stop in spans) / len(document.text)
        if self.max_share is not None and share > self.max_share:
            return Verdict("rejected", REASON, value=share, limit=self.max_share, parameter="max_share", spans=spans)
        if not self.mask:
            return KEPT
        pieces, end = [], 0
        for start, stop in spans:
            pieces += [document.text[end:start], MASK]
            end = stop
        text = "".join([*pieces, document.text[end:]])
        return Verdict("changed", REASON, value=len(spans), spans=spans, text=text)


@lru_cache(maxsize=8)
def _automaton(file: str, words: tuple[str, ...]) -> ahocorasick.Automaton:
    """Finds all entries at once (Aho and Corasick 1975); each holds its length.

    Raises `WorkbenchError` if the file cannot be read or there is no word in it.
    """
    import ahocorasick

    listed = list(words)
    if file:
        try:
            listed += Path(file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WorkbenchError(
                f"The list of words {file} cannot be read: {error}.", "Give a text in UTF-8."
            ) from None
    found = ahocorasick.Automaton()
    for entry in listed:
        word = " ".join(lower(entry).split())
        if word:
            found.add_word(word, len(word))
    if not len(found):
        raise WorkbenchError(f"The list of words {file} has no word.", "Write one a line.")
    found.make_automaton()
    return found


def _find(automaton: ahocorasick.Automaton, text: str) -> list[tuple[int, int]]:
    """Places of whole words, in order and apart; of two that overlap the one that holds the other, or the first."""
    small = lower(text)
    places: list[tuple[int, int]] = []
    for last, length in automaton.iter(small):
        start, stop = last + 1 - length, last + 1
        if not (_bounded(small, start) and _bounded(small, stop)):
            continue
        while places and start <= places[-1][0]:
            places.pop()
        if not places or start >= places[-1][1]:
            places.append((start, stop))
    return places


def _bounded(text: str, place: int) -> bool:
    """Whether no word goes on over `place`."""
    if place == 0 or place == len(text):
        return True
    before, after = text[place - 1], text[place]
    return not (_goes_on(before) and _goes_on(after))


def _goes_on(character: str) -> bool:
    return (character.isalnum() or character == "_") and not has_no_spaces(character)
