"""What the presets for web pages and code keep and what they reject, without the steps on whole corpora."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.corpus.cleaning.test_language import TEXTS
from tests.corpus.cleaning.test_quality import PROSE
from workbench.corpus.cleaning.presets import load
from workbench.corpus.cleaning.step import CorpusStep, Document, Step, Verdict

CHINESE = """港口位于一条山谷尽头，大多数早晨都被雾气笼罩，直到十点钟才慢慢散去。几百年来，渔民们一直把船停在这里，
有些家庭能说出每一条还能下水的船的历任主人。铁路修通之后，商人们沿着码头盖起了高大的房子，外墙刷成白色，好让海上的人远远就能看见。
那时候的生意如今什么也没有留下，只剩一间窗户破了的海关小屋。孩子们对着它北面的墙踢足球，游客们互相打听附近哪里还有吃午饭的地方。
到了冬天，只有两家店铺卖面包，其中一家的老板是退休的船长，他讲的故事谁也不太相信。不过大家还是愿意去听，因为除此之外也没有别的事情可做。"""


def outcome(preset: str, document: Document) -> tuple[str, Verdict | None]:
    """("kept", None), or the step that rejects and its verdict."""
    for step in load(preset):
        if isinstance(step, CorpusStep):
            continue
        assert isinstance(step, Step)
        verdict = step.apply(document)
        if verdict.outcome == "rejected":
            return step.name, verdict
        if verdict.text is not None:
            document = document.with_text(verdict.text, "" if step.name == "html-text" else document.markup)
    return "kept", None


@pytest.mark.parametrize(("preset", "text"), [("web-en", PROSE), ("web-zh", CHINESE)])
def test_prose_in_its_language_is_kept(preset: str, text: str) -> None:
    assert outcome(preset, Document(text, "s")) == ("kept", None)
    page = "".join(f"<p>{paragraph}</p>" for paragraph in text.split("\n"))
    html = f"<html><body><nav>Home</nav><main>{page}</main></body></html>"
    assert outcome(preset, Document(html, "s", markup="html")) == ("kept", None)


@pytest.mark.parametrize(
    ("preset", "text", "step"),
    [
        ("web-en", CHINESE, "language"),
        ("web-zh", PROSE, "language"),
        ("web-en", "\n".join([TEXTS["de"]] * 5), "language"),
        ("web-en", "\n".join([PROSE.split("\n")[0]] * 9), "gopher-repetition"),
        ("web-zh", "\n".join([CHINESE.split("\n")[0]] * 9), "gopher-repetition"),
        ("web-en", PROSE[:200], "gopher-quality"),
        ("web-en", PROSE.replace("winter", "{winter}"), "c4-quality"),
        ("code", "{0x3f, 0x80, 0x00, 0x11},\n" * 300, "gopher-repetition"),
        ("code", "\n".join(f"{n}, {n * 7}, {n * 11}," for n in range(400)), "gopher-quality"),
    ],
)
def test_what_is_rejected_and_by_which_step(preset: str, text: str, step: str) -> None:
    assert outcome(preset, Document(text, "s"))[0] == step


def test_code_keeps_nearly_all_of_the_standard_library() -> None:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-s]*.py"))
    found = [outcome("code", Document(path.read_text("utf-8"), path.name, language="python")) for path in paths]
    assert len(found) > 100
    assert sum(step == "kept" for step, _ in found) / len(found) > 0.95
