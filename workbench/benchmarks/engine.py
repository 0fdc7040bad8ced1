"""The engine of the stages that measure models. The models are opened through their own engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench.contract import Capabilities, Job, Reporter
from workbench.corpus.stage_engine import StageEngine


class BenchmarksEngine(StageEngine):
    """Runs what measures models. Resumed, it goes on with the questions that were not answered yet."""

    name = "benchmarks"
    module = "workbench.benchmarks"
    stages = ("benchmark", "assess")
    libraries = {"lm_eval": "lm-eval", "numpy": "numpy", "pyarrow": "pyarrow"}

    optional = frozenset({"lm_eval"})  # `assess` does without

    def capabilities(self) -> Capabilities:
        able = super().capabilities()
        if not able.available or "lm_eval" in able.versions:
            return able
        return replace(
            able,
            stages=tuple(stage for stage in able.stages if stage != "benchmark"),
            lacking={"benchmark": "Benchmarks need lm-eval, which is not installed."},
            install=self.install(["lm-eval"]),
        )

    def install(self, missing: list[str]) -> str:
        return "pip install 'llm-workbench[benchmarks]'"

    def run_stage(self, job: Job, reporter: Reporter) -> dict[str, Any] | None:
        from workbench.recipes.base import validate

        match job.stage:
            case "benchmark":
                from workbench.benchmarks.benchmark import benchmark
                from workbench.recipes.benchmark import BenchmarkRecipe

                return benchmark(validate(BenchmarkRecipe, job.recipe).resolved(), job, reporter)
            case "assess":
                from workbench.benchmarks.judging.assess import assess
                from workbench.recipes.assess import AssessRecipe

                return assess(validate(AssessRecipe, job.recipe).resolved(), job, reporter)
        raise self.no_stage(job.stage)
