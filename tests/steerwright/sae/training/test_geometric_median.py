import pytest
import torch

from steerwright.sae.training.trainer import geometric_median


def test_of_a_triangle_it_is_fermats_point() -> None:
    """For an equilateral triangle: its centre. For one with an angle of 120 degrees or more: that corner."""
    corners = torch.tensor([[0.0, 0], [1, 0], [0.5, 3**0.5 / 2]])
    torch.testing.assert_close(geometric_median(corners), torch.tensor([0.5, 3**0.5 / 6]), rtol=0, atol=1e-5)
    flat = torch.tensor([[-1.0, 0.1], [1, 0.1], [0, 0]])
    torch.testing.assert_close(
        geometric_median(flat, iterations=10_000, tolerance=0.0), torch.tensor([0.0, 0.0]), rtol=0, atol=1e-3
    )


def test_huge_rows_do_not_pull_it_away() -> None:
    rows = torch.randn(1000, 6, generator=torch.Generator().manual_seed(0))
    rows[:50] = 1e4
    assert rows.mean(0).norm() > 1000
    assert geometric_median(rows).norm() < 0.5


@pytest.mark.parametrize("rows", [torch.ones(5, 3), torch.zeros(2, 3), torch.tensor([[1.0, 2, 3]])])
def test_a_guess_upon_a_row_divides_by_nothing(rows: torch.Tensor) -> None:
    assert torch.equal(geometric_median(rows), rows[0])


def test_its_gradient_vanishes() -> None:
    """The sum of unit vectors towards the rows is 0: the definition, another way."""
    rows = torch.randn(9000, 5, generator=torch.Generator().manual_seed(1)).double() ** 3
    away = rows - geometric_median(rows)
    assert (away / away.norm(dim=1, keepdim=True)).mean(0).norm() < 1e-5
