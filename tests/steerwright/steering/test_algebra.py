from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Cap, Edit, KeepNorm, edited, for_images
from steerwright.steering.gates import WherePresent
from steerwright.steering.operators import Add, Operator, ProjectOut, Replace, Scale, Switch
from steerwright.vectors.direction import Direction

AT = Hookpoint("text_encoder.encoder.layers.0.mlp")
# (3, 4) / 5: a direction on which projections can be done by hand.
SLANTED = Direction(torch.tensor([0.6, 0.8]), torch.tensor(10.0))
FIRST = Direction(torch.tensor([1.0, 0.0]), torch.tensor(2.0))
SECOND = Direction(torch.tensor([0.0, 1.0]), torch.tensor(4.0))


def apply(operator: Operator, acts: Tensor, strength: float = 1.0, **how: Any) -> Tensor:
    return edited(Edit(AT, operator, strength, **how), acts)


def tokens(*values: list[float]) -> Tensor:
    return torch.tensor([values])


def test_units_of_strength_by_hand() -> None:
    acts = tokens([3.0, 4.0])  # norm 5
    # Half a unit along (0.6, 0.8); half of the raw difference, 10; half of the token's norm, 5.
    assert torch.allclose(apply(Add(SLANTED, "unit"), acts, 0.5), tokens([3.3, 4.4]))
    assert torch.allclose(apply(Add(SLANTED, "raw"), acts, 0.5), tokens([6.0, 8.0]))
    assert torch.allclose(apply(Add(SLANTED, "relative"), acts, 0.5), tokens([4.5, 6.0]))


def test_a_published_epsilon_means_half_the_mean_difference() -> None:
    # Two pairs: v = (1 / (2 + 2)) * sum(positive - negative) = ((2, 0) + (4, 2)) / 4 = (1.5, 0.5); epsilon 0.8.
    positive, negative = torch.tensor([[3.0, 1.0], [4.0, 3.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    from steerwright.vectors.estimators.mean_difference import mean_difference

    operator = Add(mean_difference(positive, negative), "half_raw")
    assert torch.allclose(apply(operator, tokens([10.0, 20.0]), 0.8), tokens([11.2, 20.4]))


def test_projecting_out_leaves_no_positive_component_and_the_others_as_they_were() -> None:
    acts = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(3))
    before, after = acts @ SLANTED.unit, apply(ProjectOut(SLANTED), acts) @ SLANTED.unit
    assert after.max() <= 1e-6
    absent = before <= 0
    assert absent.any() and not absent.all()
    assert torch.equal(apply(ProjectOut(SLANTED), acts)[absent], acts[absent])
    assert (apply(ProjectOut(SLANTED, two_sided=True), acts) @ SLANTED.unit).abs().max() <= 1e-6


def test_projecting_out_twice_over_is_a_reflection() -> None:
    acts = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(4))
    mirrored = apply(ProjectOut(SLANTED, two_sided=True), acts, 2.0)
    assert torch.allclose(mirrored.norm(dim=-1), acts.norm(dim=-1), atol=1e-6)
    assert torch.allclose(mirrored @ SLANTED.unit, -(acts @ SLANTED.unit), atol=1e-6)
    assert torch.allclose(apply(ProjectOut(SLANTED), acts, 2.0).norm(dim=-1), acts.norm(dim=-1), atol=1e-6)


def test_switch_moves_what_is_there_to_the_other_direction() -> None:
    assert torch.equal(apply(Switch(FIRST, SECOND), tokens([3.0, 1.0], [-3.0, 1.0])), tokens([0.0, 4.0], [-3.0, 1.0]))


def test_scale_multiplies_the_component_alone() -> None:
    assert torch.equal(apply(Scale(FIRST, -2.0), tokens([3.0, 1.0])), tokens([-6.0, 1.0]))
    assert torch.equal(apply(Scale(FIRST, 1.0), tokens([3.0, 1.0])), tokens([3.0, 1.0]))


def test_replace_puts_other_activations_in_place_also_per_image() -> None:
    acts, other = torch.zeros(2, 3, 2), torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(apply(Replace(other), acts), other)
    assert torch.equal(apply(Replace(other), acts, 0.5), other / 2)
    second = for_images([Edit(AT, Replace(other), 1.0)], 1, 2)[0]
    assert torch.equal(edited(second, acts[:1]), other[1:])


@given(st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 30.0]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_keep_norm_keeps_each_tokens_norm(seed: int, strength: float, size: float) -> None:
    acts = size * torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(seed))
    kept = apply(Add(SLANTED, "raw"), acts, strength, bound=KeepNorm())
    assert torch.allclose(kept.norm(dim=-1), acts.norm(dim=-1), rtol=1e-5, atol=0)


