"""A sweep on the embedded model: each layer by its own vector, each strength as if it were generated alone."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.language.load import LanguageModel, load_language_model
from steerwright.models.language.spec import LanguageSpec
from steerwright.steering.language.apply import steer_text
from steerwright.steering.language.generate import Sampling, complete
from steerwright.steering.language.sweep import SteeringWay, asked_with_seeds, sweep_layer, sweep_layers
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

PROMPTS = ["Tell me about the lake.", "Describe the old market in the town."]
GREEDY = Sampling(max_new_tokens=10, temperature=0.0)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model(LanguageSpec(name="seasons-lm", source="models/seasons-lm"), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def vectors(model: LanguageModel, planted_vectors: Callable[..., SteeringVectors]) -> SteeringVectors:
    return planted_vectors(model, seed=5)


def test_every_strength_gives_what_it_gives_alone(model: LanguageModel, vectors: SteeringVectors) -> None:
    found = sweep_layer(
        model, vectors, 3, [0.5, 2.0], PROMPTS, [1, 2], Sampling(max_new_tokens=10), SteeringWay(), rows=3
    )
    for strength, texts in found.items():
        edits = SteeringWay().add(vectors, [3], strength)
        for prompt, seed, text in zip(PROMPTS, (1, 2), texts, strict=True):
            assert (text.prompt, text.seed) == (prompt, seed)
            assert text.tokens == complete(model, [prompt], [seed], Sampling(max_new_tokens=10), edits)[0].tokens


def test_a_layer_is_steered_by_its_own_vector_and_no_other(model: LanguageModel, vectors: SteeringVectors) -> None:
    # With the vectors of all other layers made another one's, nothing changes; with its own, the text does.
    first = next(iter(vectors.directions.values()))
    mixed = {slot: own if slot.hookpoint == model.hookpoints[3] else first for slot, own in vectors.directions.items()}
    strangers = replace(vectors, directions=mixed)
    own = sweep_layer(model, vectors, 3, [3.0], PROMPTS, [1, 2], GREEDY, SteeringWay())[3.0]
    same = sweep_layer(model, strangers, 3, [3.0], PROMPTS, [1, 2], GREEDY, SteeringWay())[3.0]
    other = sweep_layer(
        model,
        replace(strangers, directions=dict.fromkeys(vectors.directions, first)),
        3,
        [3.0],
        PROMPTS,
        [1, 2],
        GREEDY,
        SteeringWay(),
    )[3.0]
    assert [one.tokens for one in own] == [one.tokens for one in same] != [one.tokens for one in other]
    # And it is added where that layer is: by hand, through a hook, unpadded.
    unit = vectors.directions[VectorKey(model.hookpoints[3])].unit

    def hook(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        last = output[:, -1:]
        return torch.cat([output[:, :-1], last + 3.0 * last.norm(dim=-1, keepdim=True) * unit], 1)

    handle = model.model.model.layers[3].register_forward_hook(hook)
    by_hand = [complete(model, [prompt], [1], GREEDY)[0].tokens for prompt in PROMPTS]
    handle.remove()
    assert [one.tokens for one in own] == by_hand


def test_zero_strength_in_a_sweep_is_the_unsteered_text(model: LanguageModel, vectors: SteeringVectors) -> None:
    found = sweep_layer(model, vectors, 3, [0.0, 3.0], PROMPTS, [1, 2], GREEDY, SteeringWay())
    with steer_text(model, []):
        plain = complete(model, PROMPTS, [1, 2], GREEDY)
    assert [one.tokens for one in found[0.0]] == [one.tokens for one in plain]
    assert [one.tokens for one in found[3.0]] != [one.tokens for one in plain]


def test_a_sweep_that_is_stopped_gives_no_half_points(model: LanguageModel, vectors: SteeringVectors) -> None:
    calls = iter([False, False, True, True, True, True, True, True])
    stopped = sweep_layer(
        model, vectors, 3, [0.5, 2.0], PROMPTS, [1, 2], GREEDY, SteeringWay(), should_stop=lambda: next(calls, True)
    )  # fmt: skip
    assert stopped == {}


def test_layers_and_strengths_that_there_are_not_are_refused(model: LanguageModel, vectors: SteeringVectors) -> None:
    assert sweep_layers(vectors, None) == list(range(8)) and sweep_layers(vectors, [2, 5]) == [2, 5]
    with pytest.raises(UserError, match="hold nothing at layer 9"):
        sweep_layers(vectors, [2, 9])
    for strengths in ([], [1.0, 1.0]):
        with pytest.raises(UserError, match="each once"):
            sweep_layer(model, vectors, 3, strengths, PROMPTS, [1, 2], GREEDY, SteeringWay())
    with pytest.raises(UserError, match="finite"):
        sweep_layer(model, vectors, 3, [float("nan")], PROMPTS, [1, 2], GREEDY, SteeringWay())


def test_no_two_prompts_share_their_chance_and_every_condition_has_the_same() -> None:
    found = asked_with_seeds(["a", "b"], [17, 18])
    assert found == [("a", 1_700_000), ("a", 1_800_000), ("b", 1_700_001), ("b", 1_800_001)]
