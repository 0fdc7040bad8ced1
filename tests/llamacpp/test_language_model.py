"""Generating and scoring with GGUF files: SmolLM2, and small models exported here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.llamacpp import LlamaCppEngine
from engines.llamacpp.language_model import LlamaCppModel
from engines.llamacpp.sampling import TextStream
from tests.llamacpp.stages import run_export
from workbench.contract import LanguageModel, Sampling, Token
from workbench.errors import WorkbenchError

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")

GREEDY = Sampling(temperature=0, max_tokens=24)
QUESTION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture(scope="module")
def smol(smollm2: Path) -> Iterator[LlamaCppModel]:
    model = LlamaCppModel(smollm2, context_length=1024)
    yield model
    model.close()


@pytest.fixture(scope="module")
def tiny_file(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chat model in f32, whose logits hardly depend on how tokens are batched."""
    folder = tmp_path_factory.mktemp("tiny")
    run_export(make_model("qwen3"), folder, "f32")
    return folder / "output"


@pytest.fixture(scope="module")
def tiny(tiny_file: Path) -> Iterator[LlamaCppModel]:
    model = LlamaCppModel(tiny_file)
    yield model
    model.close()


def text(tokens: Iterator[Token]) -> str:
    return "".join(token.text for token in tokens)


def test_smollm2_knows_the_capital_of_france(smol: LlamaCppModel) -> None:
    """Quantised weights and a prompt of many tokens: where repacked weights kill, they were switched off."""
    assert isinstance(smol, LanguageModel)
    tokens = list(smol.generate([smol.render(QUESTION)], GREEDY))
    assert "Paris" in text(iter(tokens))
    assert [token.finish for token in tokens] == [None] * (len(tokens) - 1) + ["stop"]
    assert smol.context_length == 1024


def test_an_answer_can_be_stopped_and_the_next_is_unharmed(smol: LlamaCppModel) -> None:
    prompt = smol.render(QUESTION)
    expected = text(smol.generate([prompt], GREEDY))
    tokens = smol.generate(["Once upon a time"], Sampling(max_tokens=500, seed=1))
    for _ in range(5):
        next(tokens)
    tokens.close()
    assert text(smol.generate([prompt], GREEDY)) == expected


