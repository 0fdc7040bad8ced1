"""The stage `import-model`: a Hugging Face folder, a GGUF file or a model of the hub becomes a model of the project.

Weights come from safetensors or GGUF alone, and no code that lies beside a model is run: neither can do anything but
be read.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from engines import adapters
from engines.held_out import HELD_OUT
from engines.pytorch import folders
from engines.pytorch.engine import library_versions
from engines.pytorch.model import save_model
from engines.tokenizer import FILES, TEMPLATE_FILE, TextTokenizer
from workbench.contract import Finished, Job, Reporter, Started, Warned
from workbench.errors import WorkbenchError
from workbench.recipes.base import HUB, validate
from workbench.recipes.models import ImportModelRecipe

WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.tiktoken", "merges.txt", "vocab.txt"]
NOTHING = "Give a model folder, a .gguf file or hf:ORG/NAME."
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def import_model(job: Job, reporter: Reporter) -> None:
    """Read the source, check that it is whole, and write it as an artifact; satisfies `Engine.run`."""
    recipe: ImportModelRecipe = validate(ImportModelRecipe, job.recipe)
    reporter.emit(Started(versions=library_versions()))
    source = recipe.source
    fetched = job.directory / "fetched"
    try:
        folder = fetch(source.removeprefix(HUB), fetched) if source.startswith(HUB) else Path(source)
        if folder.suffix.lower() == ".gguf":
            report = from_gguf(folder, job.output)
            reporter.emit(Warned(message=report["note"]))
        else:
            report = from_folder(folder, job.output)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    reporter.emit(Finished(report={"source": source, **report}))


def from_folder(source: Path, output: Path) -> dict[str, Any]:
    """Copy the model in the Hugging Face folder `source`, whose weights keep their number format.

    Raises `WorkbenchError` if it is no complete language model, or its weights are pickles.
    """
    if not source.exists():
        raise WorkbenchError(
            f"There is no folder {str(source)!r}.", "Give a model folder, a .gguf file or hf:ORG/NAME."
        )
    if source.is_file():
        raise WorkbenchError(f"{source} is neither a folder nor a .gguf file.", "Give the folder that holds the model.")
    if adapters.is_adapter(source):
        raise WorkbenchError(
            f"{source} is an adapter, not a whole model.",
            "Merge it into its base first (PEFT: merge_and_unload), or train one here on an imported base.",
        )
    _refuse_pickles(source)
    config = adapters.read_config(path) if (path := source / "config.json").is_file() else {}
    if "auto_map" in config and not _is_known(config):
        raise WorkbenchError(
            f"{source} brings its own code ({config.get('model_type', 'unknown')}), which is not run here.",
            "Use a model whose architecture transformers knows.",
        )
    model = folders.open_as_stored(source)
    _write(model, output)
    _copy_tokenizer(source, output)
    if (source / HELD_OUT).is_file():
        shutil.copyfile(source / HELD_OUT, output / HELD_OUT)
    return _report(model, "safetensors")


def from_gguf(path: Path, output: Path) -> dict[str, Any]:
    """The model in the GGUF file `path`, its weights dequantised to float32, with the tokenizer inside.

    Raises `WorkbenchError` if the file cannot be read, or its architecture is not one that transformers reads.
    """
    if not path.is_file():
        raise WorkbenchError(f"There is no file {str(path)!r}.", NOTHING)
    folders.require("gguf", "GGUF files")
    where = {"gguf_file": path.name, "local_files_only": True}
    try:
        config: Any = AutoConfig.from_pretrained(path.parent, **where)
        if (width := _head_width(path)) and hasattr(config, "head_dim"):
            config.head_dim = width  # transformers does not read it of every architecture, and takes its own default
        read: Any = AutoModelForCausalLM.from_pretrained(path.parent, config=config, dtype=torch.float32, **where)
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, **where)
    except Exception as error:  # the reader raises of many kinds, for damage and for what it does not know
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WorkbenchError(
            f"{path.name} cannot be read as a model: {lines[0].rstrip('.')}.",
            "Is it whole, and of an architecture that transformers reads from GGUF (llama, qwen2, qwen3, mistral, …)?",
        ) from None
    types = _tensor_types(path)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # else transformers refuses to save it
    fresh = type(read)(config)
    fresh.load_state_dict(read.state_dict())
    ends = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
    fresh.generation_config.eos_token_id = ends
    fresh.generation_config.bos_token_id = config.bos_token_id
    del read
    _write(fresh, output)
    tokenizer.save_pretrained(output)
    _separate_template(output)
    TextTokenizer(output)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(types.items(), key=lambda item: -item[1]))
    note = f"The weights of {path.name} ({kinds}) were made floating point again; what quantising took away stays lost."
    return {**_report(fresh, "gguf"), "tensor_types": types, "note": note}


def fetch(name: str, folder: Path) -> Path:
    """The files of the hub's model `name` in `folder`.

    Raises `WorkbenchError` if it cannot be fetched.
    """
    folders.require("huggingface_hub", "Models of the hub")
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = False  # every engine process starts offline; this one was asked to fetch
    try:
        huggingface_hub.snapshot_download(name, local_dir=folder, allow_patterns=WANTED)
    except Exception as error:  # of many kinds: no connection, no such name, a gate
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WorkbenchError(
            f"The model {name!r} cannot be fetched: {lines[0].rstrip('.')}.",
            "Check the name and the connection, or download its files and give their folder.",
        ) from None
    return folder


def _write(model: PreTrainedModel, output: Path) -> None:
    config = model.generation_config
    if config is not None and not config.do_sample:
        config.temperature = config.top_p = config.top_k = None  # some models' own files do not pass the check
    save_model(model, output)


def _copy_tokenizer(source: Path, output: Path) -> None:
    if (source / "tokenizer.json").is_file():
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, output / name)
    else:
        try:
            AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(output)
        except Exception as error:  # of many kinds
            raise WorkbenchError(
                f"{source} has no tokenizer.json, and none could be made from its other files: {error}",
                "Save the tokenizer in its fast form beside the model.",
            ) from None
    _separate_template(output)
    TextTokenizer(output)  # raises if it cannot be read


def _separate_template(output: Path) -> None:
    """The chat template as a file of its own, where it stands inside tokenizer_config.json."""
    path = output / "tokenizer_config.json"
    config = json.loads(_text(path) or "{}")
    template = config.pop("chat_template", None)
    if isinstance(template, list):  # several by name
        named = {item.get("name"): item.get("template") for item in template}
        template = named.get("default") or next(iter(named.values()), None)
    if isinstance(template, str):
        if not (output / TEMPLATE_FILE).is_file():
            (output / TEMPLATE_FILE).write_text(template, encoding="utf-8")
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse_pickles(source: Path) -> None:
    if any(source.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in PICKLES for path in source.glob(pattern))
    if pickles:
        raise WorkbenchError(
            f"The weights in {source} are pickles ({pickles[0]}), which can run any code when they are read.",
            "Convert them where you trust them: load the model with transformers and call save_pretrained.",
        )


def _is_known(config: dict[str, Any]) -> bool:
    from transformers import CONFIG_MAPPING

    return config.get("model_type") in CONFIG_MAPPING


def _report(model: PreTrainedModel, form: str) -> dict[str, Any]:
    config = model.config.get_text_config()
    return {
        "format": form,
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "vocab_size": config.vocab_size,
        "context_length": getattr(config, "max_position_embeddings", None),
    }


def _head_width(path: Path) -> int | None:
    """How wide a head of attention is, where the file says."""
    from gguf import GGUFReader

    fields = GGUFReader(os.fspath(path)).fields
    if "general.architecture" not in fields:
        return None
    width = fields.get(f"{fields['general.architecture'].contents()}.attention.key_length")
    return int(width.contents()) if width else None


def _tensor_types(path: Path) -> dict[str, int]:
    """Number format -> how many tensors have it."""
    from gguf import GGUFReader

    types: dict[str, int] = {}
    for tensor in GGUFReader(os.fspath(path)).tensors:
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
    return types


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
