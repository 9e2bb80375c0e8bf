"""Properties of the edit algebra, on random tokens and directions; expected values by formulas of the test in float64.

T1 to T4 are the acceptance tests of the specification: identity, kept norm, removal, reflection.
"""

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.algebra import Bound, Cap, Edit, KeepNorm, Unbounded, edited
from steerwright.steering.gates import WherePresent
from steerwright.steering.operators import Add, Operator, ProjectOut, Replace, Scale, Switch
from steerwright.vectors.direction import Direction

AT = Hookpoint("unet.mid_block.attentions.0.transformer_blocks.0.attn2")
BOUNDS: tuple[Bound, ...] = (Unbounded(), KeepNorm(), Cap(0.3))
# Relative rounding of a token that is computed in float32 and given back in its own precision.
ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}

seeds = st.integers(0, 2**31)
widths = st.integers(2, 24)
sizes = st.sampled_from([0.1, 1.0, 50.0])
strengths = st.sampled_from([-3.0, -0.5, 0.1, 1.0, 2.0, 30.0])
dtypes = st.sampled_from(list(ROUNDING))
properties = settings(max_examples=60, deadline=None)


def unit(generator: torch.Generator, width: int) -> Tensor:
    vector = torch.randn(width, generator=generator, dtype=torch.float64)
    return (vector / vector.norm()).float()


def direction(generator: torch.Generator, width: int, origin: float = 0.0, norm: float = 2.0) -> Direction:
    return Direction(unit(generator, width), torch.tensor(norm), torch.tensor(origin))


