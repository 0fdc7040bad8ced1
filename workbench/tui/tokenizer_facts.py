"""What the report of a tokenizer says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench import figures
from workbench.wording import amount


def facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a name and what it is; what the report of an older or an imported tokenizer lacks is left out."""
    pairs = [
        (name.replace("_", " "), figures.value(report[name])) for name in ("kind", "pre_tokenizer") if name in report
    ]
    if size := report.get("vocab_size"):
        pairs.append(("vocabulary", amount(size, "tokens")))
    if trained_on := report.get("trained_on"):
        read = ", ".join(f"{figures.size(size)} of {name}" for name, size in trained_on.items())
        pairs.append(("trained on", read))
    if "tokens" in report:
        pairs.append(("a sample", f"{figures.size(report['bytes'])}, {amount(report['tokens'], 'tokens')}"))
    if "bytes_per_token" in report:
        pairs.append(("in the sample", _density(report)))
    of_sources = {item["source"]: item for item in report.get("by_source", ())}
    for parts in (of_sources, report.get("by_language", {})):
        if len(parts) > 1:
            pairs += [(name, _density(part)) for name, part in parts.items()]
    if trip := report.get("round_trip"):
        texts = amount(trip["texts"], "texts")
        pairs.append(("read back", f"{trip['failed']:,} of {texts} do not" if trip["failed"] else f"exactly, {texts}"))
    if longest := report.get("longest_tokens"):
        pairs.append(("longest tokens", " ".join(map(repr, longest))))
    if rarest := report.get("rarest_tokens"):
        pairs.append(("rarest tokens", " ".join(f"{item['token']!r} ({item['times']:,})" for item in rarest)))
    if "never_used" in report:
        pairs.append(("never used", f"{amount(report['never_used'], 'tokens')} in the sample"))
    return pairs


def _density(part: Mapping[str, Any]) -> str:
    words = f", {part['tokens_per_word']:.3f} tokens/word" if "tokens_per_word" in part else ""
    return f"{part['bytes_per_token']:.3f} bytes/token{words}"
