"""Recipes: derived values, identity, files, settings and errors in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from workbench.errors import WorkbenchError
from workbench.recipes.base import key_paths
from workbench.recipes.estimate import estimate
from workbench.recipes.fields import nested, recipe_fields, value_at
from workbench.recipes.load import STAGES, read_recipes, recipe_from
from workbench.recipes.pretrain import PretrainRecipe

BASE = {"stage": "pretrain", "corpus": "books", "tokenizer": "bpe"}


def pretrain(**values: object) -> PretrainRecipe:
    recipe = recipe_from(BASE | nested(values)).resolved()
    assert isinstance(recipe, PretrainRecipe)
    return recipe


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_has_a_sentence_and_a_flag_of_its_own(stage: str) -> None:
    fields = recipe_fields(STAGES[stage])
    flags = [field.flag for field in fields]
    assert len(flags) == len(set(flags))
    assert all(field.description for field in fields)
    assert [field.path for field in fields] == [path for path in key_paths(STAGES[stage]) if path != "stage"]


def test_resolving_twice_changes_nothing_and_survives_the_file() -> None:
    once = pretrain(**{"model.size": "small"})
    assert once.resolved() == once
    assert recipe_from(yaml.safe_load(once.to_yaml())) == once


def test_the_size_derives_everything_and_anything_derived_can_be_set() -> None:
    small = pretrain(**{"model.size": "small"})
    assert (small.model.hidden_size, small.model.num_hidden_layers, small.model.intermediate_size) == (768, 12, 2048)
    assert small.batch.batch_size == 256
    wide = pretrain(**{"model.hidden_size": 512})
    assert (wide.model.hidden_size, wide.model.num_attention_heads) == (512, 8)
    assert all(value_at(small, field.path) is not None for field in recipe_fields(PretrainRecipe))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"batch.per_device_batch_size": 4}, (4, 4, 1)),
        ({"batch.per_device_batch_size": 4, "batch.gradient_accumulation_steps": 2}, (8, 4, 2)),
        ({"batch.batch_size": 32, "batch.per_device_batch_size": 8}, (32, 8, 4)),
        ({"batch.per_device_batch_size": 4, "launch.kind": "torchrun", "launch.processes": 2}, (8, 4, 1)),
        ({"batch.batch_size": 8, "launch.kind": "torchrun", "launch.processes": 2}, (8, 4, 1)),
    ],
)
def test_the_global_batch_is_the_product_of_its_parts(given: dict[str, object], expected: tuple[int, ...]) -> None:
    batch = pretrain(**given).batch
    assert (batch.batch_size, batch.per_device_batch_size, batch.gradient_accumulation_steps) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"corups": 1}, "Unknown key 'corups'.*Did you mean corpus"),
        ({"learning_rate": 1e-3}, "Did you mean optimizer.learning_rate"),
        ({"optimizer": {"learning_rte": 1}}, "Did you mean optimizer.learning_rate"),
        ({"model": {"size": "tinny"}}, "model.size cannot be 'tinny'. Did you mean tiny"),
        ({"schedule": {"max_steps": "many"}}, "schedule.max_steps is 'many', but should be a whole number\\.$"),
        ({"schedule": {"max_steps": 0}}, "schedule.max_steps is 0, but should be at least 1\\.$"),
        ({"schedule": {"max_steps": 1.5}}, "schedule.max_steps is 1.5, but should be a whole number"),
        ({"schedule": {"warmup_ratio": 1}}, "warmup_ratio is 1, but should be less than 1"),
        ({"optimizer": {"learning_rate": "fast"}}, "learning_rate is 'fast', but should be a number"),
        ({"model": {"tie_word_embeddings": "maybe"}}, "is 'maybe', but should be true or false"),
        ({"corpus": 3}, "corpus is 3, but should be a list"),
        ({"corpus": None}, "corpus is empty, but should be a list"),
        ({"evaluation": {"sample_prompts": "The"}}, "sample_prompts is 'The', but should be a list, as in"),
        ({"model": "tiny"}, "model is 'tiny', but should be a section with keys of its own. Its keys: size, arch"),
        ({"optimizer": {"lr": 1}}, "Did you mean optimizer.learning_rate"),
        ({"lr": 1}, "Did you mean optimizer.learning_rate"),
        ({"batch": {"bs": 1}}, "Did you mean batch.batch_size"),
        ({"epochs": 1}, "Did you mean schedule.max_steps"),
        ({"model": {"seq_len": 1}}, "Did you mean model.max_length"),
        ({"optimizer": {"zz": 1}}, "There are: optimizer.learning_rate, .*optimizer.max_grad_norm\\.$"),
        ({"zz": 1}, "There are: .*corpus, phases, tokenizer, model.…, data.…"),
        ({"optimizer": {"learning_rate": float("nan")}}, "finite"),
        ({"name": "a/b"}, "'a/b' cannot be a name"),
        ({"batch": {"batch_size": 10, "per_device_batch_size": 4}}, "batch_size 10 is not a multiple of"),
        ({"model": {"num_attention_heads": 7}}, "7 does not divide hidden_size 256.*nearest that does is 8"),
        ({"model": {"num_key_value_heads": 3}}, "3 does not divide num_attention_heads 4"),
        ({"launch": {"processes": 2}}, "launch.kind is local"),
        ({"launch": {"kind": "torchrun", "processes": 3}}, "shared evenly by 3 processes. Set it to 18"),
        ({"schedule": {"lr_scheduler_type": "wsd", "warmup_ratio": 0.5, "decay_ratio": 0.6}}, "than the whole run"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_one_sentence_with_the_remedy(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(WorkbenchError, match=sentence) as caught:
        recipe_from(BASE | given).resolved()
    assert "\n" not in str(caught.value)


def test_no_sentence_is_pydantics() -> None:
    """Every kind of error that the fields' types and bounds can give has words of our own."""
    wrong = ["x", 1.5, -1, 0, 1e300, float("inf"), 10**30, True, None, [], {}, "", [1], ["a", "b"]]
    said = []
    for stage, kind in STAGES.items():
        needed = {field.path: ["a"] if field.many else "a" for field in recipe_fields(kind) if field.required}
        for field in recipe_fields(kind):
            for value in wrong:
                try:
                    recipe_from({"stage": stage, **nested({**needed, field.path: value})})
                except WorkbenchError as error:
                    said.append(error.what)
    assert len(said) > 100
    assert not [text for text in said if re.search("valid |unable|Input|should have|instance|dictionary|string", text)]


