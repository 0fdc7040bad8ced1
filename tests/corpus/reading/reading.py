"""Sources read and extracted in the test's process."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path

from workbench.corpus.cleaning.step import Document
from workbench.corpus.reading import Raw, ReadOptions, Reject, extract, read
from workbench.corpus.sources import expand


@dataclass
class Found:
    documents: list[Document] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    bad_bytes: int = 0
    cut: int = 0
    advanced: int = 0

    @property
    def texts(self) -> list[str]:
        return [document.text for document in self.documents]

    @property
    def sources(self) -> list[str]:
        return [document.source for document in self.documents]

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(reject.source, reject.reason) for reject in self.rejects]


def read_all(*sources: Path | str, **options) -> Found:
    """Everything in `sources`; raw documents take the way through pickle that leads to other processes."""
    found = Found()
    settings = ReadOptions(**options)

    def advance(amount: int) -> None:
        found.advanced += amount

    for item in read(expand([str(source) for source in sources]), settings, advance):
        if isinstance(item, Reject):
            found.rejects.append(item)
            continue
        assert isinstance(item, Raw)
        for extracted in extract(pickle.loads(pickle.dumps(item)), settings.max_document_bytes):
            if isinstance(extracted, Reject):
                found.rejects.append(extracted)
            else:
                found.documents.append(extracted.document)
                found.bad_bytes += extracted.bad_bytes
                found.cut += extracted.cut
    return found
