"""Decoder directions: neighbours by a loop, moments by scipy, and a map that keeps clusters together."""

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis, skew

from steerwright.features.decoder import decoder_table, direction_map, moments, nearest_directions, similarity_matrix
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae


def dictionary(size: int = 30, width: int = 8) -> Sae:
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = (torch.randn(size, width, generator=generator) for _ in range(2))
    decoder[7] = 2.5 * decoder[3] + 0.2 * decoder[0]  # nearly the same direction
    decoder[9] = 0
    return Sae(encoder, torch.zeros(size), decoder, torch.zeros(width), Relu())


@pytest.mark.parametrize("block", [31, 10**6])
def test_the_table_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("steerwright.features.decoder._BLOCK", block)
    sae = dictionary()
    alive = np.ones(30, dtype=bool)
    alive[[5, 12]] = False
    table = decoder_table(sae, alive, neighbours=4)
    decoder, encoder = sae.decoder.double().numpy(), sae.encoder.double().numpy()
    for row in table.iter_rows(named=True):
        own = decoder[row["latent"]]
        length = np.linalg.norm(own)
        assert row["norm"] == pytest.approx(length)
        if row["latent"] in (5, 9, 12):
            assert row["neighbours"] == [] and row["neighbour_cosines"] == []
            assert (row["x"] is None) == (row["latent"] != 9)
            continue
        there = encoder[row["latent"]]
        assert row["encoder_decoder_cosine"] == pytest.approx(own @ there / length / np.linalg.norm(there))
        cosines = {
            other: own @ decoder[other] / length / np.linalg.norm(decoder[other])
            for other in range(30)
            if alive[other] and other not in (9, row["latent"])
        }
        expected = sorted(cosines, key=lambda other: -cosines[other])[:4]
        assert row["neighbours"] == expected
        assert row["neighbour_cosines"] == pytest.approx([cosines[other] for other in expected], abs=1e-6)
    assert table["neighbours"][3][0] == 7 and table["neighbour_cosines"][3][0] > 0.98
    assert table["encoder_decoder_cosine"][9] is None


def test_fewer_directions_than_neighbours() -> None:
    found = nearest_directions(dictionary().decoder, np.array([2, 4]), 5)
    assert found.latent.tolist() == [[4, -1, -1, -1, -1], [2, -1, -1, -1, -1]]
    assert nearest_directions(dictionary().decoder, np.array([2]), 3).latent.tolist() == [[-1, -1, -1]]


def test_moments_are_scipys() -> None:
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(1)).exp()
    rows[4] = 2.0
    found = moments(rows)
    dense = rows.double().numpy()
    np.testing.assert_allclose(found["mean"], dense.mean(1))
    np.testing.assert_allclose(found["std"], dense.std(1), atol=1e-12)
    np.testing.assert_allclose(found["skewness"][:4], skew(dense[:4], axis=1))
    np.testing.assert_allclose(found["kurtosis"][:4], kurtosis(dense[:4], axis=1, fisher=False))
    assert np.isnan(found["skewness"][4]) and np.isnan(found["kurtosis"][4])


def test_similarities_of_chosen_latents() -> None:
    found = similarity_matrix(dictionary().decoder, [3, 7, 0])
    assert 0.98 < found[0, 1] < 1 and np.diag(found) == pytest.approx([1, 1, 1])
    np.testing.assert_allclose(found, found.T)


def clusters(each: int, width: int = 24) -> tuple[torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(6, width, generator=generator)
    label = torch.arange(6 * each) % 6
    return centres[label] + 0.4 * torch.randn(6 * each, width, generator=generator), label.numpy()


@pytest.mark.parametrize("exactly", [2000, 90])
def test_similar_directions_lie_near_each_other_on_the_map(exactly: int) -> None:
    directions, label = clusters(40)
    places = direction_map(directions, exactly=exactly)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(1)
    # Of six clusters by chance a sixth; two principal components alone keep fewer together than the map does.
    assert (label[nearest] == label).mean() > 0.98
    assert np.isfinite(places).all() and np.array_equal(places, direction_map(directions, exactly=exactly))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 8])
def test_a_map_of_few_directions_is_finite(count: int) -> None:
    places = direction_map(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)))
    assert places.shape == (count, 2) and np.isfinite(places).all()