def test_what_does_not_change_the_result_does_not_change_the_identity() -> None:
    plain = pretrain().identity()
    assert pretrain(name="other").identity() == plain
    assert pretrain(**{"launch.kind": "torchrun", "launch.processes": 2}).identity() == plain
    assert pretrain(**{"batch.batch_size": 16, "batch.per_device_batch_size": 2}).identity() == plain
    assert pretrain(**{"schedule.max_steps": 999}).identity() != plain
    assert pretrain(**{"model.hidden_size": 256}).identity() == plain  # what the size derives anyway


def test_settings_reach_into_a_recipe_and_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(BASE))
    (recipe,) = read_recipes(path, ["optimizer.learning_rate=3e-4", "precision.compile=never"])
    assert isinstance(recipe, PretrainRecipe)
    assert recipe.optimizer.learning_rate == 3e-4
    path.write_text(yaml.safe_dump([{"stage": "import", "sources": ["x"], "name": "books"}, BASE | {"name": "base"}]))
    _, recipe = read_recipes(path, ["base.schedule.max_steps=7", "import.min_characters=3"])
    assert isinstance(recipe, PretrainRecipe)
    assert recipe.schedule.max_steps == 7
    with pytest.raises(WorkbenchError, match="Did you mean base"):
        read_recipes(path, ["bse.schedule.max_steps=7"])
    path.write_text(yaml.safe_dump([{"stage": "import", "sources": ["x"], "name": "books"}, BASE | {"name": "import"}]))
    _, recipe = read_recipes(path, ["import.schedule.max_steps=7"])  # a name goes before a stage
    assert isinstance(recipe, PretrainRecipe)
    assert recipe.schedule.max_steps == 7


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stage: [1, 2", "not valid YAML at line"),
        ("", "holds no recipe"),
        ("stage: pretran\n", "Did you mean pretrain"),
        ("corpus: x\n", "does not say its stage"),
    ],
)
def test_a_broken_file_names_the_file(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(WorkbenchError, match=sentence) as caught:
        read_recipes(path)
    assert re.search("broken.yaml", caught.value.what)


def test_the_estimate_knows_gpt2s_size() -> None:
    recipe = pretrain(**{"model.size": "small", "model.architecture": "llama"})
    figures = estimate(recipe, vocab_size=50_304)
    # 12 layers of width 768 with a gated MLP, tied: 85M + 38.6M
    assert figures.parameters == pytest.approx(123.6e6, rel=0.01)
    assert figures.tokens_per_step == 256 * 1024


def test_an_export_checked_on_more_text_is_another_export() -> None:
    """A longer check that was asked for must not be skipped for a shorter one that was made."""
    some, more = (recipe_from({"stage": "export", "model": "base", "check_tokens": n}).identity() for n in (64, 128))
    assert some != more


def test_a_pretraining_names_one_corpus_or_a_mixture() -> None:
    one = pretrain(corpus="books")
    assert one.corpus == ["books"]
    assert one.title() == "books-base"
    assert one.identity() == pretrain(corpus=["books"]).identity() == pretrain(corpus="other").identity()
    assert "corpus" not in one.identity()
    assert "phases" not in one.identity()
    assert one.shards_roles() == {"shards": "books"}
    mixed = pretrain(corpus=["web=0.7", "code=0.3"], phases=[{"at": 0.9, "corpus": ["good=0.8", "web=0.2"]}])
    assert mixed.title() == "web-code-base"
    assert mixed.phases == ["0.9: good=0.8, web=0.2"]
    assert mixed.sources() == ["web", "code", "good"]
    assert mixed.shards_roles() == {"shards.0": "web", "shards.1": "code", "shards.2": "good"}
    assert [(item.role, item.name) for item in mixed.references() if item.kinds == ("corpus",)] == [
        ("corpus.0", "web"),
        ("corpus.1", "code"),
        ("corpus.2", "good"),
    ]
    renamed = pretrain(corpus=["a=0.7", "b=0.3"], phases=["0.9: c=0.8 a=0.2"])
    assert renamed.identity() == mixed.identity()  # names do not count, their artifacts do
    for other in (["0.9: good=0.7, web=0.3"], ["0.8: good=0.8, web=0.2"], ["0.9: good=0.8, code=0.2"], []):
        assert pretrain(corpus=["web=0.7", "code=0.3"], phases=other).identity() != mixed.identity()
    assert recipe_from(yaml.safe_load(mixed.to_yaml())).resolved() == mixed
    assert recipe_from(yaml.safe_load(one.to_yaml())).resolved() == one
    assert "\ncorpus: books\n" in one.to_yaml()
    with pytest.raises(WorkbenchError, match=r"The phase at 0\.5 stands behind the one at 0\.9"):
        pretrain(corpus="a", phases=["0.9: b", "0.5: c"])
    with pytest.raises(WorkbenchError, match="gives web the weight 'lots'"):
        pretrain(corpus=["web=lots"])
