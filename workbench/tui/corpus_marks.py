"""A person's good and bad on the documents of a corpus, as the rows of a set are said yes and no to."""

from __future__ import annotations

from workbench.corpus import marks
from workbench.corpus.marks import Mark
from workbench.store.project import Project
from workbench.tui.records import Records


class CorpusMarks:
    """The marks on one corpus; each is on the disk when `say` returns."""

    def __init__(self, project: Project, corpus: str, records: Records):
        """Raises `WorkbenchError` if the project's marks cannot be read."""
        self.file = marks.file_of(project.root)
        self.corpus, self.records = corpus, records
        self.accepted = {mark.row: mark.label == "good" for mark in marks.read(self.file) if mark.corpus == corpus}
        self._said: list[tuple[int, bool | None]] = []  # (row, what was said of it before), to take back

    def status(self, number: int) -> str:
        said = self.accepted.get(number)
        return "" if said is None else "accepted" if said else "rejected"

    def say(self, number: int, good: bool) -> None:
        """Raises `WorkbenchError` if it cannot be written."""
        before = self.accepted.get(number)
        self._write(number, good)
        self._said.append((number, before))

    def undo(self) -> int:
        """Take back what was said last in this session; the row that it was about."""
        number, before = self._said[-1]
        self._write(number, before)
        self._said.pop()
        return number

    @property
    def can_undo(self) -> bool:
        return bool(self._said)

    def _write(self, number: int, good: bool | None) -> None:
        record = self.records.record(number)
        label = "none" if good is None else "good" if good else "bad"
        text = record.parts[0].text[: marks.CHARACTERS]
        marks.append(self.file, Mark(label, text, self.corpus, number, record.source))  # type: ignore[arg-type]
        if good is None:
            self.accepted.pop(number, None)
        else:
            self.accepted[number] = good
