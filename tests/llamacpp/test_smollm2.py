"""A real model there and back: SmolLM2's GGUF as a Hugging Face folder, and that exported again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.awkward import AWKWARD_STRINGS
from engines.llamacpp.weights import Weights
from tests.llamacpp.stages import run_export

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")


@pytest.fixture(scope="module")
def folder(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read = AutoModelForCausalLM.from_pretrained(smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32)
    del read.config.quantization_config
    model = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)  # one read from GGUF cannot be saved
    model.load_state_dict(read.state_dict())
    folder = tmp_path_factory.mktemp("smollm2")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name).save_pretrained(folder)
    # transformers forgets that this tokenizer splits digits
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    digits = {"type": "Digits", "individual_digits": True}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, tokenizer["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    held_out = Path(__file__).parents[3] / "shared" / "data" / "text" / "wikitext2_test.txt"
    if held_out.exists():
        (folder / "held_out.txt").write_text(held_out.read_text()[:8000])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("quantization", "dearer"), [("f32", 1e-5), ("q8_0", 0.01), ("q4_k_m", 0.05)])
def test_bits_per_byte(folder: Path, tmp_path: Path, quantization: str, dearer: float) -> None:
    """Of the GGUF, at most so much dearer than the checkpoint's."""
    check = run_export(folder, tmp_path, quantization, check_tokens=512).report["check"]
    assert check["bits_per_byte"] < (1 + dearer) * check["checkpoint_bits_per_byte"]
    assert check["checkpoint_bits_per_byte"] < 1.3


@pytest.mark.slow
def test_token_ids_are_those_of_the_original_file(folder: Path, smollm2: Path, tmp_path: Path) -> None:
    run_export(folder, tmp_path, "bf16", check_tokens=16)
    ours, theirs = Weights(tmp_path / "output" / "model.gguf"), Weights(smollm2)
    assert ours.metadata("tokenizer.ggml.pre") == theirs.metadata("tokenizer.ggml.pre") == "smollm"
    for text in AWKWARD_STRINGS:
        assert ours.tokenize(text, special=True) == theirs.tokenize(text, special=True)
    assert ours.stops() == theirs.stops()
    assert ours.chat_template() == theirs.chat_template()
    for key in ("llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon", "llama.context_length"):
        assert ours.metadata(key) == theirs.metadata(key)