def test_keep_norm_gives_no_nan_on_zero_tokens() -> None:
    # A zero token has norm 0 to keep; a token that the edit makes zero has no direction left and stays.
    acts = tokens([0.0, 0.0], [-1.0, 0.0])
    assert torch.equal(apply(Add(FIRST, "unit"), acts, 1.0, bound=KeepNorm()), acts)


def test_a_cap_shortens_the_change_to_its_share_of_the_token() -> None:
    # The token's norm is 5, so 0.2 of it allows a change of 1; a change of 0.5 is left alone.
    acts = tokens([3.0, 4.0])
    assert torch.allclose(apply(Add(FIRST, "unit"), acts, 9.0, bound=Cap(0.2)), tokens([4.0, 4.0]))
    assert torch.allclose(apply(Add(FIRST, "unit"), acts, 0.5, bound=Cap(0.2)), tokens([3.5, 4.0]))
    with pytest.raises(ValueError, match="would allow no edit"):
        Cap(0.0)


def test_a_gate_acts_where_the_concept_is_present_only() -> None:
    acts = tokens([2.0, 1.0], [0.5, 1.0], [-2.0, 1.0])
    gate = WherePresent(FIRST, threshold=1.0)
    assert torch.equal(apply(Add(SECOND, "unit"), acts, 1.0, gate=gate), tokens([2.0, 2.0], [0.5, 1.0], [-2.0, 1.0]))


def test_tokens_outside_the_mask_keep_their_bits_under_every_bound() -> None:
    acts = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, False, True, False, False])
    for bound in (KeepNorm(), Cap(0.1)):
        after = edited(Edit(AT, Add(FIRST, "raw"), 1.0, bound=bound), acts, mask=mask)
        assert ((after != acts).any(-1) == mask).all()


def test_a_zero_strength_among_others_keeps_even_the_sign_of_zero() -> None:
    acts = torch.full((2, 1, 2), -0.0)
    after = edited(Edit(AT, Add(FIRST, "unit"), torch.tensor([0.0, 1.0])), acts)
    assert torch.signbit(after[0]).all()
    assert after[1].tolist() == [[1.0, 0.0]]


def test_half_precision_is_edited_in_float32_and_given_back_as_it_came() -> None:
    acts = tokens([3.0, 4.0]).bfloat16()
    after = apply(Add(SLANTED, "unit"), acts, 0.5)
    assert after.dtype == torch.bfloat16
    assert torch.equal(after, tokens([3.3, 4.4]).bfloat16())


def test_a_direction_per_position_needs_that_many_tokens() -> None:
    per_position = Direction(torch.eye(2)[[0, 1]], torch.ones(2))
    assert torch.equal(apply(Add(per_position, "unit"), tokens([0.0, 0.0], [0.0, 0.0])), tokens([1.0, 0.0], [0.0, 1.0]))
    with pytest.raises(UserError, match=r"ending in \[2, 2\], but the model gives \[1, 1, 2\]"):
        apply(Add(per_position, "unit"), tokens([0.0, 0.0]))


def test_strengths_are_numbers_of_any_library_one_or_one_per_image() -> None:
    for value in (2, np.float32(2), np.array(2), torch.tensor(2.0)):
        assert float(Edit(AT, Add(FIRST, "unit"), value).strength) == 2.0  # type: ignore[arg-type]
    for value in ([1, 2], np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])):
        one = Edit(AT, Add(FIRST, "unit"), value)  # type: ignore[arg-type]
        assert one.per_image and float(for_images([one], 1, 2)[0].strength) == 2.0


@pytest.mark.parametrize(
    "value", [True, float("nan"), "1", None, [1.0, float("inf")], [True], torch.tensor([True]), np.zeros((2, 2))]
)
def test_what_is_no_strength_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="must be a finite number, or one per image; found"):
        Edit(AT, Add(FIRST, "unit"), value)
