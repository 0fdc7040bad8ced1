"""The plug-in: what it offers, how it is started, and where its work is done."""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engines.mlx.blas import use_torch_blas
from workbench.contract import Capabilities, Job, LanguageModel, Reporter, RewardModel
from workbench.errors import WorkbenchError

STAGES = {
    "pretrain": "pretrain:pretrain",
    "sft": "sft:supervise",
    "continue": "sft:supervise",
    "reward": "preference:prefer",
    "dpo": "preference:prefer",
    "orpo": "preference:prefer",
    "kto": "preference:prefer",
    "ppo": "ppo:ppo",
    "grpo": "grpo:grpo",
    "export": "export:export",
}
"""Stage -> the module and function that run it."""
BITS = {"mlx-4bit": 4, "mlx-8bit": 8}  # of a weight, by number format
LIBRARIES = {"mlx": "mlx", "mlx_lm": "mlx-lm"}  # module -> distribution
INSTALL = "pip install 'llm-workbench[mlx]'"


class MlxEngine:
    """Satisfies `workbench.contract.Engine`. mlx is imported only once it is used."""

    name = "mlx"

    def capabilities(self) -> Capabilities:
        missing = [name for module, name in LIBRARIES.items() if find_spec(module) is None]
        if missing:
            reason = f"{' and '.join(missing)} cannot be found."
            return Capabilities(available=False, stages=tuple(STAGES), reason=reason, install=INSTALL)
        versions = library_versions()
        try:
            from engines.mlx import device

            name = device.name()
        except Exception as error:  # a broken installation: it is found, and its library does not load
            return Capabilities(
                available=False,
                stages=tuple(STAGES),
                versions=versions,
                reason=f"mlx cannot be imported: {error}",
                install=INSTALL,
            )
        return Capabilities(
            available=True,
            stages=tuple(STAGES),
            devices=(name,),
            dtypes=("float32", "bfloat16"),
            weight_formats=tuple(BITS),
            versions=versions,
        )

    def command(self, job: Job, job_file: Path) -> list[str]:
        return [sys.executable, "-m", "engines.mlx", str(job_file)]

    def run(self, job: Job, reporter: Reporter) -> None:
        if job.stage not in STAGES:
            raise WorkbenchError(
                f"The mlx engine cannot run the stage {job.stage!r}.", f"It runs: {', '.join(STAGES)}."
            )
        use_torch_blas()
        quieten()
        module, _, function = STAGES[job.stage].partition(":")
        getattr(importlib.import_module(f"engines.mlx.{module}"), function)(job, reporter)

    def load(self, model: Path, **options: Any) -> LanguageModel:
        """`options`: `dtype` ("float32", "bfloat16"), chosen if not given.

        Raises `WorkbenchError` if the folder is no complete model, or mlx-lm does not know its architecture.
        """
        self._require_libraries()
        from engines.mlx.language_model import MlxModel

        return MlxModel(model, **options)

    def open_reward(self, model: Path, **options: Any) -> RewardModel:
        """`options` as of `load`. Raises `WorkbenchError` if the folder is no complete reward model."""
        self._require_libraries()
        from engines.mlx.reward_model import MlxReward

        return MlxReward(model, **options)

    def _require_libraries(self) -> None:
        use_torch_blas()
        if not (able := self.capabilities()).available:
            raise WorkbenchError(able.reason, f"Install it: {able.install}")
        quieten()


def library_versions() -> dict[str, str]:
    return {name: metadata.version(name) for module, name in LIBRARIES.items() if find_spec(module) is not None}


def quieten() -> None:
    """Keep transformers, which mlx-lm brings up, from its hub and from notes to developers."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
