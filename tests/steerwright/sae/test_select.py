import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steerwright.sae.products import GROUP, above, largest


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from([40, 257, 1024, 2048, 2048 + 7, 4096 + 31]),
    k=st.sampled_from([1, 3, 8, 16, 32]),
    levels=st.sampled_from([0, 2, 50]),
)
def test_the_k_largest_are_those_of_a_whole_sort(seed: int, size: int, k: int, levels: int) -> None:
    """Few levels: nearly everything is tied, also across the edge of the choice."""
    values = torch.randn(6, size, generator=torch.Generator().manual_seed(seed))
    if levels:
        values = (values * levels).round() / levels
    found, indices = largest(values, k)
    assert torch.equal(found, values.sort(dim=1, descending=True).values[:, :k])
    assert torch.equal(values.gather(1, indices), found)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_both_stages_are_tested_above() -> None:
    assert 2048 // GROUP >= 4 * 32 > 4 * 16 > 257 // GROUP


def test_all_of_the_largest_in_one_group_are_found() -> None:
    values = torch.zeros(1, 64 * GROUP)
    together = torch.arange(8) * 64 + 5  # members of group 5
    values[0, together] = torch.arange(1.0, 9)
    assert largest(values, 8)[1].tolist() == [together.flip(0).tolist()]


@pytest.mark.parametrize("size", [5, 300, 2048, 2048 + 7])
@pytest.mark.parametrize("per_column", [False, True])
def test_above_finds_exactly_what_a_mask_finds_in_order_of_rows(size: int, per_column: bool) -> None:
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(9, size, generator=generator)
    values[4] = -9  # a row with nothing
    floor = 1 + torch.rand(size, generator=generator) if per_column else 1.2
    row, index = above(values, floor)
    assert row.tolist() == sorted(row.tolist())
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[row, index] = True
    assert torch.equal(mask, values > floor)
    assert len(row) == mask.sum()


def test_bfloat16_is_chosen_from_exactly_too() -> None:
    values = torch.randn(5, 4096, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(largest(values, 16)[0], values.topk(16, dim=1).values)
