"""The stage `merge-adapter`: an adapter and its base as one whole model."""

from __future__ import annotations

import torch

from engines import adapters
from engines.companions import copy_companions
from engines.pytorch import folders
from engines.pytorch.engine import library_versions
from engines.pytorch.model import save_model
from engines.tokenizer import TEMPLATE_FILE
from workbench.contract import Finished, Job, Reporter, Started
from workbench.errors import WorkbenchError


def merge_adapter(job: Job, reporter: Reporter) -> None:
    """Add the adapter's product to its base's weights, in float32; satisfies `Engine.run`.

    Never in four bits: there the mean error of a logit was 0.22, in floating point 0.03.
    """
    folder = job.inputs["model"]
    if not adapters.is_adapter(folder):
        raise WorkbenchError(f"{job.recipe['model']} is no adapter: there is nothing to merge.", "Use it as it is.")
    reporter.emit(Started(versions=library_versions() | folders.versions("peft")))
    model = folders.open_causal_lm(folder, torch.float32)
    model.generation_config = folders.generation_config(folder)
    save_model(model, job.output)
    template = folder / TEMPLATE_FILE
    copy_companions(folder, job.output, template=template.read_text("utf-8") if template.is_file() else None)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    reporter.emit(
        Finished(report={"parameters": parameters, "dtype": "float32", "layers": adapters.adapter_depth(folder)})
    )
