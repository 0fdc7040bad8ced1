"""Which encoding bytes are in, whether they are text at all, and what in them is broken."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

WINDOWS = 16
WINDOW_BYTES = 4096
SAMPLE_BYTES = 64 << 10  # what charset-normalizer, which reads 1 MB/s or less, gets to see
# In random bytes, 11% are control characters. Text in any encoding that holds ASCII has next to none.
MAX_CONTROLS = 0.05
MAX_NULS = 0.01
# In UTF-16 without a mark, the high bytes of Latin letters are NUL: all of them at even or at odd places.
MIN_WIDE_NULS = 0.2

# The 4-byte mark of UTF-32 begins with the 2-byte one of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = bytes([*range(0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])  # but for white space and escape
_JUNK = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
_C1 = dict.fromkeys(range(0x80, 0xA0))
# Codecs of Python's that are none of texts as they are written, and names that browsers take for larger encodings.
_NO_TEXTS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7", "utf-8-sig", "undefined"})
_LARGER = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
    "euc_kr": "cp949", "iso8859-9": "cp1254", "tis-620": "cp874", "utf-16": "utf-16-le", "utf-32": "utf-32-le",
}  # fmt: skip
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def byte_order_mark(data: bytes) -> tuple[int, str]:
    """(length of the mark, encoding) of what begins with `data`; (0, "") without one."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return len(mark), encoding
    return 0, ""


def is_text(data: bytes, encoding: str = "") -> bool:
    """Whether windows spread over `data`, without its mark, read as text: few NULs and control characters.

    `encoding` is one that is known already; almost any bytes are some UTF-16, so there the characters count.
    """
    windows = list(_windows(data))
    if encoding in WIDE:
        texts = [codecs.getincrementaldecoder(encoding)("replace").decode(window) for window in windows]
        total = sum(map(len, texts))
        return sum(len(_JUNK.findall(text)) for text in texts) <= MAX_NULS * total
    total = sum(map(len, windows))
    controls = sum(len(window) - len(window.translate(None, _CONTROLS)) for window in windows)
    nuls = sum(window.count(0) for window in windows)
    if controls <= MAX_CONTROLS * total and nuls <= MAX_NULS * total:
        return True
    return bool(_wide(data))


def find_encoding(data: bytes, *, hint: str = "", whole: bool = True) -> str:
    """The codec for `data`, which has no mark; the last character of it may be cut off unless it is the `whole`.

    UTF-8 where it is valid, or where more of what is beyond ASCII is sound than broken; then the codec `hint`, if it
    fits; then what detectors find. "utf-8" where nothing is known.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
        if b"\0" not in data:
            return "utf-8"
    except UnicodeDecodeError:
        pass
    if wide := _wide(data):
        return wide
    sample = data[: 16 * SAMPLE_BYTES]
    valid = sample.decode("utf-8", "ignore")
    beyond_ascii = len(valid) - len(valid.encode("ascii", "ignore"))
    if beyond_ascii >= bad_bytes(sample):
        return "utf-8"
    if hint and fits(data, hint):
        return hint
    return _detected(_ended(data[:SAMPLE_BYTES])) or "utf-8"


def codec_of(name: str) -> str:
    """Python's codec for an encoding as a server or a page calls it.

    "" where there is none, and for UTF-8, which is tried first anyway.
    """
    try:
        codec = codecs.lookup(name.strip().strip("\"'"))
    except (LookupError, ValueError):
        return ""
    if codec.name in _NO_TEXTS or codec.name == "utf-8" or not codec._is_text_encoding:
        return ""
    return _LARGER.get(codec.name, codec.name)


def fits(data: bytes, encoding: str) -> bool:
    """Whether the codec decodes `data` with nearly nothing broken."""
    text = data[: 16 * SAMPLE_BYTES].decode(encoding, "replace")
    return text.count("\ufffd") <= MAX_NULS * len(text)


def decode(data: bytes, encoding: str = "utf-8") -> tuple[str, int]:
    """The text, and how many bytes were replaced by U+FFFD (of other encodings than UTF-8: how many characters)."""
    try:
        return data.decode(encoding), 0
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
    if encoding == "utf-8":
        return text, bad_bytes(data)
    return text, max(text.count("\ufffd"), 1)


def bad_bytes(data: bytes) -> int:
    """How many bytes of `data` are no UTF-8."""
    return len(data) - len(data.decode("utf-8", "ignore").encode())


def _windows(data: bytes) -> Iterator[bytes]:
    width = max(WINDOW_BYTES, len(data) // WINDOWS // 4 * 4)
    for place in range(0, max(len(data), 1), width):
        yield data[place : place + WINDOW_BYTES]


def _wide(data: bytes) -> str:
    """UTF-16 without a mark, told by where its NULs are."""
    sample = data[: SAMPLE_BYTES & ~1]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if even + odd < MIN_WIDE_NULS * len(sample):
        return ""
    if odd > 20 * even:
        return "utf-16-le" if is_text(sample, "utf-16-le") else ""
    if even > 20 * odd:
        return "utf-16-be" if is_text(sample, "utf-16-be") else ""
    return ""


def _ended(sample: bytes) -> bytes:
    """The sample up to its last line end or space, if it has one, so that it ends with a whole character."""
    end = max(sample.rfind(b"\n"), sample.rfind(b" "))
    return sample[: end + 1] if end >= 0 else sample


def _detected(sample: bytes) -> str:
    """What two detectors make of it: the first knows Western languages better, the second the others."""
    from resiliparse.parse.encoding import detect_encoding

    first = detect_encoding(sample)
    if first and first != "utf-8" and fits(sample, first):
        text = sample.decode(first, "replace")
        if len(text) == len(text.translate(_C1)):  # no text has the control characters beyond ASCII
            return first
    from charset_normalizer import from_bytes

    best = from_bytes(sample, steps=8, chunk_size=1024).best()
    return best.encoding if best is not None else ""
