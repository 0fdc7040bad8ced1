"""Kinds of tokenizers, samples by weight, reports, and tokenizers that are brought in or extended."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers import decoders as token_decoders

from tests.corpus.conftest import make_stage
from workbench.corpus import documents
from workbench.corpus.encoding import AWKWARD, FastEncoder, choose_encoder
from workbench.corpus.tokenizer import SPECIAL_TOKENS, load_tokenizer, token_byte_lengths
from workbench.corpus.tokenizer_report import of_sample
from workbench.corpus.tokenizer_training import Part, Sample, exact, fast_bpe, trainers_agree
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.tokenizer import ExtendTokenizerRecipe, TokenizerRecipe


def texts_of(stage, count=None):
    texts = [text for batch in documents.iterate_documents(stage.output) for text in batch.column("text").to_pylist()]
    return texts[:count]


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def some_python(tmp_path_factory, python_corpus):
    """About 300 KB of Python's documentation."""
    folder = tmp_path_factory.mktemp("some")
    source = folder / "docs.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts_of(python_corpus, 80)))
    return make_stage(folder, "import", {"sources": [str(source)]}).run()


@pytest.fixture(scope="module")
def two_corpora(tmp_path_factory):
    """Prose of one alphabet and digits, each about 300 KB."""
    root = tmp_path_factory.mktemp("two")
    for name, line in (("letters", "the old mill by the river grinds corn {}\n"), ("numbers", "{} 1961 2718 31415\n")):
        folder = root / name / "in"
        folder.mkdir(parents=True)
        for n in range(100):
            (folder / f"{n:03d}.txt").write_text("".join(line.format(n * 100 + k) for k in range(75)))
    return {
        name: make_stage(root / name, "import", {"sources": [str(root / name / "in")]}).run().output
        for name in ("letters", "numbers")
    }


def test_rustbpe_finds_the_tokens_that_tokenizers_does(python_corpus):
    texts = texts_of(python_corpus, 300)
    assert trainers_agree("qwen2", iter(texts))
    fast = fast_bpe("qwen2", 2048, SPECIAL_TOKENS, iter(texts))
    slow = exact("bpe", "qwen2", 2048, SPECIAL_TOKENS, iter(texts))
    one, other = set(fast.get_vocab()), set(slow.get_vocab())
    assert len(one) == len(other) == 2048
    assert len(one ^ other) <= 4  # of equally frequent pairs at the end, each takes others
    held = texts_of(python_corpus)[300:400]
    lengths = [sum(len(ids(tokenizer, text)) for text in held) for tokenizer in (fast, slow)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.001)


@pytest.mark.parametrize("pre_tokenizer", ["qwen2", "llama3", "gpt-2", "smollm"])
def test_every_way_of_splitting(stage, some_python, pre_tokenizer):
    from engines.llamacpp.vocabulary import pre_tokenizer_name

    made = stage("tokenizer", {"corpus": some_python.output}, vocab_size=600, pre_tokenizer=pre_tokenizer)
    tokenizer = load_tokenizer(made.output)
    for text in AWKWARD:
        assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text
    known = {"qwen2": "qwen2", "llama3": "dbrx", "gpt-2": "gpt-2", "smollm": "smollm"}
    content = json.loads((made.output / "tokenizer.json").read_text())
    assert pre_tokenizer_name(content) == known[pre_tokenizer]
    assert made.report["trainer"] == ("tokenizers" if pre_tokenizer == "smollm" else "rustbpe")
    split = [text for text, _ in tokenizer.pre_tokenizer.pre_tokenize_str("in 20261")]
    assert split[-1] == {"qwen2": "1", "llama3": "61", "gpt-2": "Ġ20261", "smollm": "1"}[pre_tokenizer]


