"""Continuations: held against transformers' own, against each row alone, and watched as they come."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.language.encode import encode
from steerwright.steering.algebra import Edit
from steerwright.steering.language.generate import Completion, Sampling, complete
from steerwright.steering.operators import Replace

PROMPTS = ["Tell me about the lake.", "The old house?", "Tell me about the market by the lake, and the boat."]
SEEDS = [4, 5, 6]
GREEDY = Sampling(max_new_tokens=12, temperature=0)
SAMPLED = Sampling(max_new_tokens=12, temperature=1.0)


def test_greedy_is_what_generate_of_transformers_writes(language: Callable[[str], Any], language_shape: str) -> None:
    model = language(language_shape)
    for prompt, found in zip(PROMPTS, complete(model, PROMPTS, SEEDS, GREEDY), strict=True):
        ids = encode(model, [prompt]).ids
        expected = model.model.generate(
            ids, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(ids), pad_token_id=0
        )[0, ids.shape[1] :].tolist()
        written = [*found.tokens, found.end] if found.ended else list(found.tokens)
        assert written == expected
        assert found.prompt_tokens == tuple(ids[0].tolist())
        assert found.text == model.tokenizer.decode(found.tokens, skip_special_tokens=True)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_row_does_not_depend_on_its_batch(
    language: Callable[[str], Any], language_shape: str, sampling: Sampling
) -> None:
    model = language(language_shape)
    together = complete(model, PROMPTS, SEEDS, sampling)
    alone = [complete(model, [prompt], [seed], sampling)[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    assert together == alone
    assert complete(model, PROMPTS, SEEDS, sampling, batch_size=2) == alone


def test_a_seed_is_its_text_and_another_seed_another(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    same = complete(model, [PROMPTS[0]] * 3, [1, 1, 2], SAMPLED)
    assert same[0].tokens == same[1].tokens != same[2].tokens
    greedy = complete(model, [PROMPTS[0]] * 2, [1, 2], GREEDY)
    assert greedy[0].tokens == greedy[1].tokens


def test_the_global_random_state_is_neither_used_nor_moved(language: Callable[[str], Any]) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = complete(language("llama"), PROMPTS, SEEDS, SAMPLED)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert complete(language("llama"), PROMPTS, SEEDS, SAMPLED) == first


@pytest.fixture
def ending(language: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Completion]:
    """A model for which the fifth token that it writes greedily is an end token, and what it wrote before it was."""
    model = language("mistral")
    before = complete(model, [PROMPTS[0]], [0], GREEDY)[0]
    assert len(before.tokens) == 12
    end = before.tokens[4]
    assert end not in before.tokens[:4]
    monkeypatch.setattr(model.model.generation_config, "eos_token_id", [2, end])
    return model, before


def test_a_text_ends_with_an_end_token_that_is_not_part_of_it(ending: tuple[Any, Completion]) -> None:
    model, before = ending
    both = complete(model, [PROMPTS[0], PROMPTS[1]], [0, 1], GREEDY)
    assert both[0].ended
    assert (both[0].tokens, both[0].end) == (before.tokens[:4], before.tokens[4])
    assert not before.ended and before.end is None


def test_tokens_are_handed_on_as_they_come_but_for_end_tokens(ending: tuple[Any, Completion]) -> None:
    model, _ = ending
    came: list[tuple[int, int]] = []
    found = complete(
        model, PROMPTS, SEEDS, GREEDY, on_tokens=lambda row, token: came.append((row, token)), batch_size=2
    )
    for row, one in enumerate(found):
        assert tuple(token for of, token in came if of == row) == one.tokens
    # Rows of a batch grow together: every row's n-th token before any row's next.
    assert [row for row, _ in came[:6]] == [0, 1] * 3


def test_it_can_be_stopped_and_gives_what_there_is(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    whole = complete(model, PROMPTS, SEEDS, SAMPLED)
    came: list[int] = []

    def after_three() -> bool:
        return len(came) >= 3

    cut = complete(
        model, PROMPTS, SEEDS, SAMPLED, batch_size=1, should_stop=after_three,
        on_tokens=lambda row, token: came.append(token),
    )  # fmt: skip
    assert [one.tokens for one in cut] == [whole[0].tokens[:3], (), ()]
    assert [one.prompt for one in cut] == PROMPTS
    assert not any(one.ended for one in cut)
    assert complete(model, PROMPTS, SEEDS, SAMPLED) == whole, "nothing stays behind"


def test_each_prompt_says_where_its_own_words_are(language: Callable[[str], Any], language_shape: str) -> None:
    model = language(language_shape)
    for one in complete(model, PROMPTS, SEEDS, Sampling(max_new_tokens=1)):
        assert model.tokenizer.decode(one.prompt_tokens[slice(*one.content)]).strip() == one.prompt


def test_seeds_of_numpy_and_torch_are_seeds_and_other_things_are_not(language: Callable[[str], Any]) -> None:
    model = language("gpt2")
    wanted = complete(model, ["a", "b"], [3, 4], SAMPLED)
    for seeds in (np.array([3, 4]), torch.tensor([3, 4])):
        assert complete(model, ["a", "b"], seeds, SAMPLED) == wanted  # type: ignore[arg-type]
    assert complete(model, "a", 3, SAMPLED) == complete(model, ["a"], [3], SAMPLED)  # type: ignore[arg-type]
    for seeds in ([True], [-1], [0.5], [None]):
        with pytest.raises(UserError, match="a seed is a whole number"):
            complete(model, ["a"], seeds, SAMPLED)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="batch_size 0"):
        complete(model, ["a"], [1], SAMPLED, batch_size=0)


def test_no_prompts_are_no_completions(language: Callable[[str], Any]) -> None:
    assert complete(language("gpt2"), [], [], GREEDY) == []


def test_mistakes_are_said_before_anything_is_written(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    came: list[int] = []
    for prompts, sampling, message in (
        ([*PROMPTS, ""], GREEDY, "prompt number 4 is empty"),
        (PROMPTS, Sampling(max_new_tokens=120), "120 new ones exceed the 128"),
        (["x", "lake " * 200], GREEDY, "reads 128 at most"),
    ):
        with pytest.raises(UserError, match=message):
            complete(
                model, prompts, range(len(prompts)), sampling, batch_size=1,
                on_tokens=lambda row, token: came.append(token),
            )  # fmt: skip
    assert not came
    with pytest.raises(ValueError, match="1 prompts but 2 seeds"):
        complete(model, ["a"], [1, 2], GREEDY)


def test_a_model_that_computes_nan_is_a_message(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    broken = Edit(model.hookpoints[2], Replace(torch.full((32,), torch.nan)), 1.0, tokens="last")
    with pytest.raises(UserError, match="not finite"):
        complete(model, PROMPTS, SEEDS, SAMPLED, [broken])
    assert all(one.tokens for one in complete(model, PROMPTS, SEEDS, SAMPLED))


def test_without_chat_the_prompt_is_continued_as_it_is(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    raw = complete(model, [PROMPTS[0]], [0], GREEDY, chat=False)[0]
    assert model.tokenizer.decode(raw.prompt_tokens) == "<s>" + PROMPTS[0]
    plain = replace(model, spec=model.spec.model_copy(update={"chat": False}))
    assert complete(plain, [PROMPTS[0]], [0], GREEDY)[0] == raw
