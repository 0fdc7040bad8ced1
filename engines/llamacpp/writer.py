"""A checkpoint written as GGUF, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.llamacpp import libraries
from engines.llamacpp.architectures import Architecture
from engines.llamacpp.checkpoint import Checkpoint
from engines.llamacpp.vocabulary import Vocabulary
from workbench.errors import WorkbenchError

FLOAT_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
_FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32}  # llama_ftype


def write_gguf(
    path: Path,
    checkpoint: Checkpoint,
    architecture: Architecture,
    vocabulary: Vocabulary,
    number_type: str,
    *,
    about: Mapping[str, str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `path`, matrices in `number_type` ("f32", "f16" or "bf16"), vectors in f32.

    `about` goes into the metadata: full GGUF keys. `progress(done, total)` counts tensors and may raise.
    Raises `WorkbenchError` if tensors are missing, misplaced, misshapen, or too large for the type.
    """
    gguf = libraries.gguf()
    plan = _plan(checkpoint, architecture, number_type)
    writer = gguf.GGUFWriter(path, architecture.kind)
    _add_metadata(writer, architecture, vocabulary, number_type, about)
    factors = architecture.rope_factors()
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, np.dtype(np.float32), factors.numel() * 4)
    for source, (name, dtype) in plan.items():
        shape = checkpoint.shape(source)
        count = int(np.prod(shape))
        raw = gguf.GGMLQuantizationType[{torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]]
        # numpy has no bfloat16: its bytes travel as 16-bit integers, under their real type in the header.
        plain = np.dtype(np.float32 if dtype == torch.float32 else np.int16)
        writer.add_tensor_info(name, shape, plain, count * plain.itemsize, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        if factors is not None:
            writer.write_tensor_data(factors.numpy())
        for done, (source, (_, dtype)) in enumerate(plan.items()):
            progress(done, len(plan))
            tensor = architecture.arrange(source, checkpoint.tensor(source)).to(dtype).contiguous()
            if not torch.isfinite(tensor).all():
                raise WorkbenchError(
                    f"{source} has values that are not finite{' in ' + number_type if dtype != torch.float32 else ''}.",
                    "The training diverged, or the type is too narrow: check the model, or export as f32.",
                )
            plain_tensor = tensor if dtype == torch.float32 else tensor.view(torch.int16)
            writer.write_tensor_data(plain_tensor.numpy())
        progress(len(plan), len(plan))
    finally:
        writer.close()


def _plan(checkpoint: Checkpoint, architecture: Architecture, number_type: str) -> dict[str, tuple[str, torch.dtype]]:
    """Checkpoint name -> (GGUF name, type on disk), in the checkpoint's order."""
    absent = architecture.required() - set(checkpoint.names)
    if absent:
        raise WorkbenchError(
            f"The checkpoint lacks {len(absent)} tensor{'s' if len(absent) > 1 else ''}, such as {min(absent)}.",
            "Its weights do not fit its config.json: make the model anew.",
        )
    plan = {}
    for source in checkpoint.names:
        name = architecture.gguf_name(source)
        if name is not None:
            vector = len(checkpoint.shape(source)) == 1
            plan[source] = (name, torch.float32 if vector else FLOAT_TYPES[number_type])
    rows = checkpoint.shape("model.embed_tokens.weight")
    if rows != (architecture.vocab_size, architecture.width):
        raise WorkbenchError(
            f"The embedding is {rows[0]} x {rows[1]}, but config.json says {architecture.vocab_size} x "
            f"{architecture.width}.",
            "Its weights do not fit its config.json: make the model anew.",
        )
    return plan


def _add_metadata(
    writer: Any, architecture: Architecture, vocabulary: Vocabulary, number_type: str, about: Mapping[str, str]
) -> None:
    writer.add_type("model")
    for key, text in about.items():
        writer.add_string(key, text)
    writer.add_file_type(_FILE_TYPES[number_type])
    writer.add_quantization_version(2)
    writer.add_context_length(architecture.context_length)
    writer.add_embedding_length(architecture.width)
    writer.add_block_count(architecture.layers)
    writer.add_feed_forward_length(architecture.feed_forward_width)
    writer.add_head_count(architecture.heads)
    writer.add_head_count_kv(architecture.groups)
    writer.add_key_length(architecture.head_width)
    writer.add_value_length(architecture.head_width)
    writer.add_layer_norm_rms_eps(architecture.norm_epsilon)
    writer.add_rope_freq_base(architecture.rope_theta)
    writer.add_rope_dimension_count(architecture.head_width)
    writer.add_vocab_size(architecture.vocab_size)

    writer.add_tokenizer_model("gpt2")  # llama.cpp's word for byte-level BPE
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    for add, number in (
        (writer.add_bos_token_id, vocabulary.bos),
        (writer.add_eos_token_id, vocabulary.eos),
        (writer.add_eot_token_id, vocabulary.eot),
        (writer.add_eom_token_id, vocabulary.eom),
        (writer.add_pad_token_id, vocabulary.pad),
        (writer.add_unk_token_id, vocabulary.unk),
    ):
        if number is not None:
            add(number)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(False)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)
