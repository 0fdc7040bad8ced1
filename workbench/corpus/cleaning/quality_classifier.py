"""Documents that a classifier of the user's own calls bad."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.recipes.base import PATH

if TYPE_CHECKING:
    from workbench.corpus.classifier import Classifier


class QualityClassifier(Step):
    """Reject documents that score too low with a linear model of hashed words and pairs of words.

    The model is learnt from documents marked good or bad: `workbench classifier train`; see
    `workbench.corpus.classifier`. A threshold's precision and recall: `workbench classifier show`.
    """

    name: ClassVar[str] = "quality-classifier"

    classifier: str = Field(
        description="The classifier's file, in the project's folder classifiers.", json_schema_extra=PATH
    )
    threshold: float = Field(
        0.5, ge=0, le=1, description="Reject documents that score less; 0.5 is as likely good as bad."
    )

    def apply(self, document: Document) -> Verdict:
        score = _classifier(self.classifier).score(document.text)
        if score >= self.threshold:
            return KEPT
        return Verdict("rejected", "low quality", value=score, limit=self.threshold, parameter="threshold")


@lru_cache(maxsize=4)
def _classifier(file: str) -> Classifier:
    from workbench.corpus.classifier import Classifier

    return Classifier.load(Path(file))
