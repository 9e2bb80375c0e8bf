"""Perplexity and divergence of texts, against plain forwards of the model over each text alone."""

import math

import pytest
import torch
from torch import Tensor

from steerwright.models.language.encode import encode
from steerwright.models.language.load import LanguageModel, load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.scoring.language.fluency import costs, under
from steerwright.steering.algebra import Edit
from steerwright.steering.language.generate import Completion, Sampling, complete
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction

PROMPTS = ["Tell me about the lake.", "Describe the market.", "What do you know about ships?"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model(LanguageSpec(name="seasons-lm", source="models/seasons-lm"), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def written(model: LanguageModel) -> list[Completion]:
    found = complete(model, PROMPTS, [1, 2, 3], Sampling(max_new_tokens=40))
    # One that came to its end and one that was cut off: the end token counts where there is one.
    assert any(one.ended for one in found)
    cut = complete(model, PROMPTS[:1], [1], Sampling(max_new_tokens=4))
    return [*found, *cut]


def push(model: LanguageModel, size: float) -> Edit:
    raw = torch.randn(model.width, generator=torch.Generator().manual_seed(3))
    return Edit(model.hookpoints[4], Add(Direction(raw / raw.norm(), torch.tensor(1.0)), "unit"), size, tokens="last")


def distributions(
    model: LanguageModel, one: Completion, prompt: tuple[int, ...], pushed: float = 0.0
) -> tuple[Tensor, list[int]]:
    """Log-probabilities [tokens, V] at each written place and the written ids, by one forward with our own hook."""
    ids = [*one.tokens, *([one.end] if one.ended else [])]
    raw = torch.randn(model.width, generator=torch.Generator().manual_seed(3))
    first = len(prompt) - 1

    def hook(_: object, __: object, output: Tensor) -> Tensor:
        moved = output.clone()
        moved[0, first:] += pushed * raw / raw.norm()
        return moved

    handle = model.model.model.layers[4].register_forward_hook(hook)
    with torch.inference_mode():
        logits = model.model(torch.tensor([[*prompt, *ids]])).logits[0]
    handle.remove()
    return logits[first:-1].double().log_softmax(1), [int(token) for token in ids]


def test_perplexity_is_of_every_written_token_and_the_end(model: LanguageModel, written: list[Completion]) -> None:
    for one, cost in zip(written, costs(model, written), strict=True):
        before, ids = distributions(model, one, one.prompt_tokens)
        assert len(ids) == len(one.tokens) + one.ended
        assert cost.nll == pytest.approx(
            -sum(before[place, token].item() for place, token in enumerate(ids)) / len(ids), abs=1e-4
        )
        assert cost.kl == 0.0


def test_divergence_is_of_the_steered_from_the_unsteered_distribution_at_each_token(
    model: LanguageModel, written: list[Completion]
) -> None:
    plain = costs(model, written)
    for one, cost, base in zip(written, costs(model, written, [push(model, 40.0)]), plain, strict=True):
        before, _ = distributions(model, one, one.prompt_tokens)
        after, _ = distributions(model, one, one.prompt_tokens, pushed=40.0)
        expected = torch.nn.functional.kl_div(before, after, log_target=True, reduction="none").sum(1).mean()
        assert cost.kl == pytest.approx(float(expected), rel=1e-3) and cost.kl > 1e-3
        # What is likely is asked of the unsteered model.
        assert cost.nll == base.nll


def test_strengths_may_differ_from_text_to_text(model: LanguageModel, written: list[Completion]) -> None:
    edit = push(model, 1.0)
    sizes = [0.0, 20.0, 80.0, 40.0]
    each = Edit(edit.hookpoint, edit.operator, torch.tensor(sizes), tokens="last")
    for one, size, cost in zip(written, sizes, costs(model, written, [each], batch_size=3), strict=True):
        (alone,) = costs(model, [one], [push(model, size)])
        assert cost.kl == pytest.approx(alone.kl, rel=1e-3, abs=1e-6)


def test_a_text_can_count_under_another_prompt_than_it_was_written_for(
    model: LanguageModel, written: list[Completion]
) -> None:
    asked = complete(
        model, [f"{prompt} Answer like a pirate." for prompt in PROMPTS], [1, 2, 3], Sampling(max_new_tokens=12)
    )
    plain = under(model, asked, PROMPTS)
    for one, prompt, moved in zip(asked, PROMPTS, plain, strict=True):
        assert moved.tokens == one.tokens and moved.prompt == prompt
        assert moved.prompt_tokens == tuple(encode(model, [prompt]).ids[0].tolist()) != one.prompt_tokens
    for one, moved, cost in zip(asked, plain, costs(model, asked, plain=plain), strict=True):
        before, ids = distributions(model, moved, moved.prompt_tokens)
        after, _ = distributions(model, one, one.prompt_tokens)
        assert cost.nll == pytest.approx(-float(before[range(len(ids)), ids].mean()), abs=1e-4)
        assert cost.kl == pytest.approx(float((after.exp() * (after - before)).sum(1).mean()), rel=1e-3)
        assert math.isfinite(cost.nll)
