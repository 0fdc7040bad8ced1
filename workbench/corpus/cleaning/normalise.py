"""The step that brings texts into their one form."""

from __future__ import annotations

from typing import ClassVar

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.corpus.normalise import normalise


class Normalise(Step):
    """NFC, line feeds, no controls, no endless runs of white space: see `workbench.corpus.normalise`."""

    name: ClassVar[str] = "normalise"

    def apply(self, document: Document) -> Verdict:
        text = normalise(document.text)
        return KEPT if text == document.text else Verdict("changed", "normalised", text=text)
