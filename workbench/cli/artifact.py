"""One artifact in full: what it is, its report, the check of an export, the recipe that made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from workbench.cli.output import when
from workbench.cli.summary import summary
from workbench.figures import size, value
from workbench.store.artifacts import Artifact, folder_of
from workbench.store.project import Project

Lines = list[tuple[str, str]]


def sections(project: Project, item: Artifact) -> list[tuple[str, Lines]]:
    """(title, (label, text) pairs), in the order of printing; the first has no title."""
    version = f" (version {item.version} of {item.name})" if item.version > 1 else ""
    head = [
        (item.kind, f"{item.id}{version}"),
        ("what", summary(item)),
        ("made", f"{when(item.created)}{f' by {item.run}' if item.run else ''}"),
        ("from", ", ".join(f"{made['kind']}/{made['id']}" for made in item.inputs.values())),
        ("size", size(item.bytes)),
        ("identity", item.identity[:16]),
        ("folder", str(folder_of(project, item))),
    ]
    report = {key: entry for key, entry in item.report.items() if key not in ("check", "fallbacks", "versions")}
    check = item.report.get("check")
    parts = [
        ("", [line for line in head if line[1]]),
        ("Report", _plain(report)),
        ("Check against the checkpoint (check.json)", _check(check, item.report) if check else []),
        ("Recipe", _plain({key: entry for key, entry in item.recipe.items() if key not in ("stage", "name")})),
        ("Versions", _plain(item.versions)),
    ]
    return [(title, lines) for title, lines in parts if lines]


def _plain(values: Mapping[str, Any], prefix: str = "") -> Lines:
    lines: Lines = []
    for key, entry in values.items():
        if isinstance(entry, Mapping) and entry:
            lines += _plain(entry, f"{prefix}{key}.")
        else:
            lines.append((prefix + key, value(entry)))
    return lines


def _check(check: Mapping[str, Any], report: Mapping[str, Any]) -> Lines:
    """The fields of `check.json` in words; what they mean is in the README."""
    stops = [*check.get("stop_tokens", ()), *check.get("further_stop_tokens", ())]
    fallen = Counter(str(kind).lower() for kind in report.get("fallbacks", {}).values())
    wide = ", ".join(f"{count} as {kind}" for kind, count in fallen.most_common())
    lines = [
        ("token ids", f"the same on {check.get('strings', 0)} awkward strings"),
        ("chat template", str(check.get("chat_template", ""))),
        ("stop tokens", ", ".join(stops)),
        ("logits", f"compared at {check.get('tokens', 0):,} places of {check.get('text', '')}"),
        ("same likeliest token", f"{check.get('top1_agreement', 0):.1%} of them"),
        ("largest difference", value(check.get("largest_logit_difference"))),
        ("mean difference", value(check.get("mean_logit_difference"))),
        ("mean KL", f"{value(check.get('mean_kl'))} nats a token{_share(check)}"),
        (
            "bits per byte",
            f"{check.get('bits_per_byte', 0):.4f}, the checkpoint's {check.get('checkpoint_bits_per_byte', 0):.4f}",
        ),
        ("other types", f"{sum(fallen.values())} matrices whose widths do not divide: {wide}" if fallen else ""),
    ]
    return [line for line in lines if line[1]]


def _share(check: Mapping[str, Any]) -> str:
    most, whole = check.get("largest_kl_share"), check.get("uniform_kl")
    if not most or not whole:
        return ""
    return f", {check.get('mean_kl', 0) / whole:.2g} of what the model says at all ({most:.2g} is the most that passes)"
