"""Lines that are no sentences, and pages that are no text: C4's rules."""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar

from pydantic import Field

from workbench.corpus.cleaning.spans import first
from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_ELLIPSIS = "..."
_PAGE = ("lorem ipsum", "curly bracket")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# Marks of an end with more after them: white space, or none where a script does without.
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*\s+(?=\S)|[。！？｡]+["'”’」』）)\]]*(?=.)""")


class C4Quality(Step):
    """Drops lines that are no sentences, and rejects pages that are no prose.

    Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section
    2.2, as the code that made C4 does it (tensorflow_datasets, text/c4_utils.py), which also takes out citations and
    drops lines with a word of over 1,000 characters or about cookies and terms of use. A page goes for `{` or "lorem
    ipsum" in a line that would have been kept. The defaults are the journal's 3 sentences and 5 words; its first
    preprint said 5 and 3, which datatrove has, and datatrove takes `'` for an end mark, too. The list of bad words is
    the step `words`. Lines lose the white space at their ends; a word is what white space parts.
    """

    name: ClassVar[str] = "c4-quality"

    end_marks: str = Field('.?!"', description="What a line must end with, one of these; empty: with anything.")
    min_words: int = Field(5, ge=0, description="Fewest words of a line.", json_schema_extra={"unit": "words"})
    max_word_length: int = Field(
        1000, ge=1, description="Longest word of a line, in characters.", json_schema_extra={"unit": "characters"}
    )
    min_sentences: int = Field(
        3, ge=0, description="Fewest sentences in the lines that are left.", json_schema_extra={"unit": "sentences"}
    )
    citations: bool = Field(False, description="Leave [1], [edit] and [citation needed] in the text.")
    javascript: bool = Field(False, description="Keep lines with the word Javascript.")
    policies: bool = Field(False, description="Keep lines about cookies and terms of use.")
    lorem_ipsum: bool = Field(False, description="Keep pages with lorem ipsum.")
    curly_brackets: bool = Field(False, description="Keep pages with a curly bracket.")

    def apply(self, document: Document) -> Verdict:
        text = document.text
        lowered = text.lower()
        # What the page does not have need not be looked for in its lines.
        phrases = [found for found in self._phrases() if found[0] in lowered]
        citations = not self.citations and "[" in text
        kept: list[str] = []
        dropped: Counter[str] = Counter()
        spans: list[tuple[int, int]] = []
        sentences = start = 0
        for raw in document.lines:
            line, reason, phrase = self._line(raw.strip(), phrases, citations)
            if reason in _PAGE:
                found = re.compile(re.escape(phrase), re.IGNORECASE).search(text, start)
                return Verdict("rejected", reason, spans=(found.span(),) if found else ())
            if not reason:
                kept.append(line)
                if sentences < self.min_sentences:
                    sentences += count_sentences(line)
            elif raw:
                dropped[reason] += 1
                spans.append((start, start + len(raw)))
            start += len(raw) + 1
        if sentences < self.min_sentences:
            limit = self.min_sentences
            return Verdict("rejected", "few sentences", sentences, limit, "min_sentences", first(spans))
        rest = "\n".join(kept).strip()
        if rest == text:
            return KEPT
        reason = f"lines: {dropped.most_common(1)[0][0]}" if dropped else "citations and blanks"
        return Verdict("changed", reason, spans=first(spans), text=rest)

    def _phrases(self) -> list[tuple[str, str]]:
        """(phrase, reason to drop its line or page), in the order in which they are looked for."""
        found = []
        if not self.lorem_ipsum:
            found.append(("lorem ipsum", "lorem ipsum"))
        if not self.javascript:
            found.append(("javascript", "Javascript"))
        if not self.curly_brackets:
            found.append(("{", "curly bracket"))
        if not self.policies:
            found += [(phrase, "policy") for phrase in _POLICIES]
        return found

    def _line(self, line: str, phrases: list[tuple[str, str]], citations: bool) -> tuple[str, str, str]:
        """The line, why it or its page goes if one does, and the phrase that is why."""
        if len(line) > self.max_word_length and max(map(len, line.split())) > self.max_word_length:
            return line, "long word", ""
        words = len(line.split(None, self.min_words))  # counted no further than it takes
        if citations:
            line = _CITATION.sub("", line)
        if self.end_marks and (not line or line[-1] not in self.end_marks or line.endswith(_ELLIPSIS)):
            return line, "no end mark", ""
        if words < self.min_words:
            return line, "few words", ""
        if phrases:
            lowered = line.lower()
            for phrase, reason in phrases:
                if phrase in lowered:
                    return line, reason, phrase
        return line, "", ""


def count_sentences(line: str) -> int:
    """Sentences in a line that is not empty: an end mark ends one if something follows it."""
    return len(_SENTENCE_END.findall(line)) + 1
