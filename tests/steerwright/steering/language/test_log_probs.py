"""Probabilities of what was written: held against a forward of each text alone, and against writing it again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steerwright.activations.logit_lens import logit_lens
from steerwright.errors import UserError
from steerwright.models.language.encode import encode
from steerwright.steering.algebra import Edit
from steerwright.steering.language import log_probs
from steerwright.steering.language.generate import Completion, Sampling, complete
from steerwright.steering.language.log_probs import next_token_log_probs, token_log_probs, written_tokens
from steerwright.steering.operators import Add
from steerwright.vectors.direction import normalised

PROMPTS = ["Tell me about the lake.", "The old house?", "Tell me about the market by the lake, and the boat."]
SAMPLED = Sampling(max_new_tokens=10, temperature=1.5, top_p=1.0)


def direction() -> Any:
    return normalised(torch.randn(32, generator=torch.Generator().manual_seed(3)))


def by_hand(model: Any, completion: Completion) -> torch.Tensor:
    """One forward of the bare model over one text, without padding; float32 [tokens, vocabulary]."""
    written = written_tokens(model, completion)
    ids = torch.tensor([[*completion.prompt_tokens, *written]])
    logits = model.model(input_ids=ids).logits[0].float()
    start = len(completion.prompt_tokens) - 1
    return logits[start : start + len(written)].log_softmax(-1)


def test_each_tokens_probability_is_that_of_the_text_alone(language: Callable[[str], Any], language_shape: str) -> None:
    model = language(language_shape)
    completions = complete(model, PROMPTS, [1, 2, 3], SAMPLED)
    whole = list(next_token_log_probs(model, completions))
    for completion, found, every in zip(completions, token_log_probs(model, completions), whole, strict=True):
        expected = by_hand(model, completion)
        assert torch.allclose(every, expected, atol=2e-5)
        tokens = torch.tensor(written_tokens(model, completion))
        assert torch.allclose(found, expected[torch.arange(len(tokens)), tokens], atol=2e-5)
        assert found.dtype == torch.float32


@pytest.mark.parametrize("tokens", ["last", "generated", "all", "span:1:3", "span:-2:"])
@pytest.mark.parametrize("shape", ["mistral", "gpt2"])
def test_edits_act_as_while_the_text_was_written(language: Callable[[str], Any], shape: str, tokens: str) -> None:
    """Greedy writing takes the likeliest token at each place; reading the whole text at once must find the same."""
    model = language(shape)
    strengths = torch.tensor([1.5, 0.0, -1.5])
    edits = [Edit(model.hookpoints[1], Add(direction(), "relative"), strengths, tokens=tokens)]
    completions = complete(model, PROMPTS, [1, 2, 3], Sampling(max_new_tokens=10, temperature=0), edits)
    read = list(next_token_log_probs(model, completions, edits))
    assert [found.argmax(1).tolist() for found in read] == [written_tokens(model, one) for one in completions]
    plain = list(next_token_log_probs(model, completions))
    changed = [not torch.allclose(a, b, atol=1e-3) for a, b in zip(read, plain, strict=True)]
    assert changed == [True, False, True]


def test_the_end_token_counts_as_written(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    prompt = tuple(encode(model, [PROMPTS[0]]).ids[0].tolist())
    ended = Completion(PROMPTS[0], 0, "", (9, 8), True, prompt, end=7)
    cut = Completion(PROMPTS[0], 0, "", (9, 8), False, prompt)
    first, second = token_log_probs(model, [ended, cut])
    assert (len(first), len(second)) == (3, 2)
    assert torch.allclose(first[:2], second, atol=1e-5)
    assert first[2] == pytest.approx(float(by_hand(model, ended)[2, 7]), abs=1e-5)
    without_id = Completion(PROMPTS[0], 0, "", (9, 8), True, prompt)
    assert written_tokens(model, without_id) == [9, 8, model.tokenizer.eos_token_id]


def test_a_text_of_nothing_has_no_probabilities(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    prompt = tuple(encode(model, [PROMPTS[0]]).ids[0].tolist())
    nothing = Completion(PROMPTS[0], 0, "", (), False, prompt)
    something = Completion(PROMPTS[0], 0, "", (9,), False, prompt)
    found = token_log_probs(model, [nothing, something, nothing])
    assert [len(one) for one in found] == [0, 1, 0]
    assert token_log_probs(model, []) == []


@pytest.mark.parametrize("largest", [1, 40_000])
def test_batches_are_cut_by_memory_and_give_the_same(
    language: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    model = language("llama")
    edits = [Edit(model.hookpoints[1], Add(direction(), "unit"), torch.linspace(0, 3, 6), tokens="last")]
    completions = complete(model, PROMPTS * 2, range(6), SAMPLED, edits)
    expected = token_log_probs(model, completions, edits)
    monkeypatch.setattr(log_probs, "_LARGEST", largest)
    for batch_size in (4, 64):
        found = token_log_probs(model, completions, edits, batch_size=batch_size)
        assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(found, expected, strict=True))


def test_a_mask_of_columns_is_refused(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    completions = complete(model, PROMPTS[:1], [1], SAMPLED)
    edit = Edit(model.hookpoints[1], Add(direction(), "unit"), 1.0, tokens=torch.ones(3, dtype=torch.bool))
    with pytest.raises(UserError, match="name the tokens"):
        token_log_probs(model, completions, [edit])


# The logit lens.

ENDS = {"gpt2": lambda model, h: model.lm_head(model.transformer.ln_f(h))}


def test_the_last_layers_lens_is_the_models_own_answer(language: Callable[[str], Any], language_shape: str) -> None:
    model = language(language_shape)
    encoded = encode(model, PROMPTS)
    lens = logit_lens(model, encoded, top=3)
    assert lens.layers == (0, 1, 2, 3)
    for row, prompt in enumerate(PROMPTS):
        expected = model.model(input_ids=encode(model, [prompt]).ids).logits[0].log_softmax(-1).topk(3)
        mask = encoded.mask[row]
        assert torch.equal(lens.ids[-1, row][mask], expected.indices)
        assert torch.allclose(lens.log_probs[-1, row][mask], expected.values, atol=2e-5)


def test_an_earlier_layers_lens_is_its_stream_through_norm_and_head(
    language: Callable[[str], Any], language_shape: str
) -> None:
    model = language(language_shape)
    encoded = encode(model, [PROMPTS[0]])
    lens = logit_lens(model, encoded, [2, 0], top=4)
    assert lens.layers == (2, 0)
    assert lens.ids.shape == (2, 1, encoded.ids.shape[1], 4)
    states = model.model(input_ids=encoded.ids, output_hidden_states=True).hidden_states
    end = ENDS.get(language_shape, lambda inner, h: inner.lm_head(inner.model.norm(h)))
    for place, layer in enumerate((2, 0)):
        expected = end(model.model, states[layer + 1]).log_softmax(-1).topk(4)
        assert torch.equal(lens.ids[place], expected.indices)
        assert torch.allclose(lens.log_probs[place], expected.values, atol=2e-5)


def test_the_model_is_as_it_was_after_the_lens(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    layers = model.model.model.layers
    installed = [(list(layer._forward_hooks), vars(layer).get("forward")) for layer in layers]
    before = complete(model, PROMPTS, [1, 2, 3], SAMPLED)
    with pytest.raises(UserError, match="has no layer 4; its layers are 0 to 3"):
        logit_lens(model, encode(model, PROMPTS), [4])
    logit_lens(model, encode(model, PROMPTS))
    assert complete(model, PROMPTS, [1, 2, 3], SAMPLED) == before
    assert [(list(layer._forward_hooks), vars(layer).get("forward")) for layer in layers] == installed
