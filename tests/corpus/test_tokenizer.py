"""The tokenizer: exact both ways, the special tokens' places, and what other libraries make of its folder."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.conftest import make_stage
from workbench.corpus import documents
from workbench.corpus.documents import CorpusWriter
from workbench.corpus.encoding import AWKWARD, ExactEncoder, FastEncoder, choose_encoder
from workbench.corpus.tokenizer import load_tokenizer, new_tokenizer, token_byte_lengths
from workbench.errors import WorkbenchError

SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>", *[f"<|reserved_{n}|>" for n in range(8)]]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
]


@pytest.fixture(scope="module")
def tokenizer(python_tokenizer):
    return load_tokenizer(python_tokenizer.output)


@pytest.fixture(scope="module")
def transformers_tokenizer(python_tokenizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(python_tokenizer.output)


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_report(python_tokenizer):
    report = python_tokenizer.report
    assert report["vocab_size"] == 2048
    assert 2.8 < report["bytes_per_token"] < 4.0  # 3.2 on CPython 3.11's documentation
    assert len(report["longest_tokens"]) == 10
    assert len(report["longest_tokens"][0]) >= len(report["longest_tokens"][-1]) > 8
    assert python_tokenizer.warnings == []
    assert {path.name for path in python_tokenizer.output.iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip


def test_special_tokens_come_first(tokenizer):
    assert [tokenizer.id_to_token(number) for number in range(13)] == SPECIAL
    assert tokenizer.get_vocab_size() == 2048


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_text_reads_back_exactly(tokenizer, text):
    assert tokenizer.decode(encode(tokenizer, text), skip_special_tokens=False) == text


def test_real_text_reads_back_exactly(tokenizer, python_corpus):
    for batch in documents.iterate_documents(python_corpus.output):
        for text in batch.column("text").to_pylist()[:40]:
            assert tokenizer.decode(encode(tokenizer, text)) == text


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text(tokenizer, text):
    ids = encode(tokenizer, text)
    assert tokenizer.decode(ids) == text
    assert min(ids) >= len(SPECIAL)


def test_digits_stand_alone(tokenizer):
    assert [tokenizer.decode([number]) for number in encode(tokenizer, "x 2026")] == ["x", " ", "2", "0", "2", "6"]


def test_byte_lengths(python_tokenizer, tokenizer, python_corpus):
    lengths = token_byte_lengths(python_tokenizer.output)
    assert lengths.shape == (2048,)
    assert lengths[:13].tolist() == [0] * 13
    assert lengths[13:269].tolist() == [1] * 256
    text = documents.document_at(python_corpus.output, 100)["text"] + "".join(AWKWARD)
    assert lengths[encode(tokenizer, text)].sum() == len(text.encode())


def test_byte_lengths_of_another_kind(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, "a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(WorkbenchError, match="is not a byte-level tokenizer"):
        token_byte_lengths(tmp_path)


def test_transformers_agrees(transformers_tokenizer, tokenizer):
    tok = transformers_tokenizer
    assert (tok.bos_token_id, tok.eos_token_id, tok.pad_token_id, len(tok)) == (0, 1, 2, 2048)
    text = "Return the  list;\n\n\tcafé 👩‍👩‍👧 don't 123 ."
    assert tok(text).input_ids == [0, *encode(tokenizer, text)]
    assert tok(text, add_special_tokens=False).input_ids == encode(tokenizer, text)
    assert tok.decode(tok(text).input_ids, skip_special_tokens=True) == text
    assert tok("a", "b").input_ids == [0, *encode(tokenizer, "a"), 0, *encode(tokenizer, "b")]


def test_special_tokens_in_prompts_count(transformers_tokenizer):
    assert transformers_tokenizer("<|im_start|>", add_special_tokens=False).input_ids == [3]


def test_saving_again_changes_nothing(transformers_tokenizer, python_tokenizer, tmp_path):
    transformers_tokenizer.save_pretrained(tmp_path)
    ours, theirs = (json.loads((at / "tokenizer.json").read_text()) for at in (python_tokenizer.output, tmp_path))
    assert theirs == ours
    template = "chat_template.jinja"
    assert (tmp_path / template).read_text() == (python_tokenizer.output / template).read_text()


def test_chat_template(transformers_tokenizer):
    def render(messages, **options):
        return transformers_tokenizer.apply_chat_template(messages, tokenize=False, **options)

    start = "<|bos|><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>"
    assert render(CHAT[:2], add_generation_prompt=True) == start + "\n<|im_start|>assistant\n"
    # The answer is what was asked for and nothing after its end: no newline trails.
    assert render(CHAT) == start + "\n<|im_start|>assistant\nHello<|im_end|>"
    hostile = render([{"role": "user", "content": "{{ 1 + 1 }} {% if %}"}])
    assert hostile == "<|bos|><|im_start|>user\n{{ 1 + 1 }} {% if %}<|im_end|>"


def test_chat_template_marks_the_assistant(transformers_tokenizer):
    tok = transformers_tokenizer
    turn = tok.apply_chat_template(CHAT, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = np.array(turn["input_ids"]), np.array(turn["assistant_masks"], bool)
    assert tok.decode(ids[mask]) == "Hello<|im_end|>"
    assert (ids == 0).sum() == 1


def test_training_is_reproducible(python_corpus, python_tokenizer, tmp_path):
    again = make_stage(
        tmp_path, "tokenizer", {"corpus": "p", "vocab_size": 2048}, {"corpus": python_corpus.output}
    ).run()
    name = "tokenizer.json"
    assert (again.output / name).read_bytes() == (python_tokenizer.output / name).read_bytes()


def test_a_sample_is_enough(stage, tmp_path):
    with CorpusWriter(tmp_path) as writer:
        for n in range(400):
            writer.add(f"{n} " + " ".join(f"word{(n * k) % 977}" for k in range(2000)), "x")
    made = stage("tokenizer", {"corpus": tmp_path}, vocab_size=600, sample_mib=1)
    assert 1 << 20 <= made.report["trained_on_bytes"] < (1 << 20) + (1 << 17)
    assert documents.text_bytes(tmp_path) > 4 << 20


def test_a_corpus_too_small_for_the_vocabulary(stage, tmp_path):
    with CorpusWriter(tmp_path) as writer:
        writer.add("to be or not to be, that is the question; " * 3, "x")
    made = stage("tokenizer", {"corpus": tmp_path}, vocab_size=4096)
    size = made.report["vocab_size"]
    assert 269 < size < 350
    assert made.warnings == [
        f"The corpus has text for {size} of the 4,096 tokens asked for; the vocabulary is smaller than that."
    ]
    assert load_tokenizer(made.output).get_vocab_size() == size
    assert len(token_byte_lengths(made.output)) == size


@pytest.mark.parametrize("content", [None, "", "{}", '{"model": 1}'])
def test_no_tokenizer(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(WorkbenchError, match="holds no tokenizer" if content is None else "cannot be read"):
        load_tokenizer(tmp_path)


# ------------------------------------------------------------------ the fast encoder


@pytest.fixture(scope="module")
def fast(python_tokenizer):
    pytest.importorskip("tiktoken")
    encoder = choose_encoder(python_tokenizer.output, [])
    assert isinstance(encoder, FastEncoder)
    return encoder


def test_fast_encoder_agrees(fast, python_corpus, tokenizer):
    compared = 0
    for batch in documents.iterate_documents(python_corpus.output):
        for text in batch.column("text").to_pylist()[::3]:
            assert fast.encode([text])[0].tolist() == encode(tokenizer, text)
            compared += 1
    assert compared > 100


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_fast_encoder_agrees_on_any_text(fast, tokenizer, text):
    assert fast.encode([text])[0].tolist() == encode(tokenizer, text)


def test_disagreement_falls_back(tmp_path):
    """ "abc" comes of a + bc alone, but in tiktoken of ab + c too: where ab is merged first, they differ."""
    pytest.importorskip("tiktoken")
    from tokenizers import models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate([*SPECIAL, *alphabet, "ab", "bc", "abc"])}
    tokenizer = new_tokenizer()
    tokenizer.model = models.BPE(vocabulary, [("a", "b"), ("b", "c"), ("a", "bc")])
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert isinstance(choose_encoder(tmp_path, ["abba"]), FastEncoder)
    encoder = choose_encoder(tmp_path, ["abba", "xabc"])
    assert isinstance(encoder, ExactEncoder)
    assert [tokenizer.id_to_token(number) for number in encoder.encode(["abc"])[0]] == ["ab", "c"]
    assert encoder.encode(["abc"])[0].dtype == np.uint32