def some_tokens(
    generator: torch.Generator, width: int, size: float = 1.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Two images of six tokens, of which one is zero."""
    acts = size * torch.randn(2, 6, width, generator=generator)
    acts[1, 2] = 0.0
    return acts.to(dtype)


def operators(generator: torch.Generator, width: int) -> dict[str, Operator]:
    first, second = direction(generator, width, 0.3), direction(generator, width, norm=5.0)
    return {
        "add": Add(first, "unit"),
        "add raw": Add(first, "raw"),
        "add relative": Add(first, "relative"),
        "erase": ProjectOut(first),
        "erase both sides": ProjectOut(first, two_sided=True),
        "erase centred": ProjectOut(first, centred=True),
        "switch": Switch(first, second),
        "switch centred": Switch(first, second, centred=True, proportional=True),
        "scale": Scale(first, -2.0),
        "replace": Replace(torch.randn(width, generator=generator)),
    }


def apply(operator: Operator, acts: Tensor, strength: float = 1.0, **how: Any) -> Tensor:
    return edited(Edit(AT, operator, strength, branch="both", **how), acts)


def along(acts: Tensor, towards: Direction) -> Tensor:
    """Component of each token, by sums of products in float64."""
    return (acts.double() * towards.unit.double()).sum(-1)


@properties
@given(seeds, widths, dtypes)
def test_zero_strength_is_the_identity_for_every_operator_and_bound(seed: int, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = some_tokens(generator, width, dtype=dtype)
    for name, operator in operators(generator, width).items():
        for bound in BOUNDS:
            assert torch.equal(apply(operator, acts, 0.0, bound=bound), acts), (name, bound)


@properties
@given(seeds, widths, dtypes, strengths, sizes)
def test_kept_norms_are_those_from_before_and_never_nan(
    seed: int, width: int, dtype: torch.dtype, strength: float, size: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = some_tokens(generator, width, size, dtype)
    for name, operator in operators(generator, width).items():
        after = apply(operator, acts, strength, bound=KeepNorm())
        assert after.dtype == dtype
        assert torch.isfinite(after).all(), name
        before = acts.double().norm(dim=-1)
        torch.testing.assert_close(after.double().norm(dim=-1), before, rtol=ROUNDING[dtype], atol=1e-7, msg=name)


@properties
@given(seeds, widths, strengths)
def test_a_kept_norm_changes_a_tokens_length_and_not_its_direction(seed: int, width: int, strength: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, operator = some_tokens(generator, width), Add(direction(generator, width), "unit")
    kept, free = (apply(operator, acts, strength, bound=bound).double() for bound in (KeepNorm(), Unbounded()))
    cosines = torch.cosine_similarity(kept, free, dim=-1)
    assert ((cosines - 1).abs()[kept.norm(dim=-1) > 0] < 1e-6).all()


@properties
@given(seeds, widths, sizes)
def test_erasing_leaves_nothing_on_the_positive_side_and_the_negative_side_as_it_was(
    seed: int, width: int, size: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, towards = some_tokens(generator, width, size), direction(generator, width)
    before, after = along(acts, towards), apply(ProjectOut(towards), acts)
    assert (along(after, towards) <= 1e-5 * size).all()
    # A component that is zero but for rounding may count for either side.
    absent = before < -1e-6 * size
    for bound in BOUNDS:
        assert torch.equal(apply(ProjectOut(towards), acts, bound=bound)[absent], acts[absent])
    wanted = acts.double() - before.clamp(min=0)[..., None] * towards.unit.double()
    torch.testing.assert_close(after.double(), wanted, rtol=0, atol=1e-5 * size)


@properties
@given(seeds, widths, st.floats(0.0, 2.0))
def test_erasing_a_share_leaves_the_rest(seed: int, width: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, towards = some_tokens(generator, width), direction(generator, width)
    before = along(acts, towards)
    after = along(apply(ProjectOut(towards), acts, share), towards)
    torch.testing.assert_close(after, torch.where(before > 0, (1 - share) * before, before), rtol=0, atol=1e-5)


@properties
@given(seeds, widths, st.booleans())
def test_erasing_twice_over_keeps_the_norm_by_itself(seed: int, width: int, two_sided: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = some_tokens(generator, width)
    after = apply(ProjectOut(direction(generator, width), two_sided), acts, 2.0)
    torch.testing.assert_close(after.norm(dim=-1), acts.norm(dim=-1), rtol=1e-5, atol=1e-7)


@properties
@given(seeds, widths, st.sampled_from([-3.0, -0.4, 0.0, 0.7, 5.0]))
def test_centred_erasing_brings_tokens_to_the_origin_and_leaves_those_below_it(
    seed: int, width: int, origin: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, towards = 2 * some_tokens(generator, width), direction(generator, width, origin)
    before = along(acts, towards)
    after = apply(ProjectOut(towards, centred=True), acts)
    above, below = before > origin + 1e-5, before < origin - 1e-5
    torch.testing.assert_close(along(after, towards)[above], torch.full_like(before, origin)[above], rtol=0, atol=1e-5)
    assert torch.equal(after[below], acts[below])
    # What is orthogonal to the direction stays with both.
    across = acts.double() - before[..., None] * towards.unit.double()
    rest = after.double() - along(after, towards)[..., None] * towards.unit.double()
    torch.testing.assert_close(rest, across, rtol=0, atol=1e-5)
    both = apply(ProjectOut(towards, two_sided=True, centred=True), acts)
    torch.testing.assert_close(along(both, towards), torch.full_like(before, origin), rtol=0, atol=1e-5)


def test_centred_edits_need_vectors_that_know_their_origin() -> None:
    towards = Direction(torch.tensor([1.0, 0.0]), torch.tensor(1.0))
    for make in (
        lambda: ProjectOut(towards, centred=True),
        lambda: Switch(towards, towards, centred=True),
        lambda: WherePresent(towards, centred=True),
    ):
        with pytest.raises(UserError, match="do not record"):
            make()


A = Direction(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(2.0), torch.tensor(1.0))
B = Direction(torch.tensor([0.0, 0.6, 0.8]), torch.tensor(10.0), torch.tensor(-4.0))


@pytest.mark.parametrize(
    ("how", "token", "expected"),
    [
        # Component 3 along a: all of it goes, 3 along b comes.
        ({}, [3.0, 1.0, 1.0], [0.0, 2.8, 3.4]),
        ({}, [-3.0, 1.0, 1.0], [-3.0, 1.0, 1.0]),
        # A unit of a is 2 long, one of b 10: 3 along a become 15 along b.
        ({"proportional": True}, [3.0, 1.0, 1.0], [0.0, 10.0, 13.0]),
        # Of the 3, 1 is what tokens without a have anyway.
        ({"centred": True}, [3.0, 1.0, 1.0], [1.0, 2.2, 2.6]),
        ({"centred": True}, [0.5, 1.0, 1.0], [0.5, 1.0, 1.0]),
        # Exactly as far beyond the origin as a token with a is on average: then b comes by all its norm.
        ({"centred": True, "proportional": True}, [3.0, 0.0, 0.0], [1.0, 6.0, 8.0]),
    ],
)
def test_switch_by_hand(how: Any, token: list[float], expected: list[float]) -> None:
    after = apply(Switch(A, B, **how), torch.tensor([[token]]))
    torch.testing.assert_close(after, torch.tensor([[expected]]), rtol=0, atol=1e-5)


def test_a_concept_without_a_direction_is_not_switched() -> None:
    nothing = Direction(torch.zeros(3), torch.tensor(0.0), torch.tensor(0.0))
    acts = torch.tensor([[[3.0, 1.0, 1.0]]])
    for proportional in (False, True):
        assert torch.equal(apply(Switch(nothing, B, proportional=proportional), acts), acts)


@properties
@given(seeds, widths)
def test_switch_is_erasing_one_and_adding_as_much_of_the_other(seed: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, source, target = some_tokens(generator, width), direction(generator, width), direction(generator, width)
    present = along(acts, source).clamp(min=0)[..., None]
    wanted = acts.double() - present * source.unit.double() + present * target.unit.double()
    torch.testing.assert_close(apply(Switch(source, target), acts).double(), wanted, rtol=0, atol=1e-5)


@properties
@given(seeds, widths, strengths, st.sampled_from([0.01, 0.3, 2.0]))
def test_a_cap_limits_the_change_and_keeps_its_direction(seed: int, width: int, strength: float, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = some_tokens(generator, width)
    for name, operator in operators(generator, width).items():
        free = apply(operator, acts, strength).double() - acts
        capped = apply(operator, acts, strength, bound=Cap(share)).double() - acts
        allowed = share * acts.double().norm(dim=-1)
        reach = free.norm(dim=-1)
        wanted = free * torch.where(reach > allowed, allowed / reach.clamp(min=1e-30), 1.0)[..., None]
        torch.testing.assert_close(capped, wanted, rtol=1e-4, atol=1e-5 * (1 + abs(strength)), msg=name)


@properties
@given(seeds, widths, st.sampled_from([-0.5, 0.0, 0.5, 1.0]))
def test_a_centred_gate_counts_in_units_of_the_concept(seed: int, width: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, towards = some_tokens(generator, width), direction(generator, width, origin=-0.3, norm=0.8)
    gate = WherePresent(towards, threshold, centred=True)
    after = apply(Add(direction(generator, width), "unit"), acts, gate=gate)
    # 0 is the mean without the concept, 1 the mean with it.
    units = (along(acts, towards) + 0.3) / 0.8
    assume(((units - threshold).abs() > 1e-5).all())
    assert torch.equal((after != acts).any(-1), units > threshold)


@properties
@given(seeds, widths, st.floats(-5, 5), st.floats(-5, 5))
def test_adding_twice_is_adding_the_sum(seed: int, width: int, first: float, second: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, operator = some_tokens(generator, width), Add(direction(generator, width), "raw")
    twice = apply(operator, apply(operator, acts, first), second)
    torch.testing.assert_close(twice, apply(operator, acts, first + second), rtol=0, atol=1e-4)


@properties
@given(seeds, widths)
def test_the_order_of_erasing_and_adding_matters(seed: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts, towards = some_tokens(generator, width), direction(generator, width)
    erase, add = ProjectOut(towards), Add(towards, "unit")
    before = along(acts, towards)
    # What is added after erasing stays; what is added before is erased with the rest.
    after = along(apply(add, apply(erase, acts), 4.0), towards)
    torch.testing.assert_close(after, before.clamp(max=0) + 4, rtol=0, atol=1e-5)
    other = along(apply(erase, apply(add, acts, 4.0)), towards)
    torch.testing.assert_close(other, (before + 4).clamp(max=0), rtol=0, atol=1e-5)


@properties
@given(seeds, widths, strengths)
def test_a_token_means_the_same_alone_and_among_others(seed: int, width: int, strength: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = some_tokens(generator, width)
    for name, operator in operators(generator, width).items():
        for bound in BOUNDS:
            together = apply(operator, acts, strength, bound=bound)
            alone = apply(operator, acts[1:, 3:4], strength, bound=bound)
            torch.testing.assert_close(together[1:, 3:4], alone, rtol=1e-4, atol=1e-4, msg=name)


@properties
@given(seeds, widths, st.sampled_from(["along a", "along b"]))
def test_a_control_along_another_direction_touches_the_same_tokens_by_the_same_amounts(
    seed: int, width: int, which: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    acts = some_tokens(generator, width)
    first, second, other = (direction(generator, width) for _ in range(3))
    real: Operator = ProjectOut(first) if which == "along a" else Switch(first, second)
    control: Operator = ProjectOut(first, along=other) if which == "along a" else Switch(first, second, along=other)
    moved, controlled = (apply(operator, acts).double() - acts for operator in (real, control))
    torch.testing.assert_close(controlled.norm(dim=-1), moved.norm(dim=-1), rtol=1e-4, atol=1e-5)
    across = controlled - along(controlled, other)[..., None] * other.unit.double()
    assert (across.norm(dim=-1) < 1e-5).all()


@pytest.mark.parametrize("length", [1e-3, 1.0, 7.0, 1e4])
def test_a_token_that_lies_along_the_direction_is_not_blown_up_from_rounding(length: float) -> None:
    unit = torch.nn.functional.normalize(torch.randn(320, generator=torch.Generator().manual_seed(3)), dim=0)
    token = (length * unit)[None, None]
    edit = Edit(Hookpoint("unet.mid_block"), ProjectOut(Direction(unit, torch.tensor(1.0))), 1.0, bound=KeepNorm())
    # Erasing takes all of it; there is no direction left that could carry its norm, so it stays as it was.
    assert torch.equal(edited(edit, token), token)
