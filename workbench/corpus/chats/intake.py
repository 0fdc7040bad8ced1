"""What every import of rows does: know how a file's rows are written, take each in, or leave it out with a reason."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from workbench.corpus.chats.messages import Unfit
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import BadRow, Row, RowFile, find_rows, read_rows
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import UnusableFile
from workbench.errors import WorkbenchError
from workbench.wording import amount

LOOKED_AT = 50  # rows that say which format it is
LONG_CHARACTERS = 32_768  # about 8,000 tokens: most trainings cut such an answer


def mended(rows: int) -> str:
    """The warning of what stands in place of bytes that could not be read."""
    return f"{amount(rows, 'rows')} had bytes that are not UTF-8; each became the character U+FFFD."


class Intake(ABC):
    """Decides what is kept of rows, and counts."""

    fallback: ClassVar[str]  # the format of a file that has no rows to tell it by
    keys: ClassVar[str]  # names that a row's fields could have to be known

    def __init__(self, rejects: Rejects):
        self.rejects = rejects
        self.formats: Counter[str] = Counter()
        self.long = self.repaired = 0
        self._first_repaired = ""

    @property
    @abstractmethod
    def kept(self) -> int:
        """How many were kept until now."""

    @abstractmethod
    def detect(self, rows: Sequence[Any]) -> str | None:
        """The format that most of `rows` have; None where no row has a known one."""

    @abstractmethod
    def take(self, row: Row, form: str) -> None:
        """Keep what a row in format `form` holds. Raises `Unfit` with the reason if that is nothing."""

    def read(self, sources: Sequence[str], form: str, progress: ProgressReport, warn: Callable[[str], None]) -> None:
        """Take in the rows of all `sources`, written in format `form` ("auto": found out for each file).

        Raises `WorkbenchError` if a source does not exist, or there is only one and it cannot be used.
        """
        found = find_rows(sources)
        for line in found.left_out:
            warn(f"{line}.")
        progress.begin("importing", total=sum(file.size for file in found.files) or None, unit="bytes")
        for file in found.files:
            try:
                self._read_file(file, form, progress)
            except UnusableFile as problem:
                self.rejects.add(file.name, problem.reason, problem.what)
                if len(found.files) == 1 and not self.kept:
                    raise WorkbenchError(problem.what, problem.remedy) from None
                warn(f"{problem.what} It was left out.")

    def tell(self, warn: Callable[[str], None]) -> None:
        """Say what was left out, and what is odd about what was not."""
        self.rejects.tell(warn)
        if self.repaired:
            warn(f"{mended(self.repaired)} The first: {self._first_repaired}.")
        if self.long:
            warn(
                f"{amount(self.long, 'rows', 'have')} answers of over {LONG_CHARACTERS:,} characters: training cuts "
                "at --max-length."
            )

    def _read_file(self, file: RowFile, form: str, progress: ProgressReport) -> None:
        rows: Iterator[Row | BadRow] = read_rows(file, progress.advance)
        if form == "auto":
            first = list(itertools.islice(rows, LOOKED_AT))
            values = [row.value for row in first if isinstance(row, Row)]
            detected = self.detect(values)
            if detected is None and values:
                raise self._unknown_format(file, values)
            form = detected or self.fallback
            rows = itertools.chain(first, rows)
        for row in rows:
            if isinstance(row, BadRow):
                self.rejects.add(row.source, row.reason, row.excerpt)
                continue
            try:
                self.take(row, form)
            except Unfit as why:
                self.rejects.add(row.source, str(why), row.value)
                continue
            if row.repaired:
                self.repaired += 1
                self._first_repaired = self._first_repaired or row.source

    def _unknown_format(self, file: RowFile, rows: Sequence[Any]) -> UnusableFile:
        keys = next((", ".join(map(repr, list(row)[:8])) for row in rows if isinstance(row, dict)), "")
        there = f"the first has {keys}" if keys else "they are not objects"
        return UnusableFile(
            "unknown format",
            f"The rows of {file.name} are in no format that is known: {there}.",
            f"Say which with --format, or rename the keys to {self.keys}.",
        )
