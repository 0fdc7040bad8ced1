"""The step that brings texts into their one form."""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.corpus.normalise import normalise

# Forms of full and half width, but for the signs that Chinese and Japanese end and part their sentences with.
_WIDTH_FORMS = re.compile(r"[\uff01-\uffee\u3000]+")
_OWN_SIGNS = re.compile(r"([！（），：；？｡｢｣､～]+)")


class Normalise(Step):
    """NFC, line feeds, no controls, no endless runs of white space: see `workbench.corpus.normalise`.

    On request more, before that: text that was decoded wrongly is mended (ftfy, 2.5 MB/s), letters become small ones
    (Unicode's full case folding), and forms of full and half width become the usual ones (NFKC of those alone: Ａ１％
    as A1%, ｶﾞ as ガ, the wide space as a space); the punctuation of Chinese and Japanese stays as it is.
    """

    name: ClassVar[str] = "normalise"
    version: ClassVar[int] = 2

    ftfy: bool = Field(False, description="Mend text that was decoded wrongly (schÃ¶n as schön), and HTML entities.")
    fold_case: bool = Field(False, description="Make all letters small.")
    fold_width: bool = Field(False, description="Letters, digits and spaces of full and half width as usual ones.")

    def apply(self, document: Document) -> Verdict:
        text = document.text
        if self.ftfy:
            text = _mended(text)
        if self.fold_width and not text.isascii():
            text = _WIDTH_FORMS.sub(_usual_width, text)
        if self.fold_case:
            text = text.casefold()
        text = normalise(text)
        return KEPT if text == document.text else Verdict("changed", "normalised", text=text)


def _mended(text: str) -> str:
    from ftfy import TextFixerConfig, fix_text

    # What is right as it is stays: quotes, ligatures, widths; line ends and controls are `normalise`'s.
    config = TextFixerConfig(
        uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, fix_line_breaks=False,
        remove_control_chars=False, normalization=None, explain=False,
    )  # fmt: skip
    return fix_text(text, config)


def _usual_width(found: re.Match[str]) -> str:
    pieces = _OWN_SIGNS.split(found.group())
    return "".join(piece if n % 2 else unicodedata.normalize("NFKC", piece) for n, piece in enumerate(pieces))
