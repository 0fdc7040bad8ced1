"""Sources that are no files: addresses of the web, lists of them, and data sets of the Hugging Face hub.

What they hold is not looked at before a run: they count by their names, so that a plan needs no network and downloads
nothing twice. An import's `again` reads them anew although their names have been imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench.errors import WorkbenchError
from workbench.recipes.base import HUB, WEB

NOT_FETCHED = "not fetched"  # the reason of a source that was not to be had
LIST_SUFFIX = ".urls"  # of a file with an address a line; such a list is read only if it is given by name
MAX_LIST_BYTES = 64 << 20
_HUB = re.compile(
    r"(?P<name>(?:[\w.-]+/)?[\w.-]+)(?::(?P<config>[^@#\s]+))?(?:@(?P<revision>[^#\s]+))?(?:#(?P<column>.+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A data set of the hub: which of its configurations, as of when, and which column holds the text."""

    name: str
    config: str | None
    revision: str | None
    column: str | None


def is_remote(source: str) -> bool:
    """Whether a source is an address or a data set of the hub."""
    return source.startswith((HUB, *WEB))


def is_fetched(source: str) -> bool:
    """Whether what a source holds has to be fetched: a list of addresses counts, too."""
    return is_remote(source) or source.lower().endswith(LIST_SUFFIX)


def not_fetched(report: Mapping[str, Any]) -> int:
    """How many sources of a corpus, with this report, were not to be had."""
    return report.get("dropped", {}).get(NOT_FETCHED, 0)


def hub_source(source: str) -> HubSource:
    """`hf:ORG/NAME[:CONFIG][@REVISION][#COLUMN]` in its parts. Raises `WorkbenchError`."""
    found = _HUB.fullmatch(source.removeprefix(HUB))
    if found is None:
        raise WorkbenchError(
            f"{source!r} names no data set.", "Write hf:ORG/NAME[:CONFIG][@REVISION][#COLUMN], as in hf:org/books#text."
        )
    return HubSource(**found.groupdict())


def check_address(address: str) -> str:
    """The address as it is. Raises `WorkbenchError` if nothing can be fetched from it."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise WorkbenchError(f"{address!r} is no address: {error}.", "Write https://HOST/PATH.") from None
    if not host or any(character.isspace() or ord(character) < 32 for character in address):
        raise WorkbenchError(f"{address!r} is no address.", "Write https://HOST/PATH, with %20 for a space.")
    if parts.username is not None:
        shown = f"{parts.scheme}://{host}…"
        raise WorkbenchError(f"The address {shown} holds a password, which would be kept.", "Download the file first.")
    return address


def addresses_in(path: Path) -> list[str]:
    """The addresses in a list: one a line, but for empty ones and those that begin with #.

    Raises `WorkbenchError` for a file that cannot be read, or a line that is no address.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_LIST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8"
        raise WorkbenchError(
            f"The list {path} cannot be read: {why}.", "Give a text file, an address a line."
        ) from None
    if len(content) > MAX_LIST_BYTES:
        raise WorkbenchError(f"The list {path} is over {MAX_LIST_BYTES >> 20} MiB.", "Give it in parts.")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if (line := line.strip()) and not line.startswith("#"):
            if not line.startswith(WEB):
                what = f"Line {number} of {path} is no address: {line[:100]!r}."
                raise WorkbenchError(what, "Write one a line, beginning with https:// or http://.")
            found.append(check_address(line))
    return list(dict.fromkeys(found))
