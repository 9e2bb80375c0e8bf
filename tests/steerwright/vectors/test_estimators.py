import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from steerwright.vectors.estimators.logistic_probe import logistic_probe
from steerwright.vectors.estimators.mean_difference import mean_difference
from steerwright.vectors.estimators.principal_component import principal_component
from steerwright.vectors.estimators.registry import ESTIMATORS, estimate


def planted(n: int = 200, d: int = 24, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positive and negative rows that share a scene and differ by about 3 along a random direction, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
    scenes = torch.randn(n, d, generator=generator)
    scenes -= (scenes @ truth)[:, None] * truth
    amounts = 3 + 0.5 * torch.randn(n, 1, generator=generator)
    noise = 0.2 * torch.randn(2, n, d, generator=generator)
    return scenes + amounts * truth + noise[0], scenes + noise[1], truth


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_planted_direction_is_found_with_its_sign_and_size(name: str) -> None:
    positive, negative, truth = planted()
    found = estimate(name, positive, negative)  # type: ignore[arg-type]
    assert found.unit @ truth > 0.97
    assert found.norm == pytest.approx(3.0, abs=0.15)
    assert found.unit.dtype == torch.float32
    assert found.unit.norm() == pytest.approx(1.0, abs=1e-6)
    swapped = estimate(name, negative, positive)  # type: ignore[arg-type]
    assert torch.allclose(swapped.unit, -found.unit, atol=1e-4)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimate_is_the_same_every_time(name: str) -> None:
    positive, negative, _ = planted()
    first, second = (estimate(name, positive, negative) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(first.unit, second.unit)


def test_the_mean_difference_by_hand() -> None:
    positive, negative = torch.tensor([[3.0, 1.0], [5.0, 5.0]]), torch.tensor([[1.0, -1.0]])
    # (4, 3) - (1, -1) = (3, 4), of length 5.
    found = mean_difference(positive, negative)
    assert torch.allclose(found.unit, torch.tensor([0.6, 0.8]))
    assert found.norm == 5.0


@pytest.mark.parametrize("n", [5, 60])
def test_the_principal_component_equals_numpys_for_few_and_for_many_rows(n: int) -> None:
    positive, negative, _ = planted(n, 12)
    differences = (positive - negative).double().numpy()
    values, axes = np.linalg.eig(differences.T @ differences)
    first = axes[:, np.argmax(values.real)].real
    first *= np.sign(differences.mean(0) @ first)
    found = principal_component(positive, negative)
    assert np.allclose(found.unit.numpy(), first, atol=1e-5)
    assert found.norm == pytest.approx(differences.mean(0) @ first, rel=1e-5)


def test_the_probe_equals_scikit_learns_at_the_same_penalty() -> None:
    positive, negative, _ = planted(80, 6)
    rows = torch.cat([positive, negative]).double()
    centred = rows - (positive.double().mean(0) + negative.double().mean(0)) / 2
    scaled = (centred / centred.square().mean().sqrt()).numpy()
    # Ours: mean loss + ridge * w^2; theirs: C * summed loss + w^2 / 2, so C = 1 / (2 * ridge * rows).
    model = LogisticRegression(C=1 / (2 * 0.01 * len(rows)), tol=1e-10, max_iter=5000)
    model.fit(scaled, np.repeat([1, 0], 80))
    expected = model.coef_[0] / np.linalg.norm(model.coef_[0])
    assert np.allclose(logistic_probe(positive, negative, ridge=0.01).unit.numpy(), expected, atol=1e-4)


def test_a_probe_of_unequal_classes_weighs_both_the_same() -> None:
    positive, negative, truth = planted()
    few = logistic_probe(positive, negative[:40])
    assert few.unit @ truth > 0.9


@pytest.mark.parametrize("name", ESTIMATORS)
def test_equal_classes_have_no_direction(name: str) -> None:
    same = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"coincide|same mean"):
        estimate(name, same, same.clone())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_per_position_a_place_without_difference_gets_no_direction(name: str) -> None:
    positive, negative, truth = planted()
    both = (torch.stack([negative, positive], 1), torch.stack([negative + 1e-7, negative], 1))
    found = estimate(name, *both)  # type: ignore[arg-type]
    assert found.norm[0] == 0 and not found.unit[0].any()
    assert found.unit[1] @ truth > 0.97


def test_unpaired_rows_have_no_principal_component() -> None:
    with pytest.raises(ValueError, match="as many positive as negative rows"):
        principal_component(torch.ones(3, 2), torch.zeros(2, 2))
