from itertools import pairwise

import pytest
import torch
from torch import Tensor

from steerwright.sae.training.selection import PreActivations, Selection, all_above, largest_of_batch, largest_of_rows


def pieces_of(values: Tensor, rows: int) -> PreActivations:
    return PreActivations(len(values), rows, lambda start, stop: values[start:stop])


def chosen(selection: Selection, values: Tensor) -> Tensor:
    """As a mask [rows, n] of those above 0; checks what every selection promises."""
    assert selection.row.tolist() == sorted(selection.row.tolist())
    assert torch.equal(values[selection.row, selection.latent], selection.pre)
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[selection.row, selection.latent] = selection.pre > 0
    return mask


def expected_of_batch(values: Tensor, k: int) -> Tensor:
    flat = values.flatten()
    kept = torch.zeros_like(flat, dtype=torch.bool)
    kept[flat.topk(k * len(values)).indices] = True
    return kept.view_as(values) & (values > 0)


@pytest.mark.parametrize("piece_rows", [4, 7, 24, 100])
def test_the_largest_of_a_batch_do_not_depend_on_its_pieces(piece_rows: int) -> None:
    values = torch.randn(24, 2100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(chosen(largest_of_batch(pieces_of(values, piece_rows), 5), values), expected_of_batch(values, 5))


@pytest.mark.parametrize("factor", [1e-3, 1e-1, 3.0, 30.0])
def test_a_first_piece_unlike_the_rest_misleads_nobody(factor: float) -> None:
    """The floor comes from the first piece: far too high, or far too low, for the others."""
    values = torch.randn(24, 2100, generator=torch.Generator().manual_seed(1))
    values[4:] *= factor
    assert torch.equal(chosen(largest_of_batch(pieces_of(values, 4), 5), values), expected_of_batch(values, 5))


@pytest.mark.parametrize("piece_rows", [4, 24])
def test_a_batch_with_few_positive_gives_those_alone(piece_rows: int) -> None:
    values = -torch.rand(24, 2100, generator=torch.Generator().manual_seed(2)) - 0.1
    values[3, [7, 2099]] = 1.0
    values[20, 11] = 2.0
    assert torch.equal(chosen(largest_of_batch(pieces_of(values, piece_rows), 5), values), values > 0)


def test_the_largest_of_rows_have_k_places_each() -> None:
    values = torch.randn(10, 700, generator=torch.Generator().manual_seed(3))
    selection = largest_of_rows(pieces_of(values, 3), 4)
    assert selection.row.tolist() == [row for row in range(10) for _ in range(4)]
    assert torch.equal(selection.pre.view(10, 4), values.topk(4, dim=1).values)


def test_all_above_a_floor_are_found_in_every_piece() -> None:
    values = torch.randn(10, 700, generator=torch.Generator().manual_seed(4))
    assert torch.equal(chosen(all_above(pieces_of(values, 3), 0.5), values), values > 0.5)


def test_pieces_are_nearly_equal_and_cover_the_rows_once() -> None:
    """4097 rows by 1024: no last piece of one row, which would cost as much as a whole one."""
    pieces = PreActivations(4097, 1024, lambda start, stop: torch.empty(stop - start, 1)).pieces()
    assert pieces[0][0] == 0
    assert pieces[-1][1] == 4097
    assert all(before[1] == after[0] for before, after in pairwise(pieces))
    assert {stop - start for start, stop in pieces} == {819, 820}
