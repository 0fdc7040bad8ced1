"""Documents by their length."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict


class Length(Step):
    """Reject documents that are shorter or longer than wanted."""

    name: ClassVar[str] = "length"

    min_characters: int = Field(
        1, ge=1, description="Shorter documents are rejected.", json_schema_extra={"unit": "characters"}
    )
    max_characters: int | None = Field(
        None, ge=1, description="Longer documents are rejected; none: no limit.",
        json_schema_extra={"unit": "characters"},
    )  # fmt: skip

    def apply(self, document: Document) -> Verdict:
        length = len(document.text)
        if length < self.min_characters:
            reason = f"under {self.min_characters} characters"
            return Verdict("rejected", reason, float(length), float(self.min_characters), "min_characters")
        if self.max_characters is not None and length > self.max_characters:
            reason = f"over {self.max_characters} characters"
            return Verdict("rejected", reason, float(length), float(self.max_characters), "max_characters")
        return KEPT
