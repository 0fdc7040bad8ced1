"""Model folders: whole models, adapters on a base, reward models. Opening them, and writing them.

A base may itself be an adapter. Whatever the chain, opening gives a plain transformers model: each adapter is merged
into the floating-point weights below it.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
)

from engines.adapters import ADAPTER_CONFIG, base_of, is_adapter, read_config
from engines.pytorch.configuration import first_line, open_config, require_kind
from workbench import durable
from workbench.errors import WorkbenchError

GENERATION_CONFIG = "generation_config.json"


def open_as_stored(folder: Path) -> Any:
    """The whole model in `folder`, its weights in the number format of their files; raises as `open_causal_lm`."""
    return _open(folder, AutoModelForCausalLM, "auto")


def open_causal_lm(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model in `folder` on the CPU, in evaluation mode; adapters are merged, in float32.

    Raises `WorkbenchError` if the folder, or one that it builds on, is no complete model.
    """
    if not is_adapter(folder):
        return _open(folder, AutoModelForCausalLM, dtype)
    return _merged(folder, open_causal_lm(base_of(folder))).to(dtype)


def open_reward_model(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The reward model in `folder`: sequence classification with one label; an adapter is merged into its base.

    Raises `WorkbenchError` if `folder` holds no reward model.
    """
    if is_adapter(folder):
        return _merged(folder, new_reward_model(base_of(folder), seed=0)).to(dtype)
    config = open_config(folder)
    names = config.architectures or [""]
    if "SequenceClassification" not in names[0] or config.num_labels != 1:
        raise WorkbenchError(
            f"{folder} is no reward model: it is a {names[0] or 'model'}.", "Train one with `workbench reward`."
        )
    return _open(folder, AutoModelForSequenceClassification, dtype)


def new_reward_model(base: Path, *, seed: int) -> Any:
    """A reward model on the body of the language model in `base`, on the CPU in float32.

    The head is normal with deviation 1 / sqrt(width + 1) (Stiennon et al. 2020), drawn from `seed`.
    """
    language_model = open_causal_lm(base)
    config = copy.deepcopy(language_model.config)
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        model = _as_any(AutoModelForSequenceClassification).from_config(config, dtype=torch.float32)
    body = getattr(model, model.base_model_prefix)
    body.load_state_dict(language_model.base_model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(model.score.weight, std=(model.score.in_features + 1) ** -0.5, generator=generator)
    return model.eval()


def in_four_bits(model: PreTrainedModel, device: torch.device, compute: torch.dtype) -> Any:
    """`model` with its linear layers' weights in nf4 with double quantisation (Dettmers et al. 2023).

    Raises `WorkbenchError` if bitsandbytes is missing.
    """
    require("bitsandbytes", "Four-bit weights")
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=["score", "lm_head"],
    )
    kind: Any = AutoModelForSequenceClassification if hasattr(model, "score") else AutoModelForCausalLM
    # bitsandbytes quantises while weights are read from a file; those of a merged adapter are in no file yet.
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        quantised = kind.from_pretrained(
            folder, quantization_config=quantization, dtype=compute, device_map={"": device}, local_files_only=True
        )
    return quantised.eval()


def save_adapter(model: Any, folder: Path, base: Path) -> None:
    """Write the adapter of the PEFT model `model` into `folder`; `base` is the folder it was made on."""
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    path = folder / ADAPTER_CONFIG
    config = read_config(path)
    config["base_model_name_or_path"] = os.path.relpath(base.resolve(), folder.resolve())
    durable.write_json(path, config)
    generation = getattr(model.get_base_model(), "generation_config", None)
    if generation is not None:
        generation.save_pretrained(str(folder))


def generation_config(folder: Path) -> GenerationConfig:
    """How answers of the model in `folder` end, and are drawn by default."""
    return GenerationConfig.from_pretrained(folder, local_files_only=True)


def linear_layers(model: nn.Module) -> list[str]:
    """The distinct ends of the names of linear layers that an adapter may be put on: "q_proj", "down_proj", ..."""
    outputs = {"lm_head", "score", "embed_out"}
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ in ("Conv1D", "Linear4bit")
    }
    return sorted(names - outputs)


def versions(*libraries: str) -> dict[str, str]:
    return {library: metadata.version(library) for library in libraries if find_spec(library) is not None}


def require(library: str, what: str) -> None:
    """Raises `WorkbenchError` if `library` is not installed."""
    if find_spec(library) is None:
        extra = "qlora" if library == "bitsandbytes" else "tuning"
        raise WorkbenchError(
            f"{what} need {library}, which is not installed.", f"Install it: pip install 'llm-workbench[{extra}]'"
        )


def _merged(folder: Path, model: PreTrainedModel) -> Any:
    require("peft", "Adapters")
    from peft import PeftModel

    try:
        adapted: Any = PeftModel.from_pretrained(model, str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise WorkbenchError(
            f"The adapter in {folder} cannot be opened: {first_line(error)}.",
            "Copy it anew: it is damaged, or was made for another base.",
        ) from error
    return adapted.merge_and_unload().eval()


def _open(folder: Path, kind: Any, dtype: torch.dtype | str) -> PreTrainedModel:
    config = open_config(folder)
    require_kind(folder, config, kind)
    try:
        model, loaded = kind.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=True,  # they are told of below, in a sentence
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise WorkbenchError(
            f"The weights in {folder} cannot be read: {error}.",
            "Copy the model anew, or export it from its checkpoint.",
        ) from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise WorkbenchError(
            f"{folder} cannot be opened as a model: {first_line(error)}.", "Is it complete?"
        ) from error
    # transformers would fill these at random and go on.
    if missing := sorted(loaded["missing_keys"]):
        raise WorkbenchError(
            f"{folder / 'model.safetensors'} lacks {len(missing)} weights that config.json asks for, such as "
            f"{missing[0]}.",
            "Copy the model anew, or make it again: these two files do not belong together.",
        )
    if mismatched := sorted(loaded["mismatched_keys"]):
        name, stored, asked = mismatched[0]
        raise WorkbenchError(
            f"{folder / 'model.safetensors'} has {name} as {_shape(stored)}, for which config.json asks as "
            f"{_shape(asked)}.",
            "Copy the model anew, or make it again: these two files do not belong together.",
        )
    return model.eval()


def _shape(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _as_any(value: Any) -> Any:
    return value
