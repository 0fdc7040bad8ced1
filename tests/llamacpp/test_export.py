"""Exports of small models: what is written, what is checked, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from engines.export_check import CheckFailed
from engines.llamacpp import LlamaCppEngine, export
from engines.llamacpp.architectures import Architecture
from engines.llamacpp.checkpoint import Checkpoint
from engines.llamacpp.vocabulary import Vocabulary, read_vocabulary
from tests.llamacpp.conftest import write_model
from tests.llamacpp.stages import Recorder, export_job, run_export
from workbench.contract import Failed, Finished, Progress, Stopped, parse_event
from workbench.errors import WorkbenchError

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_f32_logits_are_the_checkpoints(
    make_model: Callable[..., Path], tmp_path: Path, architecture: str, tied: bool
) -> None:
    report = run_export(make_model(architecture, tie_word_embeddings=tied), tmp_path, "f32").report
    check = report["check"]
    assert check["largest_logit_difference"] < 1e-3
    assert check["top1_agreement"] == 1.0
    assert check["uniform_kl"] > 0.3, "the model says too little for the comparison to mean something"
    assert check["bits_per_byte"] == pytest.approx(check["checkpoint_bits_per_byte"], rel=1e-5)
    assert check["strings"] > 200
    assert check["chat_template"] == "same"
    assert check["stop_tokens"] == ["<|im_end|>"]
    assert report["tensor_types"].keys() == {"F32"}
    assert json.loads((tmp_path / "output" / "check.json").read_text()) == report


def test_what_llama_models_may_also_have(make_model: Callable[..., Path], tmp_path: Path) -> None:
    """Biases (permuted with their weights), heads narrower than width ÷ heads, Llama 3.1's stretched rope."""
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    model = make_model("llama", attention_bias=True, mlp_bias=True, head_dim=32, rope_parameters=rope)
    assert run_export(model, tmp_path, "f32", check_tokens=240).report["check"]["largest_logit_difference"] < 1e-3


# The most that the mean KL was over three architectures and several seeds, doubled.
@pytest.mark.parametrize(
    ("quantization", "types", "largest_kl"),
    [
        ("f16", {"F16"}, 1e-5),
        pytest.param("bf16", {"BF16"}, 5e-4, marks=pytest.mark.slow),
        ("q8_0", {"Q8_0"}, 4e-3),
        pytest.param("q6_k", {"Q6_K"}, 0.03, marks=pytest.mark.slow),
        pytest.param("q5_k_m", {"Q5_K", "Q6_K"}, 0.08, marks=pytest.mark.slow),
        ("q4_k_m", {"Q4_K", "Q6_K"}, 0.25),
        ("q4_0", {"Q4_0", "Q6_K"}, 0.35),
    ],
)
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_every_type_comes_out_as_meant(
    make_model: Callable[..., Path],
    tmp_path: Path,
    architecture: str,
    quantization: str,
    types: set[str],
    largest_kl: float,
) -> None:
    recorder = run_export(make_model(architecture), tmp_path, quantization)
    report = recorder.report
    assert report["tensor_types"].keys() == types | {"F32"}  # norms stay as they are
    assert report["fallbacks"] == {}
    assert 0 < report["check"]["mean_kl"] < largest_kl
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["check.json", "model.gguf"]
    phases = [event.phase for event in recorder.events if isinstance(event, Progress)]
    expected = ["write", "check"] if quantization in ("f16", "bf16") else ["write", "check", "quantise", "check"]
    assert [phase for place, phase in enumerate(phases) if phases[place - 1 : place] != [phase]] == expected


@pytest.mark.parametrize("width", [96, 80])
def test_widths_that_do_not_divide_fall_back_and_are_named(tmp_path: Path, width: int) -> None:
    model = write_model(tmp_path / "m", "llama", hidden_size=width, intermediate_size=160, head_dim=16)
    recorder = run_export(model, tmp_path, "q4_k_m")
    fallen = recorder.report["fallbacks"]
    # 96 divides into blocks of 32 but not of 256; 80 into neither
    assert fallen["blk.0.attn_q.weight"] == ("Q5_0" if width == 96 else "F16")
    assert len(fallen) == sum(recorder.report["tensor_types"].values()) - recorder.report["tensor_types"]["F32"]
    counts = Counter(kind.lower() for kind in fallen.values())
    (warning,) = (text for text in recorder.warnings if "cannot be q4_k_m" in text)
    assert all(f"{count} as {kind}" in warning for kind, count in counts.items())
    assert len(warning) < 200  # a model of a hundred layers too


def test_bf16_checkpoints_are_quantised_from_bf16(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "qwen3", dtype="bfloat16")
    assert run_export(model, tmp_path, "q8_0").report["check"]["mean_kl"] < 0.01


