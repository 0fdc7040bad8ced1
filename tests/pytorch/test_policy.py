"""Opening, adapting and saving what is trained: whole models, adapters on adapters, four bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from engines import adapters
from engines.pytorch import PyTorchEngine, folders
from engines.pytorch.footprint import weight_count
from engines.pytorch.policy import Policy, open_policy
from tests.pytorch.tuning_workspace import VOCAB_SIZE, write_model
from workbench.contract import Sampling
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import AdapterSection

CPU = torch.device("cpu")
IDS = torch.tensor([[5, 17, 33, 140, 9]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models" / "base")


def opened(folder: Path, **adapter: object) -> Policy:
    section = AdapterSection.model_validate({"lora_rank": 4, "lora_alpha": 8.0, **adapter})
    return open_policy(folder, section, seed=0, device=CPU, dtype=torch.float32)


def disturb(policy: Policy) -> None:
    """New adapters change nothing: half of their matrices are zero."""
    with torch.no_grad():
        for parameter in policy.trained():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_an_adapter_round_trip_equals_peft(base: Path, tmp_path: Path) -> None:
    policy = opened(base)
    assert torch.equal(logits(policy.model.eval()), logits(folders.open_causal_lm(base)))
    disturb(policy)
    expected = logits(policy.model)
    folder = tmp_path / "models" / "adapter"
    folder.mkdir()
    policy.save(folder)

    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../base"
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    assert torch.allclose(logits(plain), expected, atol=1e-6)
    merged = folders.open_causal_lm(folder)
    assert type(merged).__name__ == "LlamaForCausalLM"
    assert torch.allclose(logits(merged), expected, atol=1e-5)
    assert (logits(merged) - logits(folders.open_causal_lm(base))).abs().max() > 0.01


def test_an_adapter_on_an_adapter_opens(base: Path, tmp_path: Path) -> None:
    place = base
    for name in ("one", "two"):
        policy = opened(place)
        disturb(policy)
        place = tmp_path / "models" / name
        place.mkdir()
        policy.save(place)
        expected = logits(policy.model.eval())
    assert adapters.adapter_depth(place) == 2
    assert torch.allclose(logits(folders.open_causal_lm(place)), expected, atol=1e-5)


def test_the_engine_chats_with_an_adapter(base: Path, tmp_path: Path) -> None:
    policy = opened(base)
    folder = tmp_path / "models" / "adapter"
    folder.mkdir()
    policy.save(folder)
    model = PyTorchEngine().load(folder)
    assert model.chat_template is not None
    prompt = model.render([{"role": "user", "content": "The cat sees the dog."}])
    assert prompt.endswith("<|im_start|>assistant\n")
    assert len(list(model.generate([prompt], Sampling(max_tokens=3, seed=1)))) >= 1


def test_restoring_gives_the_saved_weights(base: Path, tmp_path: Path) -> None:
    for adapted in (True, False):
        policy = opened(base) if adapted else opened(base, lora_rank=None, lora_alpha=None)
        disturb(policy)
        folder = tmp_path / "models" / f"saved-{adapted}"
        folder.mkdir()
        policy.save(folder)
        other = opened(base) if adapted else opened(base, lora_rank=None, lora_alpha=None)
        other.restore(folder)
        for one, two in zip(policy.trained(), other.trained(), strict=True):
            assert torch.equal(one, two)


def test_the_reference_of_an_adapter_is_its_base(base: Path) -> None:
    policy = opened(base)
    disturb(policy)
    policy.model.eval()
    with policy.without_adapter():
        assert torch.equal(logits(policy.model), logits(folders.open_causal_lm(base)))
    assert not torch.equal(logits(policy.model), logits(folders.open_causal_lm(base)))


def test_a_target_that_matches_nothing_lists_the_layers(base: Path) -> None:
    with pytest.raises(WorkbenchError, match="No layer of the model is called query") as error:
        opened(base, target_modules=["query"])
    assert "q_proj" in error.value.remedy
    assert "down_proj" in error.value.remedy
    assert "lm_head" not in error.value.remedy


def test_chosen_targets_alone_are_trained(base: Path) -> None:
    policy = opened(base, target_modules=["q_proj", "v_proj"])
    names = {name for name, item in policy.model.named_parameters() if item.requires_grad}
    assert len(names) == 2 * 2 * 2  # matrices, projections, layers
    assert all("q_proj" in name or "v_proj" in name for name in names)


def test_a_base_in_four_bits_is_trained_in_float(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    base = write_model(tmp_path / "models" / "base", width=128)  # its CPU kernel wants multiples of 32
    policy = opened(base, quantize_base="nf4")
    kinds = {type(module).__name__ for module in policy.plain.modules()}
    assert "Linear4bit" in kinds
    assert weight_count(policy.model) == weight_count(opened(base).model)  # however they are packed
    assert all(item.dtype == torch.float32 for item in policy.trained())
    exact, coarse = logits(folders.open_causal_lm(base)), logits(policy.model.eval())
    assert 0 < (exact - coarse).abs().mean() < 0.3
    disturb(policy)
    folder = tmp_path / "models" / "qlora"
    folder.mkdir()
    policy.save(folder)
    merged = folders.open_causal_lm(folder)  # into the floating-point base
    assert all(item.dtype == torch.float32 for item in merged.parameters())


def test_missing_and_damaged_parts_are_named(base: Path, tmp_path: Path) -> None:
    policy = opened(base)
    folder = tmp_path / "models" / "adapter"
    folder.mkdir()
    policy.save(folder)
    with open(folder / "adapter_model.safetensors", "r+b") as file:
        file.truncate(500)
    with pytest.raises(WorkbenchError, match=r"adapter in .* cannot be opened"):
        folders.open_causal_lm(folder)
    shutil.rmtree(base)
    with pytest.raises(WorkbenchError, match=r"its base \.\./base is missing"):
        folders.open_causal_lm(folder)


def test_a_foreign_tokenizer_is_refused(base: Path) -> None:
    path = base / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] += [
        {"id": VOCAB_SIZE + n, "content": f"<extra{n}>", "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for n in range(3)
    ]  # fmt: skip
    path.write_text(json.dumps(content))
    with pytest.raises(WorkbenchError, match="343 tokens, and the model's embeddings 340"):
        opened(base)
