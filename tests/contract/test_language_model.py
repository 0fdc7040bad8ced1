"""What `workbench.contract.LanguageModel` promises, of every engine's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from workbench.contract import Sampling, ScoresTexts, TellsDistributions, TellsProbabilities, Token
from workbench.errors import WorkbenchError

PROMPT = "The value of the object"


def tokens(model: Any, prompt: str, **sampling: Any) -> list[Token]:
    return list(model.generate([prompt], Sampling(**{"temperature": 0, "max_tokens": 12} | sampling)))


def text(model: Any, prompt: str, **sampling: Any) -> str:
    return "".join(token.text for token in tokens(model, prompt, **sampling))


def test_a_base_model_says_so_and_continues_what_was_said(model: Any) -> None:
    assert model.context_length == 64
    assert model.chat_template is None
    assert model.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]).split() in (
        ["a", "b"],
        ["ab"],
    )


def test_special_tokens_are_such_only_where_they_are_asked_for(model: Any) -> None:
    assert model.tokenize("<|eos|>", special=True) == [1]
    assert 1 not in model.tokenize("<|eos|>")
    assert 0 not in model.tokenize("a")  # BOS is no part of a text


def test_bos_is_added_once(model: Any) -> None:
    assert text(model, f"<|bos|>{PROMPT}") == text(model, PROMPT)


def test_an_answer_ends_where_it_has_to(model: Any) -> None:
    answer = tokens(model, PROMPT, max_tokens=5)
    assert len([token for token in answer if token.id is not None]) == 5
    assert [token.finish for token in answer[:-1]] == [None] * (len(answer) - 1)
    assert answer[-1].finish == "length"
    # No more than the context holds.
    written = [token for token in tokens(model, PROMPT, max_tokens=500) if token.id is not None]
    assert len(written) <= 64 - len(model.tokenize(PROMPT))


def test_greedy_answers_are_the_same_again_and_after_others(model: Any) -> None:
    first = text(model, PROMPT)
    text(model, "import")
    assert text(model, PROMPT) == first
    assert text(model, PROMPT + first[:3]) is not None
    assert text(model, PROMPT) == first


def test_a_seed_repeats_and_another_differs(model: Any) -> None:
    wild = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 16}
    assert text(model, PROMPT, seed=7, **wild) == text(model, PROMPT, seed=7, **wild)
    assert len({text(model, PROMPT, seed=seed, **wild) for seed in range(4)}) == 4


def test_a_cut_to_one_token_is_greedy(model: Any) -> None:
    assert text(model, PROMPT, temperature=1.0, top_k=1, seed=3) == text(model, PROMPT)
    assert text(model, PROMPT, temperature=1.0, top_k=0, top_p=1e-6, seed=3) == text(model, PROMPT)
    assert text(model, PROMPT, temperature=1.0, top_k=0, min_p=0.999999, top_p=1.0, seed=3) == text(model, PROMPT)


def test_a_repetition_penalty_forbids_what_was_said(model: Any) -> None:
    ids = [token.id for token in tokens(model, PROMPT, repetition_penalty=1e6, max_tokens=10)]
    said = [number for number in ids if number is not None]
    assert len(set(said)) == len(said)


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(model: Any) -> None:
    whole = text(model, PROMPT)
    stop = whole[3:6]
    answer = tokens(model, PROMPT, stop=(stop,))
    assert "".join(token.text for token in answer) == whole[: whole.index(stop)]
    assert answer[-1].finish == "stop"


def test_pieces_are_whole_characters(model: Any) -> None:
    for token in tokens(model, "é", temperature=5.0, top_k=0, top_p=1.0, max_tokens=40, seed=3):
        assert token.text.encode().decode() == token.text


def test_several_prompts_are_each_answered_as_alone(model: Any) -> None:
    prompts = [PROMPT, "import", "x = 1\n" * 5]
    together: dict[int, str] = {0: "", 1: "", 2: ""}
    finished = []
    for token in model.generate(prompts, Sampling(temperature=0, max_tokens=8)):
        together[token.prompt] += token.text
        finished += [token.prompt] if token.finish else []
    assert sorted(finished) == [0, 1, 2]
    assert list(together.values()) == [text(model, prompt, max_tokens=8) for prompt in prompts]


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_written(model: Any) -> None:
    with pytest.raises(WorkbenchError, match="context"):
        next(iter(model.generate([PROMPT, "word " * 100], Sampling(temperature=0))))


def test_closing_the_iterator_ends_the_work(model: Any) -> None:
    whole = text(model, PROMPT)
    iterator = model.generate([PROMPT], Sampling(temperature=0, max_tokens=30))
    next(iterator)
    iterator.close()
    assert list(iterator) == []
    assert text(model, PROMPT) == whole


def test_scores(model: Any) -> None:
    pairs = [(PROMPT, " is"), (PROMPT, " was there"), ("import", " a"), ("", "class")]
    scores = model.score(pairs)
    for (_, continuation), score in zip(pairs, scores, strict=True):
        assert score.log_likelihood < 0
        assert score.tokens == len(model.tokenize(continuation))
        assert not score.truncated
    for one, other in zip(model.score(pairs[::-1])[::-1], scores, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)
    assert model.score(pairs) == scores


def test_what_it_would_write_is_greedy(model: Any) -> None:
    found = 0
    for prompt in (PROMPT, "import", "x = 1\n" * 5, "class", "def"):
        first = tokens(model, prompt, max_tokens=1)[0]
        if model.tokenize(prompt + first.text) != [*model.tokenize(prompt), first.id]:
            continue  # as text it is put into other tokens
        likeliest, other = model.score([(prompt, first.text), (prompt, "zq")])
        assert likeliest.greedy
        assert likeliest.log_likelihood > other.log_likelihood
        assert not other.greedy
        found += 1
    assert found


def test_the_beginning_of_a_pair_that_is_too_long_is_left_out(model: Any) -> None:
    [score] = model.score([("word " * 100, "end")])
    assert score.truncated
    assert score.log_likelihood < 0
    with pytest.raises(WorkbenchError, match="no tokens"):
        model.score([("a", "")])


def test_whole_texts(model: Any) -> None:
    if not isinstance(model, ScoresTexts):
        pytest.skip("it does not score texts")
    short, long = PROMPT, "The value of the object. " * 15
    scores = model.score_texts([short, long])
    assert scores[0].tokens in (len(model.tokenize(short)), len(model.tokenize(short)) + 1)  # BOS, if it adds it
    assert scores[1].tokens > model.context_length  # in windows that score each token once
    assert scores[1].log_likelihood < scores[0].log_likelihood < 0


def test_probabilities(model: Any) -> None:
    if not isinstance(model, TellsProbabilities):
        pytest.skip("it does not tell probabilities")
    found = model.probabilities(PROMPT, " is here", top=4)
    assert [item.id for item in found] == model.tokenize(" is here")
    assert "".join(item.text for item in found) == " is here"
    for item in found:
        values = [value for _, value in item.alternatives]
        assert len(values) == 4
        assert all(one >= other for one, other in pairwise(values))
        assert item.log_probability <= values[0] <= 0
    [score] = model.score([(PROMPT, " is here")])
    assert sum(item.log_probability for item in found) == pytest.approx(score.log_likelihood, abs=1e-2)
    with pytest.raises(WorkbenchError, match="context"):
        model.probabilities(PROMPT, "word " * 100)


def test_distributions(model: Any) -> None:
    if not isinstance(model, TellsDistributions):
        pytest.skip("it does not tell distributions")
    import numpy as np

    ids = model.tokenize(PROMPT)
    pieces = list(model.distributions(ids, 3))
    assert all(piece.dtype == np.float32 and len(piece) <= 3 for piece in pieces)
    logits = np.concatenate(pieces).astype(np.float64)
    assert len(logits) == len(ids)
    own = logits[range(len(ids)), ids] - np.log(np.exp(logits).sum(-1))
    [score] = model.score([("", PROMPT)])
    assert own.sum() == pytest.approx(score.log_likelihood, abs=2e-2)
    with pytest.raises(WorkbenchError, match="context"):
        list(model.distributions(ids * 20, 3))