def test_unigram(stage, some_python):
    made = stage("tokenizer", {"corpus": some_python.output}, kind="unigram", vocab_size=1500, sample_mib=1)
    assert made.warnings == [
        "llama.cpp knows no Unigram over bytes: a model with this tokenizer cannot be exported to GGUF."
    ]
    tokenizer = load_tokenizer(made.output)
    assert made.report["vocab_size"] == tokenizer.get_vocab_size() == 1500
    assert [tokenizer.id_to_token(number) for number in range(13)] == SPECIAL_TOKENS
    for text in (*AWKWARD, "日本語のテキスト ∮ 𝄞"):
        assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=False) == text
    assert made.report["bytes_per_token"] > 2.2  # single bytes would be 1
    lengths = token_byte_lengths(made.output)
    text = texts_of(some_python)[20]
    assert lengths[ids(tokenizer, text)].sum() == len(text.encode())
    shards = stage("shards", {"corpus": some_python.output, "tokenizer": made.output})
    assert shards.report["encoder"] == "tokenizers"
    assert shards.report["bytes_per_token"] == pytest.approx(made.report["bytes_per_token"], rel=0.15)


def test_weights_decide_what_the_vocabulary_is_spent_on(tmp_path, two_corpora):
    def trained(name, letters, numbers):
        root = tmp_path / name
        root.mkdir()
        recipe = {"corpus": [f"letters={letters}", f"numbers={numbers}"], "vocab_size": 512, "sample_mib": 1}
        inputs = {"corpus.0": two_corpora["letters"], "corpus.1": two_corpora["numbers"]}
        stage = make_stage(root, "tokenizer", recipe)
        object.__setattr__(stage.job, "inputs", inputs)
        return stage.run()

    much = trained("letters", 0.9, 0.1).report["trained_on"]
    assert much["letters"] == pytest.approx(
        documents.text_bytes(two_corpora["letters"]), rel=0.01
    )  # less than its share
    assert much["numbers"] == pytest.approx((1 << 20) * 0.1, rel=0.7)  # in pieces of up to 64 KiB
    sample = Sample(
        [Part(name, folder, weight) for (name, folder), weight in zip(two_corpora.items(), (1, 3), strict=True)],
        200_000,
    )
    list(sample.texts(lambda _: None))
    assert sample.taken["numbers"] / sample.taken["letters"] == pytest.approx(3, rel=0.1)


def test_extra_tokens_are_special(stage, some_python):
    made = stage("tokenizer", {"corpus": some_python.output}, vocab_size=600, extra_tokens=["<|tool|>"])
    tokenizer = load_tokenizer(made.output)
    assert tokenizer.token_to_id("<|tool|>") == len(SPECIAL_TOKENS)
    assert len(ids(tokenizer, "<|tool|>")) > 1  # a document cannot bring one in
    with pytest.raises(WorkbenchError, match="is given twice"):
        validate(TokenizerRecipe, {"corpus": "c", "extra_tokens": ["<a>", "<a>"]}).resolved()


