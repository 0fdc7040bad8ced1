"""HTML to text: what is kept of a page, and pages made to do harm."""

from __future__ import annotations

import pytest

from workbench.corpus.cleaning.html_text import HtmlText
from workbench.corpus.cleaning.step import Document, Verdict

PAGE = """<!DOCTYPE html><html><head><title>Title</title><style>b {color: red}</style><script>evil()</script></head>
<body><nav><a href="/">Home</a> <a href="/news">News</a></nav>
<main><h1>A heading</h1><p>A paragraph of text with <b>bold</b> words &amp; an entity.</p>
<ul><li>first thing</li><li>second thing</li></ul><pre>def f(x):
    return x</pre><img alt="a cat" src="x.png"></main>
<footer>Copyright by somebody</footer></body></html>"""


def convert(html: str, **parameters: object) -> Verdict:
    return HtmlText.model_validate(parameters).apply(Document(html, "s", markup="html"))


def test_the_main_content_with_its_lines() -> None:
    verdict = convert(PAGE)
    assert verdict.outcome == "changed"
    assert verdict.text is not None
    assert "A paragraph of text with bold words & an entity." in verdict.text.split("\n")
    assert "def f(x):\n" in verdict.text
    assert "    return x" in verdict.text
    for left_out in ("Home", "Copyright", "evil", "color", "cat", "<"):
        assert left_out not in verdict.text


def test_the_whole_page_on_request() -> None:
    verdict = convert(PAGE, main_content=False)
    assert verdict.text is not None
    for there in ("Home", "A heading", "second thing", "Copyright by somebody"):
        assert there in verdict.text
    assert "evil" not in verdict.text


def test_what_is_no_html_passes() -> None:
    assert HtmlText().apply(Document("a < b and <b>c</b>", "s")).outcome == "kept"


@pytest.mark.parametrize("html", ["", "<p> </p>", "<script>only()</script>", "<!-- only a comment -->", "<a <a <a <a"])
def test_a_page_without_text_is_rejected(html: str) -> None:
    verdict = convert(html)
    assert (verdict.outcome, verdict.reason) == ("rejected", "no text")


@pytest.mark.parametrize(
    "tag", ["<div>", "<b>", "<table><tr><td>", "<ul><li>", "<blockquote>", "<p>", "<a>", "<svg><g>", "<div></b>"]
)
@pytest.mark.parametrize("main_content", [True, False])
def test_nesting_10000_deep_does_not_crash(tag: str, main_content: bool) -> None:
    html = f"<html><body><p>There are words before it.</p>{tag * 10_000}deep text <p>There are words after it.</p>"
    verdict = convert(html, main_content=main_content)
    assert verdict.text is not None
    assert "There are words before it." in verdict.text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("tag", ["<div>", "<div></b>", "<DIV\n>", "<div/>", "<div a='<'>", "<path/>"])
def test_nesting_does_not_hang(tag: str) -> None:
    """The parser alone takes three minutes to look for the main content here: time quadratic in the depth."""
    verdict = convert(f"<body><p>There are words before it.</p>{tag * 100_000}deep text")
    assert verdict.text is not None
    assert "There are words before it." in verdict.text


def test_pages_of_too_many_elements_are_rejected_unread() -> None:
    verdict = convert("<i>" * 600_000)
    assert (verdict.outcome, verdict.reason, verdict.parameter) == ("rejected", "too many elements", "max_elements")
    assert (verdict.value, verdict.limit) == (600_000, 500_000)


def test_odd_characters_stop_nothing() -> None:
    verdict = convert("<p>before \x00 \ud800 \U0001f600 after</p>")
    assert verdict.text is not None
    assert verdict.text.startswith("before")
    assert verdict.text.endswith("\U0001f600 after")


def test_old_pages_that_close_nothing_keep_their_main_content() -> None:
    rows = "<tr><td>cell<td>cell" * 700
    paragraphs = "<p>This paragraph has a good number of words in it." * 600
    html = f"<body><nav>Home</nav><main>{paragraphs}<table>{rows}</table></main><footer>Copyright</footer>"
    text = convert(html).text
    assert text is not None
    assert "Copyright" not in text
    assert text.count("This paragraph has") == 600


def test_pictures_of_many_parts_do_not_make_a_page_deep() -> None:
    picture = f"<svg>{'<path/>' * 800}</svg>"
    text = convert(PAGE.replace("<main>", f"{picture}<main>")).text
    assert text is not None
    assert "Copyright" not in text
