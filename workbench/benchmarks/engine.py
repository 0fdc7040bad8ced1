"""The engine of the stages that measure models. The models are opened through their own engines."""

from __future__ import annotations

from typing import Any

from workbench.contract import Job, Reporter
from workbench.corpus.stage_engine import StageEngine


class BenchmarksEngine(StageEngine):
    """Runs what measures models. Resumed, it goes on with the questions that were not answered yet."""

    name = "benchmarks"
    module = "workbench.benchmarks"
    stages = ("benchmark", "assess")
    libraries = {"lm_eval": "lm-eval", "numpy": "numpy", "pyarrow": "pyarrow"}

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