@pytest.mark.parametrize("pre", ["gpt-2", "smollm"])
def test_other_ways_to_split_text(tmp_path: Path, pre: str) -> None:
    from engines.llamacpp.libraries import gguf

    run_export(write_model(tmp_path / "m", "llama", pre=pre), tmp_path, "f16")
    fields = gguf().GGUFReader(tmp_path / "output" / "model.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == pre
    assert fields["general.name"].contents() == "tiny-export"
    assert fields["workbench.model"].contents() == "tiny"


def test_a_base_model_has_no_template_and_ends_at_eos(tmp_path: Path) -> None:
    check = run_export(write_model(tmp_path / "m", chat=False), tmp_path, "q8_0").report["check"]
    assert check["chat_template"] == "none"
    assert check["stop_tokens"] == ["<|eos|>"]
    assert check["further_stop_tokens"] == ["<|im_end|>"]


def test_held_out_text_of_the_model_is_used(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", chat=False)
    text = "A pump that sounds even is a good pump.\n" * 40
    (model / "held_out.txt").write_text(text)
    check = run_export(model, tmp_path, "f32", check_tokens=300).report["check"]
    assert check["text"] == "held_out.txt"
    assert check["tokens"] == 300  # in windows: the model's context is 256


def test_the_engine_process_from_anywhere(make_model: Callable[..., Path], tmp_path: Path) -> None:
    job = export_job(make_model("qwen3"), tmp_path, "q4_0")
    (job.output / "left-over.gguf").write_bytes(b"of an earlier attempt")
    job.write(tmp_path / "job.json")
    command = LlamaCppEngine().command(job, tmp_path / "job.json")
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "llama_" not in done.stderr, "llama.cpp's own log lines"
    events = [parse_event(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert isinstance(events[-1], Finished)
    assert sorted(path.name for path in job.output.iterdir()) == ["check.json", "model.gguf"]


@pytest.mark.parametrize("events", [2, 4])
def test_a_stop_ends_it(make_model: Callable[..., Path], tmp_path: Path, events: int) -> None:
    recorder = Recorder(stop_after=events)
    LlamaCppEngine().run(export_job(make_model("qwen3"), tmp_path, "q8_0"), recorder)
    assert isinstance(recorder.events[-1], Stopped)
    assert len(recorder.events) <= events + 2


def edit(path: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


class TestRefusals:
    """Each wrong folder gets its sentence."""

    @pytest.fixture
    def model(self, make_model: Callable[..., Path], tmp_path: Path) -> Path:
        return Path(shutil.copytree(make_model("llama"), tmp_path / "broken"))

    def refused(self, model: Path, tmp_path: Path) -> WorkbenchError:
        with pytest.raises(WorkbenchError) as caught:
            run_export(model, tmp_path / "run", "f16")
        assert caught.value.remedy
        return caught.value

    def test_truncated_weights(self, model: Path, tmp_path: Path) -> None:
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        assert "not a whole safetensors file" in self.refused(model, tmp_path).what

    def test_weights_that_are_not_safetensors(self, model: Path, tmp_path: Path) -> None:
        (model / "model.safetensors").write_bytes(b"not weights")
        assert "not a whole safetensors file" in self.refused(model, tmp_path).what

    def test_no_tokenizer(self, model: Path, tmp_path: Path) -> None:
        (model / "tokenizer.json").unlink()
        assert "has no tokenizer.json" in self.refused(model, tmp_path).what

    def test_no_weights(self, model: Path, tmp_path: Path) -> None:
        (model / "model.safetensors").unlink()
        assert "has no model.safetensors" in self.refused(model, tmp_path).what

    def test_broken_configuration(self, model: Path, tmp_path: Path) -> None:
        (model / "config.json").write_text('{"model_type": "lla')
        assert "not valid JSON" in self.refused(model, tmp_path).what

    def test_unknown_architecture(self, model: Path, tmp_path: Path) -> None:
        edit(model / "config.json", lambda plain: plain.update(model_type="gpt_neox"))
        assert "'gpt_neox'" in self.refused(model, tmp_path).what

    def test_missing_layer(self, model: Path, tmp_path: Path) -> None:
        edit(model / "config.json", lambda plain: plain.update(num_hidden_layers=3))
        assert "lacks 9 tensors, such as model.layers.2." in self.refused(model, tmp_path).what

    def test_weights_that_are_not_finite(self, model: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(model / "model.safetensors")
        tensors["model.layers.0.mlp.up_proj.weight"][3, 4] = 1e6  # too large for float16
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
        assert "not finite in f16" in self.refused(model, tmp_path).what

    def test_a_way_to_split_text_without_a_name(self, tmp_path: Path) -> None:
        model = write_model(tmp_path / "m", "llama", pre="unknown")
        error = self.refused(model, tmp_path)
        assert "no name for the tokenizer's way" in error.what
        assert "qwen2" in error.remedy

    def test_merges_inside_whole_words_tell_llama_3_apart(self, tmp_path: Path) -> None:
        from engines.llamacpp.vocabulary import pre_tokenizer_name
        from tests.llamacpp.conftest import train_tokenizer

        train_tokenizer(tmp_path, pre="llama-3")
        tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
        assert pre_tokenizer_name(tokenizer) == "dbrx"
        tokenizer["model"]["ignore_merges"] = True
        assert pre_tokenizer_name(tokenizer) == "llama-bpe"

    def test_a_disk_that_is_too_small(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        assert "GiB are free" in self.refused(model, tmp_path).what

    def test_a_memory_that_is_too_small(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = psutil.virtual_memory()._replace(available=1_000_000)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        assert "GiB of memory are free" in self.refused(model, tmp_path).what


class TestChecks:
    """What a conversion could get wrong is found by the comparison with the checkpoint."""

    def failed(self, model: Path, tmp_path: Path, quantization: str = "q4_0") -> str:
        with pytest.raises(CheckFailed) as caught:
            run_export(model, tmp_path / "run", quantization)
        return caught.value.what

    def test_token_ids(self, make_model: Callable[..., Path], tmp_path: Path) -> None:
        """Whole-word special tokens: llama.cpp has no such rule, and would find the token inside words."""
        model = Path(shutil.copytree(make_model("llama"), tmp_path / "broken"))
        edit(model / "tokenizer.json", lambda plain: [item.update(single_word=True) for item in plain["added_tokens"]])
        what = self.failed(model, tmp_path)
        assert "token ids differ" in what
        assert "a<|bos|>b" in what

    def test_queries_and_keys_in_the_wrong_order(
        self, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Architecture, "arrange", lambda self, name, tensor: tensor)
        assert "its logits in f32 are not the checkpoint's" in self.failed(make_model("llama"), tmp_path)

    def test_one_percent_on_one_matrix(
        self, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrange = Architecture.arrange
        monkeypatch.setattr(
            Architecture,
            "arrange",
            lambda self, name, tensor: arrange(self, name, tensor) * (1.01 if "1.mlp.down_proj" in name else 1),
        )
        assert "its logits in f32 are not the checkpoint's" in self.failed(make_model("qwen3"), tmp_path)

    def test_another_rope_base(
        self, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = Architecture.of
        wrong = lambda config: right({**config, "rope_parameters": {"rope_theta": 9_000.0}})  # noqa: E731
        monkeypatch.setattr(export.Architecture, "of", wrong)
        assert "its logits in f16 are not the checkpoint's" in self.failed(make_model("qwen2"), tmp_path, "f16")

    def test_a_quantiser_that_breaks_the_weights(
        self, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The quantised file is another model's: the second comparison sees it."""
        other = make_model("qwen3", seed=5)
        run_export(other, tmp_path / "other", "q8_0")

        def wrong(source: Path, target: Path, *_: object, **__: object) -> None:
            shutil.copy(tmp_path / "other" / "output" / "model.gguf", target)

        monkeypatch.setattr(export, "quantize", wrong)
        assert "its logits in q8_0 are not the checkpoint's" in self.failed(make_model("qwen3"), tmp_path, "q8_0")

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda right: {"merges": right.merges[::-1]}, "token ids differ"),
            (lambda right: {"pre": "gpt-2"}, "token ids differ"),
            (lambda right: {"types": [1] * len(right.types)}, "token ids differ"),
            (lambda right: {"chat_template": "{{ messages }}"}, "its chat template is not the checkpoint's"),
            (lambda right: {"stops": [4, 9]}, "does not stop at <|reserved_4|>"),
            (lambda right: {"add_bos": False}, "begins with BOS"),
        ],
    )
    def test_a_vocabulary_written_wrongly(
        self,
        make_model: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        change: Callable[[Vocabulary], dict[str, Any]],
        complaint: str,
    ) -> None:
        def wrong(checkpoint: Checkpoint, size: int) -> Vocabulary:
            right = read_vocabulary(checkpoint, size)
            return dataclasses.replace(right, **change(right))

        monkeypatch.setattr(export, "read_vocabulary", wrong)
        assert complaint in self.failed(make_model("qwen3"), tmp_path, "f16")


def test_a_failure_is_an_event(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    job = export_job(folder, tmp_path, "q8_0")
    job.write(tmp_path / "job.json")
    command = LlamaCppEngine().command(job, tmp_path / "job.json")
    assert subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 1
    last = parse_event((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert isinstance(last, Failed)
    assert "has no config.json" in last.reason
