"""HTML to the text that a reader would read."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict

if TYPE_CHECKING:
    from resiliparse.parse.html import DOMContext, HTMLTree

# What tells content from the rest takes time quadratic in the nesting: 2 s at 10,000 levels, 10 ms at 1,000. Pages
# that people made have under 100.
_MAX_DEPTH = 500
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
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
        500_000,
        ge=1,
        description="Pages with more tags are rejected: each takes half a kilobyte of memory.",
        json_schema_extra={"unit": "tags"},
    )

    def apply(self, document: Document) -> Verdict:
        if document.markup != "html":
            return KEPT
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree

        tags = document.text.count("<")
        if tags > self.max_elements:
            return Verdict("rejected", "too many elements", tags, self.max_elements, "max_elements")
        # A lone surrogate is no text, and the parser would refuse the page for it.
        html = document.text.encode("utf-8", "replace").decode("utf-8")
        tree = HTMLTree.parse(html)
        deep = tags >= _MAX_DEPTH and _depth_of_tags(html) >= _MAX_DEPTH and _is_deep(tree)
        text = extract_plain_text(
            tree, preserve_formatting=True, main_content=self.main_content and not deep, alt_texts=False
        )
        if not text.strip():
            return Verdict("rejected", "no text")
        return Verdict("changed", "HTML", text=text)


def _depth_of_tags(html: str) -> int:
    """At least the deepest nesting of elements: what ends itself is taken for open until something ends it."""
    begun: Counter[str] = Counter()
    depth = deepest = 0
    for end, name in _TAG.findall(html):
        name = name.lower()
        if name in _UNNESTED:
            continue
        if not end:
            begun[name] += 1
            depth += 1
            deepest = max(deepest, depth)
        elif begun[name]:
            begun[name] -= 1
            depth -= 1
    return deepest


class _TooDeepError(Exception):
    pass


def _is_deep(tree: HTMLTree) -> bool:
    """Whether the page's elements nest too deep: exact, and ten times as slow as counting tags."""
    from resiliparse.parse.html import traverse_dom

    def check(context: DOMContext) -> None:
        if context.depth >= _MAX_DEPTH:
            raise _TooDeepError

    if tree.body is None:  # a page of frames has no content of its own
        return True
    try:
        traverse_dom(tree.body, check, elements_only=True)
    except _TooDeepError:
        return True
    return False
