"""Statistics of latents against the definition, latent by latent."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from steerwright.features.s_matrix import SMatrix
from steerwright.features.statistics import BINS, density_bin, statistics
from steerwright.features.top_images import top_images


def sample(images: int, size: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Few distinct values, so that there are ties; densities from 0 to 1; some activations below the threshold."""
    random = np.random.default_rng(seed)
    values = random.integers(1, 6, (images, size)) / 4
    values *= random.random((images, size)) < np.linspace(0, 1, size) ** 2
    values += random.random((images, size)) * 1e-5
    return values.astype(np.float32)


def best_images(column: NDArray[np.float32], prompts: list[int], top: int, above: float) -> list[int]:
    """The plain loop: in order of activation, then of number; the first image of each prompt."""
    order = sorted((image for image in range(len(column)) if column[image] > above), key=lambda i: (-column[i], i))
    chosen: list[int] = []
    for image in order:
        if prompts[image] not in [prompts[other] for other in chosen]:
            chosen.append(image)
    return chosen[:top]


@pytest.mark.parametrize("elements", [7, 100, 10**6])
def test_each_latent_is_as_a_loop_has_it(
    s_matrix_of: Callable[..., SMatrix], monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    monkeypatch.setattr("steerwright.features.s_matrix.BLOCK", elements)
    values = sample(50, 12)
    found = statistics(s_matrix_of(values), alive_above=1e-4, top=5)
    active = values > 1e-4
    for row in found.latents.iter_rows(named=True):
        column = values[:, row["latent"]]
        assert row["frequency"] == active[:, row["latent"]].mean()
        assert row["mean"] == pytest.approx(column.mean(dtype=np.float64))
        assert row["std"] == pytest.approx(column.std(dtype=np.float64))
        assert row["largest"] == column.max()
        assert row["alive"] == active[:, row["latent"]].any()
        assert row["l0_share"] == active[:, row["latent"]].sum() / active.sum()
        own = found.top.filter(latent=row["latent"])
        expected = best_images(column, list(range(50)), 5, 1e-4)
        assert own["image"].to_list() == expected
        assert own["rank"].to_list() == list(range(1, len(expected) + 1))
        assert own["score"].to_list() == [float(column[image]) for image in expected]
    assert found.latents["latent"].to_list() == list(range(12))
    assert found.latents["l0_share"].sum() == pytest.approx(1)


def test_a_latent_that_is_active_nowhere_is_dead_and_has_no_images(s_matrix_of: Callable[..., SMatrix]) -> None:
    found = statistics(s_matrix_of(np.full((10, 2), 1e-5)), alive_above=1e-4)
    assert found.latents["bin"].to_list() == ["dead", "dead"] and not found.latents["alive"].any()
    assert len(found.top) == 0 and found.latents["l0_share"].to_list() == [0, 0]


def test_the_density_bins_are_those_of_the_published_system() -> None:
    shares = [0, 0.001, 0.00999, 0.01, 0.05, 0.0999, 0.1, 0.5, 1]
    expected = ["dead", "rare", "rare", "common", "common", "common", "very common", "very common", "very common"]
    assert [BINS[place] for place in density_bin(np.array(shares))] == expected


def test_the_statistic_can_be_chosen(s_matrix_of: Callable[..., SMatrix]) -> None:
    s = s_matrix_of(sample(20, 4))
    halved = SMatrix(s.source, s.max, s.mean / 2, s.top)
    assert statistics(halved, statistic="mean").latents["largest"].to_list() == pytest.approx(
        (s.max.max(0) / 2).tolist()
    )


@pytest.mark.parametrize("top", [1, 3, 20])
def test_one_image_of_each_prompt(top: int) -> None:
    values = sample(40, 30, seed=3)
    prompts = (np.random.default_rng(1).integers(0, 9, 40) * 7).tolist()  # unequal numbers of images
    found = top_images(torch.from_numpy(values.T.copy()), top, 1e-4, np.array(prompts))
    assert found.image.shape == (30, top)
    for latent in range(30):
        expected = best_images(values[:, latent], prompts, top, 1e-4)
        assert found.image[latent, : len(expected)].tolist() == expected
        assert (found.image[latent, len(expected) :] == -1).all()
        np.testing.assert_array_equal(found.score[latent, : len(expected)], values[expected, latent])
        assert (found.score[latent, len(expected) :] == 0).all()
    assert found.count.tolist() == [len(best_images(values[:, f], prompts, top, 1e-4)) for f in range(30)]
