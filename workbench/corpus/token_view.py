"""A document as the tokens that a tokenizer makes of it, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.corpus.encoding import byte_of_character
from workbench.corpus.tokenizer import load_tokenizer

MAX_CHARACTERS = 200_000  # nobody reads more, and each token is drawn


@dataclass(frozen=True, slots=True)
class DocumentToken:
    """`text` is what is new in it: "" for the further parts of a character."""

    id: int
    text: str
    bytes: bytes


def document_tokens(folder: Path, text: str) -> list[DocumentToken]:
    """The tokens of the first 200,000 characters of `text`, by the byte-level tokenizer in `folder`.

    Raises `WorkbenchError` if there is no readable tokenizer.
    """
    tokenizer = load_tokenizer(folder)
    byte = byte_of_character()
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    text = text[:MAX_CHARACTERS]
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found, reached = [], 0
    for number, token, (start, stop) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
        held = token.encode() if token in added else bytes(byte[character] for character in token)
        found.append(DocumentToken(number, text[max(start, reached) : stop], held))
        reached = max(reached, stop)
    return found
