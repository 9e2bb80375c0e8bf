from dataclasses import dataclass

import pytest
import torch
from sklearn.metrics import explained_variance_score, r2_score
from torch import Tensor

from steerwright.sae.activations import TopK
from steerwright.sae.metrics import UnexplainedVariance, evaluate
from steerwright.sae.sae import Sae


@dataclass
class Batch:
    rows: Tensor
    step: Tensor


def autoencoder(width: int = 8, size: int = 32, k: int = 3) -> Sae:
    generator = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(size, width, generator=generator), dim=1)
    return Sae(decoder.clone(), torch.zeros(size), decoder, torch.randn(width, generator=generator), TopK(k))


def mixed_rows(count: int = 500, width: int = 8) -> tuple[Tensor, Tensor]:
    """Far from 0, and about another mean at each of three steps."""
    generator = torch.Generator().manual_seed(1)
    step = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, width, generator=generator) + 30 + 4 * step.unsqueeze(1), step


def test_fvu_is_one_less_scikit_learns_explained_variance_whatever_the_batches() -> None:
    sae, (rows, step) = autoencoder(), mixed_rows()
    reconstruction = sae.reconstruct(rows)[1]
    expected = 1 - explained_variance_score(rows, reconstruction, multioutput="variance_weighted")
    # The reconstruction's error has a mean here, so that this is another number than 1 - R^2.
    assert abs(expected - (1 - r2_score(rows, reconstruction, multioutput="variance_weighted"))) > 0.01
    for size in (1, 7, 500):
        found = evaluate(sae, (Batch(*pair) for pair in zip(rows.split(size), step.split(size), strict=True)))
        assert found.fvu == pytest.approx(expected, rel=1e-5)
        assert found.rows == 500


def test_fvu_of_a_step_is_against_that_steps_own_mean() -> None:
    sae, (rows, step) = autoencoder(), mixed_rows()
    found = evaluate(sae, [Batch(rows[:200], step[:200]), Batch(rows[200:], step[200:])])
    assert list(found.fvu_by_step) == [0, 1, 2]
    for index, fvu in found.fvu_by_step.items():
        its = rows[step == index]
        score = explained_variance_score(its, sae.reconstruct(its)[1], multioutput="variance_weighted")
        assert fvu == pytest.approx(1 - score, rel=1e-5)


def test_rows_without_a_step_count_in_the_whole_alone() -> None:
    rows, _ = mixed_rows()
    found = evaluate(autoencoder(), [Batch(rows, torch.full((len(rows),), -1))])
    assert found.fvu_by_step == {}
    assert found.rows == len(rows)


def test_l0_density_and_the_dead_are_counted_from_latents_above_0() -> None:
    """Three rows by hand: latents 0 and 1 are active in the first, 0 alone in the second, none in the third."""
    sae = Sae(torch.eye(4), torch.zeros(4), torch.eye(4), torch.zeros(4), TopK(2))
    rows = torch.tensor([[3.0, 1, 0, 0], [2, -1, -1, -1], [-1, -1, -1, -1]])
    found = evaluate(sae, [Batch(rows, torch.tensor([0, 0, 1]))])
    assert found.l0 == 1.0
    assert found.density.tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert found.dead_share == 0.5


def test_the_mean_as_reconstruction_leaves_all_variance_unexplained() -> None:
    rows, _ = mixed_rows()
    streamed = UnexplainedVariance()
    for piece in rows.split(33):
        streamed.add(piece, rows.mean(0).expand_as(piece))
    assert streamed.fvu == pytest.approx(1.0, abs=1e-6)


def test_a_mean_a_thousand_times_the_spread_does_not_drown_it() -> None:
    rows = torch.randn(400, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    near, far = UnexplainedVariance(), UnexplainedVariance()
    near.add(rows, 0.5 * rows)
    far.add(rows + 1e6, 0.5 * rows + 1e6)
    assert far.fvu == pytest.approx(near.fvu, rel=1e-6)
    assert near.fvu == pytest.approx(0.25)
