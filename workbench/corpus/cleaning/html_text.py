"""HTML to the text that a reader would read."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import ClassVar

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict

# What tells content from the rest takes time quadratic in the nesting: 2 s at 10,000 levels, 10 ms at 1,000. Pages
# that people made have under 100.
_MAX_DEPTH = 500
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*?(/?)>")
# Elements that are empty, or end where the next of their kind begins, whatever is written.
_UNNESTED = {
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta", "option", "p",
    "param", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "track", "wbr",
}  # fmt: skip


class HtmlText(Step):
    """Replaces HTML by its text; documents without markup pass.

    By resiliparse (Bevendorff et al. 2018): paragraphs, lists and preformatted text keep their lines. Navigation,
    headers, footers and side columns are left out where `main_content` holds.
    """

    name: ClassVar[str] = "html-text"

    main_content: bool = Field(True, description="The main content only; else all text of the page.")
    max_elements: int = Field(
        500_000, ge=1, description="Pages with more tags are rejected: each takes half a kilobyte of memory."
    )

    def apply(self, document: Document) -> Verdict:
        if document.markup != "html":
            return KEPT
        from resiliparse.extract.html2text import extract_plain_text

        html = document.text
        tags = html.count("<")
        if tags > self.max_elements:
            return Verdict("rejected", "too many elements", tags, self.max_elements, "max_elements")
        main_content = self.main_content and (tags < _MAX_DEPTH or _depth(html) < _MAX_DEPTH)
        # A lone surrogate is no text, and the parser would refuse the page for it.
        html = html.encode("utf-8", "replace").decode("utf-8")
        text = extract_plain_text(
            html,
            preserve_formatting=True,
            main_content=main_content,
            list_bullets=True,
            alt_texts=False,
            noscript=False,
        )
        if not text.strip():
            return Verdict("rejected", "no text")
        return Verdict("changed", "HTML", text=text)


def _depth(html: str) -> int:
    """The deepest nesting of elements, as their tags have it."""
    steps = (
        0 if own_end or name.lower() in _UNNESTED else -1 if end else 1 for end, name, own_end in _TAG.findall(html)
    )
    return max(accumulate(steps), default=0)
