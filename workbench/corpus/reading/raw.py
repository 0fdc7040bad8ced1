"""What reading yields: raw documents, on their way to a process that extracts their text, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.corpus.cleaning.step import Document
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.recipes.corpus import ImportRecipe

Kind = Literal["text", "code", "notebook", "html", "pdf", "epub"]
UNKNOWN = "not a kind that can be read"  # the reason of what says so by its name
MAX_BINARY_BYTES = 64 << 20  # a PDF or EPUB is read whole; its text is a small part of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """One document as it lies in its source; `extract` makes text of it.

    Text is at most as long as a document may be: of a longer one, the pieces come one by one, cut at line ends.
    """

    content: bytes | str
    kind: Kind = "text"
    source: str  # `a.jsonl`, `folder/a.zip:inner.txt`, `a.warc.gz:https://…`, `hf:org/name`
    position: int = 0  # from 0: the row, the record, or the piece of a text that was cut
    language: str | None = None
    licence: str | None = None
    encoding: str = ""  # "utf-8": that; another codec: what its source says; "": to be found
    bad_bytes: int = 0  # that reading replaced by U+FFFD before; extracting may find more
    cut: bool = False  # not the first piece of its document
    file: int  # index in the expansion's files


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that is left out.

    Where a file, or all that is left of it, is left out, `remedy` says what helps and `excerpt` is a sentence
    about what happened. Its `reason` may be "": then each part of it has been rejected on its own, and it only
    is to be warned of.
    """

    source: str
    reason: str
    excerpt: str = ""
    position: int = 0
    remedy: str = ""
    file: int = -1  # index in the expansion's files; -1 for one that could not even be looked at


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document with its text. `bad_bytes` became U+FFFD. `cut`: it is not the first piece of its source's text."""

    document: Document
    bad_bytes: int = 0
    cut: bool = False


def unopened(name: str, file: int = -1) -> Reject:
    """A file, or a member of an archive, whose name says no kind that can be read."""
    return Reject(name, UNKNOWN, f"{name} was not opened: its name says no kind that can be read.", file=file)


class UnusableFile(WorkbenchError):
    """A file is left out, from here on; `reason` is what it is counted under.

    `of` names the archive, where it is found while one of its members is read.
    """

    def __init__(self, reason: str, what: str, remedy: str, of: str = ""):
        super().__init__(what, remedy)
        self.reason = reason
        self.of = of


class NoText(Exception):
    """A raw document holds no text that can be had; `reason` is what it is counted under."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How sources are read. Limits are bytes, except for `max_rows`."""

    text_field: str = "text"
    max_document_bytes: int = 16 << 20  # of UTF-8
    max_rows: int | None = None  # raw documents of each source that was given
    max_bytes: int | None = None  # of their contents, for each source that was given
    max_download_bytes: int = 1 << 30  # of one address
    max_expanded_bytes: int = 1 << 40  # that one archive may grow to
    max_ratio: int = 200  # between what an archive holds and its size, beyond the first 64 MiB
    scratch: Path | None = None  # folder that outlives an interrupted run, so that nothing is downloaded twice

    def scratch_folder(self) -> Path | None:
        """The folder `scratch`, made where it is missing."""
        if self.scratch is not None:
            self.scratch.mkdir(parents=True, exist_ok=True)
        return self.scratch

    @classmethod
    def of(cls, recipe: ImportRecipe, scratch: Path | None = None) -> ReadOptions:
        """The options that a recipe asks for."""
        return cls(
            text_field=recipe.text_field,
            max_document_bytes=recipe.max_document_mib << 20,
            max_rows=recipe.max_rows,
            max_bytes=recipe.max_bytes,
            max_download_bytes=recipe.max_download_mib << 20,
            scratch=scratch,
        )
