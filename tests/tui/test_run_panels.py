"""Runs of every method: their own curves, figures and samples, in words and units that a person knows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.tui.data_project import fill_project, sealed
from tests.tui.drive import SIZES, loaded, text_of, until, words_of
from tests.tui.example import NOW, Builder
from workbench.contract import Event, Metrics, Sample, Started
from workbench.store.project import Project
from workbench.tui import run_metrics
from workbench.tui.app import WorkbenchApp
from workbench.tui.live import Live
from workbench.tui.screens.compare import differences
from workbench.tui.screens.data_inspector import InspectorScreen
from workbench.tui.screens.runs import RunsScreen

AppOn = Callable[..., WorkbenchApp]
CORE: dict[str, Any] = {
    "loss": 0.6,
    "grad_norm": 1.0,
    "learning_rate": 1e-5,
    "tokens_per_second": 900.0,
    "peak_memory_bytes": 1 << 30,
}
METHODS: dict[str, tuple[dict[str, Any], dict[str, float], dict[str, float]]] = {
    "sft": ({"data": ["capitals"]}, {"token_accuracy": 0.5}, {"eval_loss": 1.9, "eval_token_accuracy": 0.61}),
    "reward": (
        {"preferences": "pairs"},
        {"reward_accuracy": 0.7, "reward_margin": 0.4},
        {"eval_loss": 0.5, "eval_reward_accuracy": 0.813, "eval_reward_margin": 1.25},
    ),
    "dpo": (
        {"preferences": "pairs"},
        {"reward_accuracy": 0.7, "reward_margin": 0.4, "log_prob_chosen": -40.0},
        {"eval_loss": 0.5, "eval_reward_accuracy": 0.813, "eval_reward_margin": 1.25},
    ),
    "ppo": (
        {"prompts": "capitals", "reward": "judge"},
        {"reward_mean": 0.25, "kl": 3.5, "entropy": 2.25, "clip_fraction": 0.125, "value_loss": 0.75,
         "response_length": 48.0, "eos_rate": 0.5},
        {"eval_loss": 0.1, "eval_reward_mean": 1.75, "eval_kl": 3.25},
    ),
    "grpo": (
        {"prompts": "capitals", "reward_pattern": "[0-9]"},
        {"reward_mean": 0.25, "kl": 3.5, "entropy": 2.25, "clip_fraction": 0.125, "response_length": 48.0},
        {"eval_loss": 0.1, "eval_reward_mean": 1.75},
    ),
}  # fmt: skip
SHOWN = {
    "sft": ["tok right 61.0%", "validation 1.900"],
    "reward": ["accuracy 81.3%", "margin 1.250"],
    "dpo": ["accuracy 81.3%", "margin 1.250"],
    "ppo": ["held-out reward 1.750", "reward 0.250", "KL 3.500", "answers 48.00", "entropy 2.250", "clipped 12.5%",
            "value loss 0.750"],
    "grpo": ["held-out reward 1.750", "reward 0.250", "KL 3.500", "answers 48.00", "entropy 2.250", "clipped 12.5%"],
}  # fmt: skip
CURVES = {
    "sft": ["Loss nats per token", "Token accuracy share of tokens guessed right", "Speed tokens per second"],
    "reward": ["Loss per pair", "Reward accuracy share of pairs the right way round", "Reward margin"],
    "dpo": ["Loss per pair", "Reward accuracy share of pairs the right way round", "Reward margin"],
    "ppo": ["Mean reward score of the model's own answers", "Divergence from the base model nats per answer",
            "Answer length tokens", "Entropy", "Clipped share of tokens", "Value loss"],
    "grpo": ["Mean reward score of the model's own answers", "Divergence from the base model nats per answer"],
}  # fmt: skip


@pytest.fixture
def methods(project: Project) -> dict[str, str]:
    """A stopped run of each method; stage -> id."""
    made = fill_project(project)
    made["judge"] = sealed(project, "reward", "judge", lambda folder: {"parameters": 300_000}, stage="import-model")
    build = Builder(project.root)
    build.made = made
    found = {}
    for stage, (recipe, during, measured) in METHODS.items():
        made_from = {"base": "smol"} | ({"preferences": "pairs"} if "preferences" in recipe else {})
        run = build.run({"stage": stage, "base": "smol", "schedule.max_steps": 40, **recipe}, made_from)
        happened: list[Event] = [Started(time=NOW - 100, total_steps=40)]
        for step in range(1, 31):
            moment = NOW - 100 + step
            happened.append(Metrics(time=moment, step=step, tokens=step * 100, more=during, **CORE))
            if step % 10 == 0:
                happened.append(Metrics(time=moment, step=step, more=measured))
                for question in ("Who are you?", "[/INST] \x1b]52;c;eA==\x07?"):
                    happened.append(Sample(time=moment, step=step, prompt=question, text=f"I am step {step}."))
        build.tell(run, happened)
        build.put(run, "stopped", created=NOW - 100, started=NOW - 100, ended=NOW - 60)
        found[stage] = run.id
    build.catalog.close()
    return found


@pytest.mark.parametrize("size", SIZES)
async def test_each_method_shows_its_own_figures_and_curves(
    project: Project, methods: dict[str, str], app_on: AppOn, size: tuple[int, int]
) -> None:
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        app: Any = pilot.app
        for stage, run in methods.items():
            app.perform_command(f"runs.show {run}")
            await until(pilot, lambda run=run: isinstance(app.screen, RunsScreen) and app.screen.detail  # type: ignore[misc]
                        and app.screen.detail.run == run)  # fmt: skip
            screen = app.screen
            if size[0] > 80:
                for words in SHOWN[stage]:
                    assert words in words_of(pilot), (stage, words)
            else:
                await pilot.press("plus")
            screen.metric = ""  # whatever was chosen for the run before
            screen._ask()
            await until(pilot, partial(is_shown, screen, run_metrics.choices(stage, screen.detail.metrics)[0]))
            for words in CURVES[stage]:
                pane = screen.query_one("#chart-pane")
                assert f"{pane.border_title} {pane.border_subtitle}".startswith(words)
                names = screen.detail.metrics
                following = names[(names.index(screen.detail.metric) + 1) % len(names)]
                await pilot.press("m")
                await until(pilot, partial(is_shown, screen, following))
            if size[0] == 80:
                await pilot.press("plus")


def is_shown(screen: RunsScreen, metric: str) -> bool:
    return screen.detail is not None and screen.detail.metric == metric


async def test_samples_are_the_fixed_prompts_with_their_answers(
    project: Project, methods: dict[str, str], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        app: Any = pilot.app
        app.perform_command(f"runs.show {methods['ppo']}")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.detail
                    and app.screen.detail.run == methods["ppo"])  # fmt: skip
        await pilot.press("2")
        await until(pilot, lambda: "> Who are you?" in text_of(pilot))
        assert "I am step 30." in text_of(pilot)
        assert "> [/INST] ?" in text_of(pilot)
        assert "\x1b" not in text_of(pilot)


async def test_what_has_something_to_show_is_shown_first(
    project: Project, methods: dict[str, str], app_on: AppOn
) -> None:
    log = project.runs / methods["dpo"] / "log.txt"
    log.write_text("loading the model\n")
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        app: Any = pilot.app
        app.perform_command(f"runs.show {methods['ppo']}")
        await until(pilot, lambda: "[2 Samples]" in text_of(pilot))  # its log is empty
        assert "I am step 30." in text_of(pilot)
        app.perform_command(f"runs.show {methods['dpo']}")
        await until(pilot, lambda: "[1 Log]" in text_of(pilot) and "loading the model" in text_of(pilot))
        await pilot.press("5")
        app.perform_command(f"runs.show {methods['ppo']}")
        await until(pilot, lambda: "stage: ppo" in text_of(pilot))  # what was chosen stays
        assert "[5 Recipe]" in text_of(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_where_the_reward_counts_the_list_shows_it(
    project: Project, methods: dict[str, str], app_on: AppOn, size: tuple[int, int]
) -> None:
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        app: Any = pilot.app
        app.perform_command("go runs")
        await until(pilot, lambda: methods["ppo"] in text_of(pilot))
        shown = [line[: 90 if size[0] == 200 else size[0]] for line in text_of(pilot).splitlines()]  # the list alone
        lines = {stage: next(line for line in shown if run in line) for stage, run in methods.items()}
        assert "rew 0.25" in lines["ppo"]
        assert "rew 0.25" in lines["grpo"]
        assert "0.600" not in lines["ppo"]
        assert "0.600" in lines["dpo"]
    live = Live(project)
    live.poll()
    runs = [live.runs[methods[stage]] for stage in ("ppo", "sft")]
    live.close()
    rows = dict(differences([], runs))
    assert (rows["reward"], rows["loss"]) == (["0.250", "-"], ["-", "0.600"])


async def test_a_model_stands_for_the_run_that_made_it(
    project: Project, methods: dict[str, str], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        app: Any = pilot.app
        name = app.live.runs[methods["dpo"]].name
        for place in ("data", "runs"):
            app.perform_command(f"{place}.inspect {name}")
            await until(pilot, lambda: isinstance(app.screen, InspectorScreen))
            assert app.screen.subject.title == methods["dpo"]
            app.screen.dismiss()
            await until(pilot, lambda: not isinstance(app.screen, InspectorScreen))


def test_every_metric_has_a_name_and_unknown_ones_keep_theirs() -> None:
    order = run_metrics.choices("ppo", ["eval_kl", "kl", "loss", "novel_thing", "eval_loss", "reward_mean"])
    assert order == ["reward_mean", "kl", "loss", "novel_thing"]
    assert run_metrics.of("novel_thing").label == "novel thing"
    assert run_metrics.of("loss_my_web").label == "loss on my_web"  # a corpus of a mixture
    newest = {"eval_loss": 3.0, "eval_loss_web": 3.25, "eval_loss_code": 1.5, "value_loss": 2.0}
    assert run_metrics.of_sources(newest) == [("web", "3.250"), ("code", "1.500")]
    for names in (*run_metrics.FIRST.values(), *run_metrics.HEADER.values()):
        for name in names:
            assert name.removeprefix("eval_") in run_metrics.METRICS
    assert run_metrics.choices("pretrain", ["eval_loss", "loss", "tokens_per_second"]) == ["loss", "tokens_per_second"]
