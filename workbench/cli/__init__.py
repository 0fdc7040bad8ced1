"""Every verb, headless. `workbench` alone opens the terminal UI.

Help and completion must answer at once: a verb's module is imported only when the verb is used.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from workbench import __version__
from workbench.errors import WorkbenchError

# verb -> (module in this package, one line of help). The order is that of the road.
VERBS: dict[str, tuple[str, str]] = {
    "new": ("project", "Make a project: a folder that holds everything."),
    "import": ("stages", "Read sources into a corpus, and clean it: --clean web-en."),
    "corpus": ("corpus", "Look into a corpus: funnel, rejects, documents; try other thresholds."),
    "classifier": ("classifier", "Learn what a good text is from documents that you marked."),
    "tokenizer": ("tokenizer", "Train a tokenizer; report on one."),
    "import-tokenizer": ("stages", "Bring in a tokenizer that was trained elsewhere."),
    "extend-tokenizer": ("stages", "Add tokens to a tokenizer."),
    "shards": ("stages", "Turn a corpus into token ids on disk (pretrain does it for you)."),
    "pretrain": ("stages", "Train a model from scratch."),
    "import-chat": ("stages", "Read instruction data into conversations: jsonl, json, csv, parquet, hf:ORG/NAME."),
    "template-chat": ("stages", "Turn rows of a classic task (labels, questions, summaries) into conversations."),
    "self-instruct": ("stages", "Have a model write new instructions and answers from a few examples."),
    "import-preferences": ("stages", "Read preferences between answers, or marks on single ones."),
    "grpo": ("stages", "Raise rewards of a reward model, a pattern, a function of yours or a judge (GRPO)."),
    "ppo": ("stages", "Raise a reward model's score of a model's answers, near the model (PPO)."),
    "candidates": ("stages", "Have models write several answers to each prompt, for ranking."),
    "rank": ("rank", "Rank answers in the terminal: the Arena."),
    "judge": ("stages", "Judge answers by a stated rule, or with a model."),
    "preferences": ("preferences", "List, export and sum up what was judged."),
    "inspect": ("inspect", "Show the batches that a recipe trains on, token by token: roles, masks, cuts."),
    "import-model": ("stages", "Bring in a model: a Hugging Face folder, a GGUF file, hf:ORG/NAME."),
    "sft": ("stages", "Teach a model to answer as in conversations."),
    "continue": ("stages", "Train a model further on plain text."),
    "reward": ("stages", "Train a reward model on preferences."),
    "score": ("score", "What a reward model thinks of an answer."),
    "dpo": ("stages", "Learn from preferences, without a reward model."),
    "orpo": ("stages", "Learn answers and preferences in one loss, without a reference."),
    "kto": ("stages", "Learn from single answers marked good or bad."),
    "merge-adapter": ("stages", "Merge an adapter into its base (export does it for you)."),
    "export": ("stages", "Write a model as GGUF, quantised and checked."),
    "benchmark": ("benchmark", "Measure models on a panel of tasks, item by item."),
    "compare": ("compare", "Models side by side on the same items: differences, and which are noise."),
    "benchmarks": ("benchmarks", "List benchmarks, show one, print them as a table."),
    "contamination": ("contamination", "How much of a benchmark stood in the training text."),
    "benchmark-data": ("benchmark_data", "Data of benchmark tasks on disk, and tasks of your own."),
    "panels": ("panels", "List the panels: named sets of benchmark tasks."),
    "assess": ("stages", "Have a judge compare the answers of two models, or grade those of each."),
    "verdicts": ("verdicts", "What judges said: who won how often, and every verdict with its reason."),
    "chat": ("chat", "Talk with a model."),
    "serve": ("serve", "Answer programs over HTTP, in OpenAI's form."),
    "run": ("stages", "Run a recipe or a pipeline from a YAML file."),
    "demo": ("demo", "The whole road on the text inside Python: a model of your own in minutes."),
    "runs": ("runs", "List runs; show, watch, stop, resume or read the log of one."),
    "models": ("project", "List the models and exports of the project."),
    "artifacts": ("project", "List everything that the project has made."),
    "lineage": ("project", "Where an artifact came from, back to the raw text."),
    "verify": ("project", "Hash every artifact again and compare."),
    "repair": ("project", "Rebuild the catalog from the project's files."),
    "doctor": ("doctor", "What this machine can do, and what is missing."),
    "completions": ("project", "Print the completion script for a shell."),
}


class Verbs(click.Group):
    """The verbs, by name, without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"workbench.cli.{VERBS[name][0]}")
        return module.COMMANDS[name]

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from workbench.cli.errors import no_such_verb

            raise no_such_verb("", args[0], list(VERBS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Begin with: workbench demo. Each verb has examples: workbench VERB --help.",
)
@click.option(
    "--project", metavar="PATH", help="The project's folder. [default: $WORKBENCH_PROJECT, else from here upwards]"
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(__version__, prog_name="workbench")
@click.pass_context
def cli(ctx: click.Context, project: str | None, debug: bool) -> None:
    """Build a language model end to end: raw text, tokenizer, pretraining, GGUF, chat.

    Without a verb the terminal UI opens.
    """
    ctx.obj = {"project": project, "debug": debug}
    if ctx.invoked_subcommand is None:
        from workbench.cli.tui import open_tui

        open_tui(project, debug=debug)


def main() -> None:
    """The command `workbench`: errors become sentences, and the exit status says whether it was done."""
    from workbench.cli import errors

    # Before anything is parsed: what cannot be parsed is to be told in the same way.
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    debug = "--debug" in words or bool(os.environ.get("WORKBENCH_DEBUG"))
    as_json = "--json" in words
    try:
        cli.main(prog_name="workbench", standalone_mode=False)
    except errors.Interrupted as error:
        errors.tell(error, errors.INTERRUPTED, as_json=as_json, quiet=True)
    except WorkbenchError as error:
        if debug:
            raise
        errors.tell(error, errors.USAGE if isinstance(error, errors.WrongUsage) else errors.FAILED, as_json=as_json)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.UsageError as error:
        errors.tell(errors.usage(error), errors.USAGE, as_json=as_json)
    except click.ClickException as error:
        errors.tell(WorkbenchError(error.format_message()), errors.FAILED, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        errors.tell(WorkbenchError("Interrupted."), errors.INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        from workbench.reporting import explain

        reason = explain(error)
        known = isinstance(error, OSError | MemoryError | ImportError)
        remedy = reason.remedy if known else "Run it again with --debug for the traceback."
        errors.tell(WorkbenchError(reason.reason, remedy), errors.FAILED, as_json=as_json)
