"""The plug-in: what it offers, how it is started, and where its work is done."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.contract import Capabilities, Job, LanguageModel, Reporter, RewardModel
from workbench.errors import WorkbenchError

STAGES = {
    "pretrain": "pretrain:pretrain",
    "import-model": "import_model:import_model",
    "merge-adapter": "merge_adapter:merge_adapter",
    "sft": "sft:supervise",
    "continue": "sft:supervise",
    "reward": "preference_stage:prefer",
    "dpo": "preference_stage:prefer",
    "orpo": "preference_stage:prefer",
    "kto": "preference_stage:prefer",
    "ppo": "ppo.stage:ppo",
    "grpo": "grpo:grpo",
}
"""Stage -> the module and function that run it."""
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")
INSTALL = "pip install 'torch>=2.9,<2.14' 'transformers>=5.10,<6'"
INSTALL_NF4 = "pip install 'llm-workbench[qlora]'"


class PyTorchEngine:
    """Satisfies `workbench.contract.RewardEngine` and `FormatEngine`. torch is imported only once it is used."""

    name = "pytorch"

    def capabilities(self) -> Capabilities:
        missing = [library for library in LIBRARIES if find_spec(library) is None]
        if missing:
            return Capabilities(available=False, reason=f"{' and '.join(missing)} cannot be found.", install=INSTALL)
        versions = library_versions()
        try:
            from engines.pytorch import device
        except Exception as error:  # a broken installation: torch says so in many ways
            return Capabilities(
                available=False, versions=versions, reason=f"torch cannot be imported: {error}", install=INSTALL
            )
        return Capabilities(
            available=True,
            stages=tuple(STAGES),
            devices=device.names(),
            dtypes=("float32", "bfloat16"),
            launchers=("local", "torchrun"),
            weight_formats=() if (lacking := self.lacking_formats()) else ("nf4",),
            versions=versions,
            lacking_formats=lacking,
        )

    def lacking_formats(self) -> dict[str, tuple[str, str]]:
        if find_spec("bitsandbytes") is not None:
            return {}
        if sys.platform == "darwin":
            return {"nf4": ("Weights in nf4 need bitsandbytes, which is not made for Macs.", "Choose mlx-4bit.")}
        return {"nf4": ("Weights in nf4 need bitsandbytes, which cannot be found.", f"Install it: {INSTALL_NF4}")}

    def command(self, job: Job, job_file: Path) -> list[str]:
        launch = job.recipe.get("launch", {})
        if launch.get("kind") != "torchrun":
            return [sys.executable, "-m", "engines.pytorch", str(job_file)]
        processes = f"--nproc-per-node={launch.get('processes', 1)}"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", processes]
        return [*launcher, "-m", "engines.pytorch", str(job_file)]

    def run(self, job: Job, reporter: Reporter) -> None:
        if job.stage not in STAGES:
            raise WorkbenchError(
                f"The pytorch engine cannot run the stage {job.stage!r}.", f"It runs: {', '.join(STAGES)}."
            )
        quieten()
        module, _, function = STAGES[job.stage].partition(":")
        getattr(importlib.import_module(f"engines.pytorch.{module}"), function)(job, reporter)

    def load(self, model: Path, **options: Any) -> LanguageModel:
        """`options`: `device` ("cpu", "cuda:1", ...) and `dtype` ("float32", "bfloat16"); both chosen if not given.

        Raises `WorkbenchError` if the folder is no complete model.
        """
        quieten()
        from engines.pytorch.language_model import TransformersModel

        return TransformersModel(model, **options)

    def open_reward(self, model: Path, **options: Any) -> RewardModel:
        """`options` as of `load`. Raises `WorkbenchError` if the folder is no complete reward model."""
        quieten()
        from engines.pytorch.reward_model import TransformersReward

        return TransformersReward(model, **options)


def library_versions() -> dict[str, str]:
    return {library: metadata.version(library) for library in LIBRARIES if find_spec(library) is not None}


def quieten() -> None:
    """Keep transformers from looking up its hub, and from drawing progress bars and notes to developers into logs."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|trl")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # bitsandbytes, which peft brings up, warns of a kernel that only a base in 4 bits would use.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