def test_the_report_tells_sources_languages_and_tokens(stage, python_corpus, python_tokenizer, two_corpora, tmp_path):
    Tokenizer(models.BPE()).save(str(tmp_path / "empty.json"))
    byte_level = Tokenizer(models.BPE({c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.save(str(tmp_path / "tokenizer.json"))
    corpora = {"python": python_corpus.output, **two_corpora}
    report = of_sample(python_tokenizer.output, corpora, against=[tmp_path], limit=300_000)
    assert 200_000 < report["bytes"] < 400_000
    assert report["bytes"] == sum(item["bytes"] for item in report["by_source"])
    assert {item["source"].partition(":")[0] for item in report["by_source"]} == set(corpora)
    by_name = {item["source"]: item["bytes_per_token"] for item in report["by_source"]}
    assert by_name["letters: *.txt"] > by_name["numbers: *.txt"]  # it learnt no numbers
    assert report["round_trip"]["failed"] == report["unknown"] == 0
    assert len(report["longest_tokens"]) == len(report["rarest_tokens"]) == 10
    assert 0 < report["never_used"] < 2048
    (other,) = report["against"]
    assert other["bytes_per_token"] == 1
    assert other["bytes"] == report["bytes"]
    assert other["tokens_per_word"] == pytest.approx(report["tokens_per_word"] * report["bytes_per_token"], rel=0.001)
    with pytest.raises(WorkbenchError, match=r"There is no tokenizer\.json"):
        of_sample(python_tokenizer.output, two_corpora, against=[tmp_path / "nowhere"], limit=1000)


def test_a_tokenizer_from_elsewhere_gets_what_it_lacks(stage, tmp_path, some_python):
    """One like GPT-2's: a single special token that both begins and ends a text."""
    made = stage("tokenizer", {"corpus": some_python.output}, vocab_size=700, pre_tokenizer="gpt-2").output
    theirs = Tokenizer.from_file(str(made / "tokenizer.json"))
    merges = [tuple(pair) for pair in json.loads(theirs.to_str())["model"]["merges"]]
    entries = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(pair) for pair in merges]
    gpt2 = Tokenizer(models.BPE({text: n for n, text in enumerate(entries)}, merges))
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = token_decoders.ByteLevel()
    gpt2.add_special_tokens(["<|endoftext|>"])
    source = tmp_path / "gpt2"
    source.mkdir()
    gpt2.save(str(source / "tokenizer.json"))
    end = "<|endoftext|>"
    (source / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": end, "eos_token": end, "auto_map": {"x": "y"}})
    )
    (source / "model.safetensors").write_bytes(b"no part of it")

    imported = stage("import-tokenizer", source=str(source))
    assert imported.report["added"] == ["<|bos|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    config = json.loads((imported.output / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"]) == ("<|bos|>", end)
    assert "auto_map" not in config
    assert {path.name for path in imported.output.iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip
    after = load_tokenizer(imported.output)
    text = texts_of(some_python)[10] + " <|endoftext|>"
    gpt2.encode_special_tokens = True
    assert ids(after, text) == ids(gpt2, text)
    shards = stage("shards", {"corpus": some_python.output, "tokenizer": imported.output})
    assert shards.report["vocab_size"] == after.get_vocab_size() == len(entries) + 5

    recipe = {"tokens": ["<|tool|>", "naïve Ωword"], "special": False}
    extended = stage("extend-tokenizer", {"tokenizer": imported.output}, **recipe)
    longer = load_tokenizer(extended.output)
    assert extended.report["added"] == recipe["tokens"]
    assert ids(longer, "a naïve Ωword b")[1:-1] != ids(after, "a naïve Ωword b")[1:-1]
    assert longer.decode(ids(longer, "a naïve Ωword b")) == "a naïve Ωword b"
    assert token_byte_lengths(extended.output)[longer.token_to_id("naïve Ωword")] == len("naïve Ωword".encode())
    known = after.get_vocab()
    assert {text: number for text, number in longer.get_vocab().items() if text in known} == known
    marks = stage("extend-tokenizer", {"tokenizer": imported.output}, tokens=["<|tool|>", "<|pad|>"], special=True)
    assert marks.warnings == ["Already in the tokenizer, and left as before: <|pad|>."]
    assert len(ids(load_tokenizer(marks.output), "<|tool|>")) > 1
    assert isinstance(choose_encoder(imported.output, [text]), FastEncoder)
    assert choose_encoder(extended.output, [text]).name == "tokenizers"  # tiktoken would miss the words


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read"),
        ("[]", "is not a tokenizer's file"),
        ('{"model": {"type": "WordPiece", "vocab": {}}, "added_tokens": []}', "is not byte-level"),
        (None, "There is no tokenizer.json"),
    ],
)
def test_what_cannot_be_brought_in(tmp_path, content, says):
    source = tmp_path / "source"
    source.mkdir()
    if content is not None:
        (source / "tokenizer.json").write_text(content)
    stage = make_stage(tmp_path, "import-tokenizer", {"source": str(source)})
    with pytest.raises(WorkbenchError, match=says):
        stage.run()


def test_extending_by_nothing_new(tmp_path, python_tokenizer):
    recipe = {"tokens": ["<|pad|>"]}
    stage = make_stage(
        tmp_path, "extend-tokenizer", {"tokenizer": "t", **recipe}, {"tokenizer": python_tokenizer.output}
    )
    with pytest.raises(WorkbenchError, match="already"):
        stage.run()
    with pytest.raises(WorkbenchError, match="cannot be a token"):
        validate(ExtendTokenizerRecipe, {"tokenizer": "t", "tokens": [" "]}).resolved()
