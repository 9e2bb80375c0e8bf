import pytest
import torch

from steerwright.activations.token_policy import PromptActivations
from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.estimators.random_direction import random_like
from steerwright.vectors.fit import fit_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="here", revision=None, digest="0" * 64, libraries={})
AT = Hookpoint("text_encoder.encoder.layers.2.mlp")
# Two prompts of five tokens: BOS, two and one content tokens, EOS, padding.
TYPES = {
    "content": torch.tensor([[0, 1, 1, 0, 0], [0, 1, 0, 0, 0]]).bool(),
    "eos": torch.tensor([[0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]).bool(),
    "padding": torch.tensor([[0, 0, 0, 0, 1], [0, 0, 0, 1, 1]]).bool(),
}
# Width 2. The first column is what the policies have to pick; negative activations are zero.
COLUMN = torch.tensor([[0.0, 2.0, 4.0, 10.0, 100.0], [0.0, 5.0, 20.0, 200.0, 300.0]])


def fit(policy: str, types: dict[str, torch.Tensor] | None = None) -> SteeringVectors:
    values = torch.stack([COLUMN, torch.zeros(2, 5)], dim=-1)
    positive = PromptActivations(values, types or TYPES)
    negative = PromptActivations(torch.zeros_like(values), types or TYPES)
    return fit_vectors(
        [(AT, positive, negative)],
        concept="winter",
        model=MODEL,
        estimator="mean_difference",
        token_policy=policy,  # type: ignore[arg-type]
    )


def norms(vectors: SteeringVectors) -> dict[str, object]:
    return {slot.tokens: direction.norm.tolist() for slot, direction in vectors.directions.items()}


def test_token_policies_by_hand() -> None:
    # Content: (mean(2, 4) + 5) / 2 = 4. EOS: (10 + 20) / 2 = 15. Padding: (100 + mean(200, 300)) / 2 = 175.
    assert norms(fit("content")) == {"all": 4.0}
    assert norms(fit("eos")) == {"all": 15.0}
    assert norms(fit("typed")) == {"content": 4.0, "eos": 15.0, "padding": 175.0}
    assert norms(fit("position")) == {"all": [0.0, 3.5, 12.0, 105.0, 200.0]}


def test_a_pair_without_tokens_of_a_type_is_left_out_of_that_type_only() -> None:
    full = {**TYPES, "padding": torch.tensor([[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool()}
    assert norms(fit("typed", full)) == {"content": 4.0, "eos": 15.0, "padding": 100.0}


def test_no_token_of_a_type_in_any_pair_names_hookpoint_and_type() -> None:
    none = {**TYPES, "padding": torch.zeros(2, 5, dtype=torch.bool)}
    with pytest.raises(UserError, match=r"layers\.2\.mlp:out for padding tokens: no pair has tokens of this type"):
        fit("typed", none)


@pytest.mark.parametrize(
    ("positive", "message"),
    [
        (torch.zeros(2, 5, 2), "coincide"),
        (torch.full((2, 5, 2), torch.inf), "not finite"),
        (torch.ones(1, 5, 2), "1 positive but 2 negative"),
    ],
)
def test_pairs_that_say_nothing_are_named(positive: torch.Tensor, message: str) -> None:
    cut = {name: mask[: len(positive)] for name, mask in TYPES.items()}
    pair = (AT, PromptActivations(positive, cut), PromptActivations(torch.zeros(2, 5, 2), TYPES))
    with pytest.raises(UserError, match=message):
        fit_vectors([pair], concept="winter", model=MODEL, estimator="mean_difference", token_policy="content")


def test_random_directions_have_the_norms_of_the_vectors_and_no_relation_to_them() -> None:
    wide = torch.randn(6, 5, 512, generator=torch.Generator().manual_seed(0))
    types = {name: mask[[0, 1, 0, 1, 0, 1]] for name, mask in TYPES.items()}
    pair = (AT, PromptActivations(wide + 1, types), PromptActivations(wide, types))
    for policy in ("typed", "position"):
        vectors = fit_vectors([pair], concept="winter", model=MODEL, estimator="mean_difference", token_policy=policy)
        control = random_like(vectors, 7)
        for slot, direction in vectors.directions.items():
            drawn = control.directions[slot]
            assert torch.equal(drawn.norm, direction.norm)
            # In 512 dimensions the cosine of a random direction has a standard deviation of 0.044.
            assert (drawn.unit * direction.unit).sum(-1).abs().max() < 0.2


def test_random_directions_depend_on_seed_and_slot_alone() -> None:
    vectors = fit("typed")
    one, same, other = random_like(vectors, 7), random_like(vectors, 7), random_like(vectors, 8)
    alone = SteeringVectors("w", MODEL, "x", "typed", {VectorKey(AT, "eos"): vectors.directions[VectorKey(AT, "eos")]})
    for slot in vectors.directions:
        assert torch.equal(one.directions[slot].unit, same.directions[slot].unit)
        assert not torch.equal(one.directions[slot].unit, other.directions[slot].unit)
    assert not torch.equal(one.directions[VectorKey(AT, "eos")].unit, one.directions[VectorKey(AT, "content")].unit)
    assert torch.equal(
        random_like(alone, 7).directions[VectorKey(AT, "eos")].unit, one.directions[VectorKey(AT, "eos")].unit
    )


def test_no_direction_stays_no_direction_in_the_control() -> None:
    control = random_like(fit("position"), 7).directions[VectorKey(AT)]
    assert not control.unit[0].any()
    assert torch.allclose(control.unit[1:].norm(dim=-1), torch.ones(4))


def test_an_estimator_that_there_is_not_is_named_with_those_that_there_are() -> None:
    pair = (AT, PromptActivations(torch.rand(2, 5, 2), TYPES), PromptActivations(torch.zeros(2, 5, 2), TYPES))
    with pytest.raises(UserError, match="Estimator 'pca' does not exist; choose one of mean_difference"):
        fit_vectors(
            [pair],
            concept="winter",
            model=MODEL,
            estimator="pca",
            token_policy="content",  # type: ignore[arg-type]
        )


def test_a_token_policy_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="Token policy 'last' does not exist; choose one of position"):
        fit("last")
