"""Where in a text keys, tokens and passwords stand."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

Span = tuple[int, int]

# A literal that must be there, and the form of the whole; as their issuers document them.
_ISSUED = tuple(
    (literals, re.compile(pattern, re.ASCII))
    for literals, pattern in (
        (("AKIA", "ASIA"), r"(?<![A-Za-z0-9])A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9])"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
        (("github_pat_",), r"\bgithub_pat_[A-Za-z0-9_]{22,255}\b"),
        (("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
        (("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"), r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
        (("hooks.slack.com/services/",), r"hooks\.slack\.com/services/T\w{8,}/B\w{8,}/\w{20,}"),
        (("AIza",), r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
        (("sk_live_", "rk_live_"), r"\b[sr]k_live_[A-Za-z0-9]{20,}"),
        (("sk-",), r"(?<![\w-])sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[A-Za-z0-9_-]{32,}"),
        (("hf_",), r"\bhf_[A-Za-z0-9]{30,}\b"),
        (("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
        (("pypi-",), r"\bpypi-AgEIcHlwaS[A-Za-z0-9_-]{50,}"),
        (("SG.",), r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
        (("eyJ",), r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        (("PRIVATE KEY",), r"-----BEGIN ([A-Z ]*PRIVATE KEY(?: BLOCK)?)-----[^-]{32,16384}(?:-----END \1-----)?"),
    )
)
_IN_ADDRESS = re.compile(r"://[^\s/:@<>\"']{1,64}:([^\s/:@<>\"']{3,128})@")
# A value behind = or : whose name, before it, says that it is secret.
_VALUE = re.compile(r"[=:：]\s{0,2}[\"'`]?([A-Za-z0-9+/_=.~!@#$%^&*-]{12,200})(?![A-Za-z0-9(\[])")
_NAME = re.compile(
    r"(?:api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|auth[_-]?key|encryption[_-]?key|secret|token|"
    r"passw(?:or)?d|passwd|pwd|credential|account[_-]?key|bearer|"
    r"passwort|mot de passe|contraseña|senha|密码|密钥|口令)[\w-]{0,12}[\"'`\])]{0,2}\s{0,4}\Z",
    re.I,
)
_NAMED = (
    "key",
    "secret",
    "token",
    "passw",
    "pwd",
    "credential",
    "bearer",
    "mot de",
    "contrase",
    "senha",
    "密码",
    "密钥",
    "口令",
)  # one of them is in every name
NAME = 40  # characters before a value in which its name stands
# What a manual writes in the place of a secret.
_PLACEHOLDER = re.compile(
    r"x{4,}|\*{3,}|\.{3}|<|\$\{|\{\{|%\(|example|your|change|placeholder|redacted|dummy|sample|foobar|process\.env|environ|"
    r"getenv|secrets?\.|config\.|settings\.|self\.|password|passwd|secret|token|1234567",
    re.I,
)
ENTROPY = 3.2  # bits a character: random text of 16 letters and digits has about 3.7, words have 3 and less


def credentials(text: str) -> Iterator[Span]:
    for literals, pattern in _ISSUED:
        if any(literal in text for literal in literals):
            for found in pattern.finditer(text):
                yield found.span()
    if "://" in text:
        for found in _IN_ADDRESS.finditer(text):
            # Letters alone are a manual's word for a password, in whatever language.
            if not _PLACEHOLDER.search(found.group(1)) and not found.group(1).isalpha():
                yield found.span(1)
    lower = text.lower()
    if not any(name in lower for name in _NAMED):
        return
    for found in _VALUE.finditer(text):
        if _looks_random(found.group(1)) and _NAME.search(text, max(0, found.start() - NAME), found.start()):
            yield found.span(1)


def _looks_random(value: str) -> bool:
    """Letters and digits mixed, no word of a manual, and more than `ENTROPY` bits a character."""
    if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)) or _PLACEHOLDER.search(value):
        return False
    # A dotted or dashed name of words (module.attribute2, my-service-v2) has no run of letters and digits mixed.
    if max(map(len, re.findall(r"(?=[A-Za-z]*\d)[A-Za-z0-9]+", value)), default=0) < 8:
        return False
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts) >= ENTROPY
