"""`workbench tokenizer` trains one, `workbench tokenizer report NAME` tells what one makes of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from workbench.cli.output import answer, common, complete_artifact, note, open_current, table
from workbench.cli.stages import stage_command
from workbench.errors import WorkbenchError
from workbench.recipes.tokenizer import TokenizerRecipe
from workbench.safe_text import strip_controls
from workbench.store import artifacts
from workbench.wording import amount


@click.command(
    "report",
    epilog="\b\nExamples:\n  workbench tokenizer report bpe-4k\n"
    "  workbench tokenizer report bpe-4k --corpus code --against ~/models/gpt2 --json",
)
@click.argument("name", shell_complete=complete_artifact("tokenizer"))
@click.option(
    "--corpus", "corpora", multiple=True, metavar="CORPUS", shell_complete=complete_artifact("corpus"),
    help="Text to try it on. [default: the corpora that it was trained on]",
)  # fmt: skip
@click.option(
    "--against", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help="A tokenizer.json, or a folder with one, that gets the same text.",
)  # fmt: skip
@click.option(
    "--sample-mib", default=4, show_default=True, type=click.IntRange(1, 1024), help="At most this much text (MiB)."
)
@common
def report(as_json: bool, name: str, corpora: tuple[str, ...], against: tuple[Path, ...], sample_mib: int) -> None:
    """How short a tokenizer makes texts, by source and language, and which of its tokens are of use."""
    from workbench.corpus.tokenizer_report import of_sample

    project, catalog = open_current()
    tokenizer = artifacts.resolve(project, catalog, "tokenizer", name)
    if corpora:
        chosen = [artifacts.resolve(project, catalog, "corpus", corpus) for corpus in corpora]
    else:
        used = [item for item in tokenizer.inputs.values() if item["kind"] == "corpus"]
        made = [artifacts.by_identity(project, catalog, "corpus", item["identity"]) for item in used]
        chosen = [item for item in made if item is not None]
    if not chosen:
        raise WorkbenchError(f"It is not known what {tokenizer.id} was trained on.", "Say on what text: --corpus NAME.")
    folders = {item.name: artifacts.folder_of(project, item) for item in chosen}
    note(f"reading up to {sample_mib} MiB of {', '.join(folders)}")
    found = of_sample(artifacts.folder_of(project, tokenizer), folders, against=against, limit=sample_mib << 20)
    found = {"tokenizer": tokenizer.id, "vocab_size": tokenizer.report.get("vocab_size"), **found}
    if as_json:
        answer(found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    columns = ("text", "bytes", "tokens", "bytes/token", "tokens/word")
    rows = [("all", found), *((item["source"], item) for item in found["by_source"])]
    rows += [(f"language: {name}", item) for name, item in found["by_language"].items()]
    table(columns, [(name, *_figures(item)) for name, item in rows], right=columns[1:])
    for item in found.get("against", ()):
        more = found["tokens"] / max(item["tokens"], 1) - 1
        many = f"{abs(more):.1%} {'more' if more > 0 else 'fewer'}" if more else "as many"
        compared = f"{found['tokenizer']} takes {many} tokens"
        click.echo(strip_controls(
            f"against {item['tokenizer']} ({item['vocab_size']:,} tokens): "
            f"{item['bytes_per_token']:.3f} bytes/token, {item['tokens_per_word']:.3f} tokens/word: {compared}"
        ))  # fmt: skip
    trip = found["round_trip"]
    back = (
        "all read back exactly" if not trip["failed"] else f"{trip['failed']:,} do not read back, first {trip['first']}"
    )
    click.echo(strip_controls(f"{amount(trip['texts'], 'texts')}: {back}; unknown tokens: {found['unknown']:,}"))
    click.echo(strip_controls(f"longest tokens: {' '.join(map(repr, found['longest_tokens']))}"))
    rare = " ".join(f"{item['token']!r} ({item['times']})" for item in found["rarest_tokens"])
    click.echo(strip_controls(f"rarest tokens: {rare}; never used here: {found['never_used']:,}"))


def _figures(item: dict[str, Any]) -> tuple[str, str, str, str]:
    return (
        f"{item['bytes']:,}", f"{item['tokens']:,}", f"{item['bytes_per_token']:.3f}", f"{item['tokens_per_word']:.3f}",
    )  # fmt: skip


class TokenizerVerb(click.Command):
    """The verb of the recipe, but `report` in front is a verb of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] == "report":
            return report.make_context(f"{info_name} report", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


training = stage_command("tokenizer", TokenizerRecipe)
COMMANDS = {
    "tokenizer": TokenizerVerb(
        training.name, params=training.params, callback=training.callback, help=training.help, epilog=training.epilog
    )
}
