"""The stage `assess`: the models answer, the judge judges; each answer and each verdict is kept as it comes."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.benchmarks.judging import answers as answering
from workbench.benchmarks.judging import verdicts as judging
from workbench.benchmarks.judging.answers import ANSWERS, Answers
from workbench.benchmarks.judging.judges import Case, EndpointVerdicts, Judge, LikelihoodVerdicts, WrittenVerdicts
from workbench.benchmarks.judging.ledger import Ledger
from workbench.benchmarks.judging.outcomes import (
    answers_report,
    outcomes,
    pairwise_report,
    replies_report,
    same,
    single_report,
)
from workbench.benchmarks.judging.people import agreement
from workbench.benchmarks.judging.questions import Question, questions_of, read_questions
from workbench.benchmarks.judging.verdicts import VERDICTS, Verdict
from workbench.contract import Job, Reporter, Sampling, Warned
from workbench.corpus.progress import Interrupted, ProgressReport
from workbench.errors import WorkbenchError
from workbench.preferences.authors import EndpointAuthor
from workbench.recipes.assess import AssessRecipe
from workbench.store.catalog import open_catalog
from workbench.store.project import open_project

PORTION = 24  # verdicts, after which is looked whether the judge says anything
ENOUGH = 8  # replies, before which nothing is said of that
STEADY = 0.5  # share of the verdicts that hold in both orders, below which a judge is warned of
WITHOUT_VERDICT = "no-verdict.jsonl"  # the replies for which a run was given up
QUOTED = 160  # characters


def assess(recipe: AssessRecipe, job: Job, reporter: Reporter, *, pause_seconds: float = 1.0) -> dict[str, Any]:
    """Fill `job.output` with the answers and the verdicts, answer the report.

    Both grow in `job.directory`, where a resumed run finds them. `pause_seconds` is the wait before a server is asked
    a second time. Raises `Interrupted` if it was stopped, `WorkbenchError` if the judge says nothing of use or is gone.
    """
    progress = ProgressReport(reporter)
    questions = _questions(recipe, job, reporter)
    answers = _answered(recipe, job, questions, progress, reporter)
    kept = judging.ledger(job.directory)
    cases = list(_cases(recipe, questions, answers))
    _judged(recipe, job, cases, kept, progress, pause_seconds)
    progress.end()
    known = {kept.key(asdict(item)): item for item in judging.verdicts_in(kept)}
    verdicts = [known[_key(kept, case)] for case in cases]
    _write(job.output / ANSWERS, [asdict(item) for item in answers])
    _write(job.output / VERDICTS, [asdict(item) for item in verdicts])
    report: dict[str, Any] = {
        "judging": recipe.judging,
        "verdict": recipe.verdict,
        "judge": recipe.judge or f"{recipe.endpoint_model} at {recipe.endpoint}",
        "questions": len(questions),
        "turns": sum(question.turns for question in questions),
        "answers": answers_report(answers, recipe.models),
        **replies_report(verdicts),
    }
    if recipe.judging == "single":
        return report | single_report(verdicts, recipe.models)
    found = pairwise_report(verdicts, recipe.models)
    alike = found["same_in_both_orders"]["share"]
    if alike is not None and alike < STEADY:
        said = f"The judge said the same in both orders of only {alike:.0%} of the pairs"
        reporter.emit(Warned(message=f"{said}: it goes by the place, and what it says of the models is weak."))
    project = open_project(job.directory.parent.parent)
    with open_catalog(project) as catalog:
        people = agreement(project, catalog, outcomes(verdicts, recipe.models))
    return report | found | {"agreement": people}


def _questions(recipe: AssessRecipe, job: Job, reporter: Reporter) -> list[Question]:
    if "prompts" in job.inputs:
        return questions_of(job.inputs["prompts"])[: recipe.max_prompts]
    found, left_out = read_questions(recipe.prompts)
    if left_out:
        many = f"{len(left_out):,} rows were" if len(left_out) > 1 else "A row was"
        reporter.emit(Warned(message=f"{many} left out of the questions. The first: {left_out[0]}."))
    return found[: recipe.max_prompts]


def _answered(
    recipe: AssessRecipe, job: Job, questions: Sequence[Question], progress: ProgressReport, reporter: Reporter
) -> list[Answers]:
    """Of each question, the answers of each model: those that candidates hold, and new ones."""
    kept = answering.ledger(job.directory)
    folders = {name: job.inputs[f"models.{place}"] for place, name in enumerate(recipe.models)}
    if "prompts" in job.inputs:
        asked = {question.id for question in questions}
        before = [asdict(item) for item in answering.written_before(job.inputs["prompts"], folders)]
        kept.add(row for row in before if row["question"] in asked and kept.key(row) not in kept.rows)
    progress.begin("answering", total=len(questions) * len(folders), unit="answers")
    for name, folder in folders.items():
        done = {key[0] for key in kept.rows if key[1] == name}
        progress.advance(sum(question.id in done for question in questions))
        if all(question.id in done for question in questions):
            continue
        model = answering.open_model(folder, recipe.engine)
        try:
            if model.chat_template is None:
                reporter.emit(Warned(message=f"{name} has no chat template: it continues the questions as plain text."))
            sampling = Sampling(max_tokens=recipe.max_tokens, temperature=recipe.temperature, top_k=0, seed=recipe.seed)
            answering.write_answers(model, name, questions, done, kept, sampling, progress)
        finally:
            model.close()
    order = {question.id: place for place, question in enumerate(questions)}
    found = answering.answers_in(kept)
    return sorted(found, key=lambda item: (order[item.question], recipe.models.index(item.model), item.sample))


def _cases(recipe: AssessRecipe, questions: Sequence[Question], answers: Sequence[Answers]) -> Iterator[Case]:
    """What is to be judged: every answer, or every pair of answers of the two models in both orders; a turn each."""
    of: dict[str, dict[str, list[Answers]]] = {question.id: {} for question in questions}
    for item in answers:
        of[item.question].setdefault(item.model, []).append(item)
    for question in questions:
        own = [of[question.id].get(name, []) for name in recipe.models]
        shown: Sequence[tuple[Answers, ...]]
        if recipe.judging == "single":
            shown = [(item,) for group in own for item in group]
        else:
            shown = [order for pair in itertools.product(*own) for order in (pair, pair[::-1])]
        for turn in range(1, question.turns + 1):
            yield from (_case(question, turn, order) for order in shown)


def _case(question: Question, turn: int, shown: Sequence[Answers]) -> Case:
    return Case(
        question,
        Verdict(
            question=question.id,
            turn=turn,
            category=question.category,
            prompt=tuple(question.messages),
            asked=question.more[: turn - 1],
            models=tuple(item.model for item in shown),
            samples=tuple(item.sample for item in shown),
            answers=tuple(item.texts[:turn] for item in shown),
        ),
    )


def _judged(
    recipe: AssessRecipe,
    job: Job,
    cases: Sequence[Case],
    kept: Ledger,
    progress: ProgressReport,
    pause_seconds: float,
) -> None:
    """All verdicts that are not kept yet."""
    waiting = [case for case in cases if _key(kept, case) not in kept.rows]
    progress.begin("judging", total=len(cases), unit="verdicts")
    progress.advance(len(cases) - len(waiting))
    alike = [case.empty for case in waiting if not _differ(case.empty)]
    kept.add({**asdict(empty), "better": "tie", "reason": "The answers are the same."} for empty in alike)
    progress.advance(len(alike))
    waiting = [case for case in waiting if _differ(case.empty)]
    if not waiting:
        return
    with _opened(recipe, job, progress, pause_seconds) as judge:
        for start in range(0, len(waiting), PORTION):
            try:
                for verdict in judge.verdicts(waiting[start : start + PORTION]):
                    kept.add([asdict(verdict)])
                    with contextlib.suppress(Interrupted):  # the judge ends by itself, after what is on its way
                        progress.advance(1)
            except WorkbenchError as error:
                count = f"{len(kept.rows):,} of {len(cases):,} verdicts are kept"
                again = f"{count}; go on with them: workbench runs resume {job.run}"
                raise WorkbenchError(error.what, f"{error.remedy} {again}") from None
            last = start + PORTION >= len(waiting)
            _require_verdicts(recipe, job.directory, kept, enough=1 if last else ENOUGH)


def _require_verdicts(recipe: AssessRecipe, directory: Path, kept: Ledger, *, enough: int) -> None:
    """Raises `WorkbenchError` if too many replies hold no verdict; these are asked for again when the run goes on."""
    asked = [
        (key, verdict) for key, verdict in zip(kept.rows, judging.verdicts_in(kept), strict=True) if _differ(verdict)
    ]
    empty = [(key, verdict) for key, verdict in asked if verdict.none]
    if len(asked) < enough or len(empty) <= recipe.max_no_verdict * len(asked):
        return
    said = next((verdict.before or verdict.said for _, verdict in empty if verdict.said or verdict.before), "")
    quoted = " ".join(said.split())
    quoted = f"{quoted[:QUOTED]}..." if len(quoted) > QUOTED else quoted
    _write(directory / WITHOUT_VERDICT, [asdict(verdict) for _, verdict in empty])
    kept.drop(key for key, _ in empty)
    likelihood = "" if recipe.endpoint else ", or ask it which verdict is more likely: --verdict likelihood"
    raise WorkbenchError(
        f"{len(empty):,} of {len(asked):,} replies of the judge hold no verdict, such as: {quoted!r}.",
        f"Choose a more capable judge{likelihood}. All such replies are in the run's {WITHOUT_VERDICT}.",
    )


@contextlib.contextmanager
def _opened(recipe: AssessRecipe, job: Job, progress: ProgressReport, pause_seconds: float) -> Iterator[Judge]:
    sampling = Sampling(max_tokens=recipe.verdict_tokens, temperature=0.0, top_p=1.0, top_k=0, seed=recipe.seed)
    if recipe.endpoint:
        one_at_a_time = threading.Lock()

        def check() -> None:
            with one_at_a_time:
                progress.check()

        author = EndpointAuthor(
            recipe.endpoint, recipe.endpoint_model, check, pause_seconds=pause_seconds, timeout_seconds=recipe.timeout
        )
        yield EndpointVerdicts(author, recipe.rubric, sampling, recipe.parallel)
        return
    model = answering.open_model(job.inputs["judge"], recipe.engine)
    try:
        if recipe.verdict == "likelihood":
            yield LikelihoodVerdicts(model, progress.check, recipe.rubric)
        else:
            yield WrittenVerdicts(model, progress.check, recipe.rubric, sampling)
    finally:
        model.close()


def _differ(verdict: Verdict) -> bool:
    """Whether there is something to judge."""
    return len(verdict.answers) == 1 or not same(*verdict.answers)


def _key(kept: Ledger, case: Case) -> tuple[Any, ...]:
    empty = case.empty
    return kept.key({"question": empty.question, "turn": empty.turn, "models": empty.models, "samples": empty.samples})


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