def test_the_next_turn_reuses_what_was_read(smol: LlamaCppModel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = smol.render(QUESTION)
    answer = text(smol.generate([prompt], GREEDY))
    turns = [*QUESTION, {"role": "assistant", "content": answer}, {"role": "user", "content": "And of Italy?"}]
    decoded: list[int] = []
    decode = smol._context.decode
    monkeypatch.setattr(smol._context, "decode", lambda *given: (decoded.extend(given[0]), decode(*given))[1])
    prompt = smol.render(turns)
    assert "Rome" in text(smol.generate([prompt], GREEDY))
    assert len(decoded) < len(smol.tokenize(prompt, special=True)) / 2 + GREEDY.max_tokens


def test_a_seed_repeats_and_none_does_not(smol: LlamaCppModel) -> None:
    hot = Sampling(temperature=1.5, top_p=1.0, top_k=0, max_tokens=16, seed=7)
    answers = [text(smol.generate(["Once upon a time"], hot)) for _ in range(2)]
    assert answers[0] == answers[1]
    free = Sampling(temperature=1.5, top_p=1.0, top_k=0, max_tokens=16)
    assert len({text(smol.generate(["Once upon a time"], free)) for _ in range(3)}) == 3


def test_several_answers_to_one_prompt_differ(smol: LlamaCppModel) -> None:
    answers: dict[int, str] = {}
    for token in smol.generate(["Once upon a time"] * 3, Sampling(temperature=1.2, max_tokens=12, seed=3)):
        answers[token.prompt] = answers.get(token.prompt, "") + token.text
    assert len(set(answers.values())) == 3


def test_many_prompts_together_answer_as_alone(tiny: LlamaCppModel) -> None:
    """More prompts than are decoded at once, of several lengths, two of them equal."""
    prompts = ["Once", "The pump", "x", "Making things is mostly waiting.", "Once", *(f"Number {n}" for n in range(9))]
    alone = [text(tiny.generate([prompt], GREEDY)) for prompt in prompts]
    together = dict.fromkeys(range(len(prompts)), "")
    finished = []
    for token in tiny.generate(prompts, GREEDY):
        together[token.prompt] += token.text
        if token.finish:
            finished.append(token.prompt)
    assert list(together.values()) == alone
    assert sorted(finished) == list(range(len(prompts)))


def test_greedy_is_what_the_checkpoint_draws(tiny: LlamaCppModel, make_model: Callable[..., Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    prompt = "The harbour lay quiet"
    ids = [0, *tiny.tokenize(prompt)]
    model = AutoModelForCausalLM.from_pretrained(make_model("qwen3"), dtype=torch.float32)
    drawn = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :].tolist()
    assert [token.id for token in tiny.generate([prompt], GREEDY)] == drawn


def test_repetition_penalty_is_transformers(tiny: LlamaCppModel, make_model: Callable[..., Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    prompt = "the the the harbour harbour lay"
    ids = [0, *tiny.tokenize(prompt)]
    model = AutoModelForCausalLM.from_pretrained(make_model("qwen3"), dtype=torch.float32)
    drawn = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, repetition_penalty=1.3)
    sampling = Sampling(temperature=0, max_tokens=24, repetition_penalty=1.3)
    assert [token.id for token in tiny.generate([prompt], sampling)] == drawn[0, len(ids) :].tolist()


def test_scores_are_the_checkpoints(tiny: LlamaCppModel, make_model: Callable[..., Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    pairs = [
        ("Making things is", " mostly waiting."),
        ("Making things is", " easy."),
        ("Making things is ", "trailing space"),
        ("", "The harbour lay quiet under a thin layer of fog"),
        *(("The pump", f" number {n} is the one that ran") for n in range(20)),  # more than sequences
    ]
    model = AutoModelForCausalLM.from_pretrained(make_model("qwen3"), dtype=torch.float32)
    scores = tiny.score(pairs)
    for (before, after), score in zip(pairs, scores, strict=True):
        whole = [0, *tiny.tokenize(before + after)]
        start = 1 + len(tiny.tokenize(before.rstrip()))
        with torch.inference_mode():
            log_p_LV = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected = sum(log_p_LV[place - 1, whole[place]].item() for place in range(start, len(whole)))
        assert score.log_likelihood == pytest.approx(expected, rel=2e-4)
        assert score.tokens == len(whole) - start
    assert len({round(score.log_likelihood, 3) for score in scores}) > 20


def test_a_quantised_score_does_not_depend_on_the_company(smol: LlamaCppModel) -> None:
    pair = ("The capital of France is", " Paris")
    alone = smol.score([pair])[0]
    crowd = smol.score([("2 + 2 =", " 4"), ("The capital of France is", " London"), pair])
    assert crowd[2] == alone
    assert alone.greedy
    assert not crowd[1].greedy
    assert alone.log_likelihood > crowd[1].log_likelihood + 2


def test_stop_texts_are_not_part_of_the_answer(smol: LlamaCppModel) -> None:
    tokens = list(smol.generate([smol.render(QUESTION)], Sampling(temperature=0, stop=("France is", "nowhere"))))
    assert text(iter(tokens)) == "The capital of "
    assert tokens[-1].finish == "stop"


def test_length_ends_an_answer(tiny: LlamaCppModel) -> None:
    tokens = list(tiny.generate(["Once"], Sampling(temperature=1.0, seed=1, max_tokens=7)))
    assert len(tokens) == 7
    assert tokens[-1].finish == "length"
    assert [token.finish for token in tiny.generate(["Once"], Sampling(max_tokens=0))] == ["length"]


def test_the_context_ends_an_answer(tiny: LlamaCppModel) -> None:
    prompt = "word " * 70
    for seed in range(20):  # until one draw meets no end token on its way
        drawn = list(tiny.generate([prompt], Sampling(temperature=1.0, seed=seed, max_tokens=10_000)))
        if drawn[-1].finish == "length":
            break
    assert drawn[-1].finish == "length"
    assert 1 + len(tiny.tokenize(prompt)) + len(drawn) == tiny.context_length


def test_a_prompt_longer_than_the_context(tiny: LlamaCppModel) -> None:
    with pytest.raises(WorkbenchError, match=r"has 602 tokens, but the model's context holds 256"):
        tiny.generate(["word " * 200], GREEDY)
    assert [score.truncated for score in tiny.score([("word " * 200, " x"), ("word", " x")])] == [True, False]


def test_control_tokens_are_never_shown(tiny: LlamaCppModel) -> None:
    tokens = list(tiny.generate(["Once"], Sampling(temperature=100.0, top_k=0, top_p=1.0, seed=2, max_tokens=200)))
    assert any(token.id is not None and 5 <= token.id < 13 for token in tokens), "no reserved token was drawn"
    assert "<|" not in text(iter(tokens))


def test_special_texts_count_in_prompts_only_where_asked(tiny: LlamaCppModel) -> None:
    assert tiny.tokenize("<|im_start|>", special=True) == [3]
    assert len(tiny.tokenize("<|im_start|>")) > 3


def test_render_is_the_template(tiny: LlamaCppModel) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    assert tiny.render(messages) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_base_model_continues_the_contents(make_model: Callable[..., Path], tmp_path: Path) -> None:
    run_export(make_model("llama", chat=False), tmp_path, "q8_0")
    model = LlamaCppEngine().load(tmp_path / "output")
    assert model.chat_template is None
    assert model.render([{"role": "user", "content": "Once "}, {"role": "assistant", "content": "upon"}]) == "Once upon"
    assert len(text(model.generate([""], Sampling(temperature=1.0, seed=1, max_tokens=20)))) > 5  # begins at BOS
    model.close()


class TestTextStream:
    def test_characters_are_never_cut(self) -> None:
        stream = TextStream(())
        pieces = [stream.push(bytes([byte])) for byte in "né 🧑‍🚀".encode()]
        assert "".join(pieces) == "né 🧑‍🚀"
        assert "\ufffd" not in "".join(pieces)

    def test_half_a_character_at_the_end_is_marked(self) -> None:
        stream = TextStream(())
        assert stream.push("é".encode()[:1]) == ""
        assert stream.push(b"", final=True) == "\ufffd"

    def test_a_stop_text_over_several_pieces(self) -> None:
        stream = TextStream(("END.", "\n\n"))
        shown = [stream.push(piece) for piece in (b"so E", b"N", b"ough E", b"ND", b". more")]
        assert "".join(shown) == "so ENough "
        assert stream.stopped
        assert stream.push(b"after") == ""

    def test_what_was_held_back_comes_at_the_end(self) -> None:
        stream = TextStream(("END",))
        assert stream.push(b"the E") == "the "
        assert stream.push(b"N", final=True) == "EN"


class TestRefusals:
    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(WorkbenchError, match="There is no file"):
            LlamaCppEngine().load(tmp_path / "none.gguf")

    def test_a_folder_without_a_gguf(self, tmp_path: Path) -> None:
        with pytest.raises(WorkbenchError, match=r"has no \.gguf file"):
            LlamaCppEngine().load(tmp_path)

    def test_not_a_gguf(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04 something else")
        with pytest.raises(WorkbenchError, match="is not a GGUF file: it begins with b'PK"):
            LlamaCppEngine().load(tmp_path)

    def test_an_empty_gguf(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").touch()
        with pytest.raises(WorkbenchError, match=r"model\.gguf is empty"):
            LlamaCppEngine().load(tmp_path)

    @pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
    def test_a_truncated_gguf(self, tiny_file: Path, tmp_path: Path, share: float) -> None:
        whole = (tiny_file / "model.gguf").read_bytes()
        (tmp_path / "model.gguf").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(WorkbenchError, match=r"llama.cpp cannot open .*: .*(corrupt|read|fail|bounds)"):
            LlamaCppEngine().load(tmp_path)

    @pytest.mark.parametrize("length", [-1, 1, 257])
    def test_a_context_that_the_model_was_not_made_for(self, tiny_file: Path, length: int) -> None:
        with pytest.raises(WorkbenchError, match="the model was made for 256"):
            LlamaCppEngine().load(tiny_file, context_length=length)


def test_llama_cpp_is_silent(tiny_file: Path) -> None:
    program = (
        "from engines.llamacpp import LlamaCppEngine; from workbench.contract import Sampling; import sys;"
        "model = LlamaCppEngine().load(__import__('pathlib').Path(sys.argv[1]));"
        "list(model.generate(['x'], Sampling(max_tokens=3))); model.close()"
    )
    done = subprocess.run([sys.executable, "-c", program, tiny_file], capture_output=True, check=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_what_is_missing_is_said_with_the_install_line(tmp_path: Path) -> None:
    """In a process that finds neither library."""
    program = (
        "import importlib.util as util, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('gguf', 'llama_cpp'): raise ModuleNotFoundError(name)\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *_: None if name in ('gguf', 'llama_cpp') else find(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pathlib import Path\n"
        "from engines.llamacpp import LlamaCppEngine\n"
        "can = LlamaCppEngine().capabilities()\n"
        "print(can.available, can.reason, can.install)\n"
        "try: LlamaCppEngine().load(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, check=True, text=True, env={**os.environ}
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("False gguf and llama-cpp-python are not installed. make gguf")
    assert "C++ compiler and cmake" in first
    assert second.startswith("WorkbenchError gguf and llama-cpp-python are not installed. Install it: make gguf")


def test_capabilities_import_nothing_heavy() -> None:
    program = (
        "import sys; from engines.llamacpp import LlamaCppEngine; print(LlamaCppEngine().capabilities().available);"
        "print([name for name in ('torch', 'numpy', 'gguf', 'llama_cpp', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == ["True", "[]"]
