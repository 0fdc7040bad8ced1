"""What a site's robots.txt allows (RFC 9309)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

MAX_BYTES = 512 << 10  # the RFC asks for at least 500 KiB
MAX_DELAY_SECONDS = 30.0
_SAFE = "/?&=*$%:@!,;+~'()"


@dataclass(slots=True)
class Robots:
    """The rules of one site for one user agent."""

    rules: list[tuple[str, bool]] = field(default_factory=list)  # (pattern, may it be fetched?)
    delay: float = 0.0  # seconds between requests, which no RFC has but many ask for

    def allows(self, path: str) -> bool:
        """Whether `path`, with its query, may be fetched: by the longest pattern that fits; at equal length it may."""
        path = _normal(path or "/")
        if path == "/robots.txt":
            return True
        fitting = [(len(pattern), allowed) for pattern, allowed in self.rules if _fits(pattern, path)]
        return max(fitting, default=(0, True))[1]


NOTHING = Robots(rules=[("/", False)])


def parse(text: str, agent: str) -> Robots:
    """The rules for `agent`, or else those for all (`*`)."""
    own, general = Robots(), Robots()
    named = False  # is there a group for the agent?
    current: list[Robots] = []
    starting = False  # is the last line a user agent's?
    for line in text.splitlines():
        key, _, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if key == "user-agent":
            current = current if starting else []
            starting = True
            if value == "*":
                current.append(general)
            elif value.lower() == agent.lower():
                named = True
                current.append(own)
            continue
        if key in ("allow", "disallow"):
            starting = False
            if value:
                for robots in current:
                    robots.rules.append((_normal(value), key == "allow"))
        elif key == "crawl-delay":
            starting = False
            if re.fullmatch(r"\d+(\.\d+)?", value):
                for robots in current:
                    robots.delay = min(float(value), MAX_DELAY_SECONDS)
    return own if named else general


def _normal(path: str) -> str:
    """The path with the same characters escaped, however it was written."""
    return quote(unquote(path, errors="surrogateescape"), safe=_SAFE, errors="surrogateescape")


def _fits(pattern: str, path: str) -> bool:
    """Whether the path begins as the pattern says: * is any run of characters, a last $ the end."""
    ends = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for number, part in enumerate(others):
        if ends and number == len(others) - 1:
            return path.endswith(part) and len(path) - len(part) >= place
        found = path.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return not ends or place == len(path)
