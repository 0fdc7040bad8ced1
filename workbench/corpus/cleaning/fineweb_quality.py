"""Lists, menus and tables: FineWeb's rules."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from workbench.corpus.cleaning.spans import first, matches, repetitions
from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict

_FILLED_LINE = re.compile(r"^.*\S.*$", re.MULTILINE)
_LINE_FEED = re.compile(r"\n+")

# Signs that end a sentence in any script: Unicode's property Sentence_Terminal and three of Khmer's, those that
# datatrove takes for the ends of lines.
_END_RANGES = """
21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6
17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 2E2E
2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52
FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6
111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944
11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16E98 1BC9F
1DA88
"""


def _end_marks() -> frozenset[str]:
    found: set[str] = set()
    for item in _END_RANGES.split():
        first, _, last = item.partition("-")
        found.update(map(chr, range(int(first, 16), int(last or first, 16) + 1)))
    return frozenset(found)


END_MARKS = _end_marks()


class FineWebQuality(Step):
    """Rejects documents that are lists, menus or tables rather than text.

    Penedo et al. 2024, "The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale", section 3.6, with
    its thresholds. Where the paper is silent, as its code in datatrove does it: line feeds are set against all words,
    signs too; lines that are only white space do not count; a line counts as repeated from its second occurrence on.
    That code has 0.01 for `max_repeated` where the paper has 0.1. What a word is says `word_splitting`.
    """

    name: ClassVar[str] = "fineweb-quality"

    min_ended_lines: float = Field(0.12, ge=0, le=1, description="Smallest share of lines with an end mark at the end.")
    max_short_lines: float = Field(0.67, ge=0, le=1, description="Largest share of short lines.")
    short_line: int = Field(
        30, ge=0, description="Characters up to which a line is short.", json_schema_extra={"unit": "characters"}
    )
    max_repeated: float = Field(0.1, ge=0, le=1, description="Largest share of characters in repeated lines.")
    max_line_feeds: float = Field(0.3, ge=0, description="Most line feeds for a word.")

    def apply(self, document: Document) -> Verdict:
        lines = document.filled_lines
        if not lines:
            return Verdict("rejected", "empty")
        return self._ended(document, lines) or self._short(document, lines) or self._repeated(document, lines) or KEPT

    def _ended(self, document: Document, lines: list[str]) -> Verdict | None:
        share = sum(line[-1] in END_MARKS for line in lines) / len(lines)
        if share >= self.min_ended_lines:
            return None
        places = _FILLED_LINE.finditer(document.text)
        spans = first(place.span() for place in places if place[0][-1] not in END_MARKS)
        limit = self.min_ended_lines
        return Verdict("rejected", "lines without an end mark", share, limit, "min_ended_lines", spans)

    def _short(self, document: Document, lines: list[str]) -> Verdict | None:
        share = sum(len(line) <= self.short_line for line in lines) / len(lines)
        if share <= self.max_short_lines:
            return None
        places = _FILLED_LINE.finditer(document.text)
        spans = first(place.span() for place in places if len(place[0]) <= self.short_line)
        return Verdict("rejected", "short lines", share, self.max_short_lines, "max_short_lines", spans)

    def _repeated(self, document: Document, lines: list[str]) -> Verdict | None:
        text = document.text
        feeds = len(document.lines) - 1
        distinct = set(lines)
        if len(distinct) < len(lines):
            share = (sum(map(len, lines)) - sum(map(len, distinct))) / (len(text) - feeds)
            if share > self.max_repeated:
                spans, limit = repetitions(_FILLED_LINE, text), self.max_repeated
                return Verdict("rejected", "characters in repeated lines", share, limit, "max_repeated", spans)
        if feeds <= self.max_line_feeds * len(text.split()):
            return None  # there are at least as many words as white space parts
        words = len(document.words)
        if words and feeds / words > self.max_line_feeds:
            spans = matches(_LINE_FEED, text)
            return Verdict("rejected", "line feeds", feeds / words, self.max_line_feeds, "max_line_feeds", spans)
        return None
