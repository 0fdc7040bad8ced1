"""The licence of a source file or a page, where its own words tell which it is."""

from __future__ import annotations

import re

HEADER_CHARACTERS = 4096

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+\-() ]{2,80})")
_OLD = re.compile(r"\b([AL]?GPL-\d\.\d)(\+?)(?=$|[\s()])")  # names that SPDX has given up
_MARKS = re.compile(r"^[\s#*/;%!\-\"'.(){}|<>]+|[\s#*/]+$", re.MULTILINE)
_GNU = re.compile(r"gnu (lesser |library |affero )?general public license")
_VERSION = re.compile(r"(?:version|v\.?) ?(\d(?:\.\d)?)")
_PHRASES = (
    ("free and unencumbered software released into the public domain", "Unlicense"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("apache.org/licenses/license-2.0", "Apache-2.0"),
    ("mozilla public license, v. 2.0", "MPL-2.0"),
    ("mozilla.org/mpl/2.0", "MPL-2.0"),
    ("boost software license, version 1.0", "BSL-1.0"),
    ("boost software license - version 1.0", "BSL-1.0"),
    ("eclipse public license v2.0", "EPL-2.0"),
    ("eclipse public license 2.0", "EPL-2.0"),
    ("eclipse public license v1.0", "EPL-1.0"),
    ("creativecommons.org/publicdomain/zero/1.0", "CC0-1.0"),
    ("python software foundation license", "PSF-2.0"),
    ("mit license", "MIT"),
)
_LINKED = re.compile(r"<(?:a|link)\b[^<>]{0,500}\brel=[\"']?license\b[^<>]{0,500}>", re.IGNORECASE)
_COMMONS = re.compile(r"creativecommons\.org/(?:licenses/(by[a-z-]*)|publicdomain/(zero))/(\d\.\d)", re.IGNORECASE)


def licence_of_code(text: str) -> str | None:
    """The SPDX expression for what the start of a source file says; None where that is not clear."""
    start = text[:HEADER_CHARACTERS]
    if stated := _SPDX.search(start):
        found = _OLD.sub(lambda old: f"{old[1]}-{'or-later' if old[2] else 'only'}", stated[1].strip(" -"))
        return found or None
    if "icen" not in start and "ermission" not in start and "edistribution" not in start and "ublic" not in start:
        return None
    words = " ".join(_MARKS.sub("", start).lower().split())
    for phrase, name in _PHRASES:
        if phrase in words:
            return name
    if "permission is hereby granted, free of charge" in words:
        return "MIT"
    if "redistribution and use in source and binary forms" in words:
        if "all advertising materials" in words:
            return "BSD-4-Clause"
        return "BSD-3-Clause" if "neither the name" in words else "BSD-2-Clause"
    if "permission to use, copy, modify, and/or distribute this software for any purpose" in words:
        return "ISC" if "provided that the above copyright notice" in words else "0BSD"
    return _gnu(words)


def licence_of_page(html: str) -> str | None:
    """The Creative Commons licence that a page links to as its own, by rel="license"."""
    if "creativecommons.org/" in html:
        for link in _LINKED.finditer(html):
            if found := _COMMONS.search(link.group()):
                name, zero, version = found.groups()
                return f"CC0-{version}" if zero else f"CC-{name.upper()}-{version}"
    return None


def _gnu(words: str) -> str | None:
    found = _GNU.search(words)
    if found is None:
        return None
    near = words[found.start() : found.end() + 250]
    version = _VERSION.search(near)
    if version is None:
        return None
    kind = {"lesser ": "LGPL", "library ": "LGPL", "affero ": "AGPL"}.get(found[1] or "", "GPL")
    number = version[1] if "." in version[1] else f"{version[1]}.0"
    return f"{kind}-{number}-{'or-later' if 'any later version' in near else 'only'}"
