"""`workbench rank`: the Arena, for one set of candidates."""

from __future__ import annotations

import os
import sys

import click

from workbench.cli.output import common, complete_artifact, note, open_current
from workbench.errors import WorkbenchError
from workbench.preferences.ranking import Ranking, RewardChoice, login
from workbench.preferences.sets import CandidateSet, candidate_set
from workbench.store import artifacts
from workbench.wording import amount

SHARE = click.FloatRange(0, 1)


@click.command(
    "rank",
    epilog="\b\nExamples:\n  workbench rank mine\n  workbench rank mine --whole-sets\n"
    "  workbench rank mine --eval\n"
    "  workbench rank mine --rater ada --overlap 0.3\n  workbench rank mine --reward judge",
)
@click.argument("candidates", metavar="NAME", shell_complete=complete_artifact("candidates"))
@click.option("--rater", metavar="NAME", help="Who judges. [default: the login name]")
@click.option("--whole-sets", is_flag=True, help="Put all answers to a prompt in order, instead of two at a time.")
@click.option(
    "--overlap", type=SHARE, default=Ranking.overlap, show_default=True, metavar="SHARE",
    help="Pairs that others have judged: gives the agreement between raters.",
)  # fmt: skip
@click.option(
    "--repeat", type=SHARE, default=Ranking.repeat, show_default=True, metavar="SHARE",
    help="Own pairs that come again, unannounced: gives the agreement with oneself.",
)  # fmt: skip
@click.option(
    "--reward", metavar="REWARD", help="Show those pairs first of which this reward model is least sure.",
    shell_complete=complete_artifact("reward"),
)  # fmt: skip
@click.option(
    "--eval", "evaluation", is_flag=True,
    help="Only compare models: pairs of answers by different ones, kept apart from all that trains.",
)  # fmt: skip
@common
def rank(
    as_json: bool, candidates: str, rater: str | None, whole_sets: bool, overlap: float, repeat: float,
    reward: str | None, evaluation: bool,
) -> None:  # fmt: skip
    """Rank answers in the terminal: which of two is better, and by how much?

    NAME is a set of candidates; it may still be growing. Each judgement is on disk before the next pair shows.
    Where there is no full screen (TERM=dumb, a pipe), pairs are printed and verdicts read line by line.
    """
    del as_json  # a conversation with a person has no answer
    project, catalog = open_current()
    item = candidate_set(project, catalog, candidates)
    project.require_writable()
    judge = artifacts.resolve(project, catalog, "reward", reward) if reward else None
    chooses = None
    if judge is not None:
        folder = artifacts.folder_of(project, judge)
        chooses = RewardChoice(name=judge.id, identity=judge.identity, folder=folder)
    ranking = Ranking(
        rater=rater or login(), whole_sets=whole_sets, overlap=overlap, repeat=repeat, reward=chooses,
        evaluation=evaluation,
    )  # fmt: skip
    from workbench.tui import terminal

    if not terminal.full_screen():
        if whole_sets or reward:
            raise WorkbenchError(
                f"{'--whole-sets' if whole_sets else '--reward'} needs a terminal that can do more than print lines.",
                "Leave it out, or open another terminal.",
            )
        _by_lines(item, ranking)
        return
    from workbench.tui.app import WorkbenchApp, run
    from workbench.tui.screens.arena import judging

    def begin(app: WorkbenchApp) -> None:
        app.go("arena")
        app.call_after_refresh(app.push_screen, judging(item, ranking))

    run(project, debug="--debug" in sys.argv or bool(os.environ.get("WORKBENCH_DEBUG")), begin=begin)


def _by_lines(item: CandidateSet, ranking: Ranking) -> None:
    from workbench.cli.rank_lines import nothing_said, rank_lines
    from workbench.preferences.arena import Arena

    arena = Arena(
        item.candidates, item.evaluations if ranking.evaluation else item.judgements, ranking.rater,
        repeat=ranking.repeat, overlap=ranking.overlap, between_models=ranking.evaluation,
    )  # fmt: skip
    try:
        said = rank_lines(arena, lambda: input("> "), click.echo)
    except EOFError:
        raise nothing_said(item.name) from None
    finally:
        arena.close()
    note(f"{amount(said, 'pairs')} judged by {ranking.rater}.")


COMMANDS = {"rank": rank}
