"""Faults that are planted in pictures, and the discriminant that finds them."""

import numpy as np
import pytest
import torch

from steerwright.scoring import artifacts as planted_artifacts
from steerwright.scoring.artifacts import FAULTS, Discriminant, spoilt


def scene(count: int) -> np.ndarray:
    """Pictures with edges everywhere, so that every fault shows."""
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)


def test_every_fault_changes_every_picture_and_the_same_seed_plants_the_same() -> None:
    pixels = scene(6)
    first, again, other = spoilt(pixels, 1), spoilt(pixels, 1), spoilt(pixels, 2)
    assert tuple(first) == FAULTS
    for name, made in first.items():
        assert made.shape == pixels.shape and made.dtype == np.uint8
        assert (np.abs(made.astype(int) - pixels).mean((1, 2, 3)) > 1).all(), name
        assert (made == again[name]).all() and (made != other[name]).any()


def test_patchwork_is_made_of_other_pictures_and_never_of_none() -> None:
    # One picture is red, the others are blue: red with blobs of blue, blue with blobs of red, nothing else.
    pixels = np.zeros((3, 64, 64, 3), np.uint8)
    pixels[0, ..., 0], pixels[1:, ..., 2] = 200, 200
    made = spoilt(pixels, 3)["patchwork"].astype(int)
    assert (made[..., 1] == 0).all() and (np.abs(made[..., 0] + made[..., 2] - 200) <= 1).all()
    assert 0 < (made[0, ..., 2] > 100).mean() < 1


def test_a_warp_moves_what_is_there_and_keeps_its_colours() -> None:
    pixels = np.zeros((4, 64, 64, 3), np.uint8)
    pixels[:, 20:44, 20:44] = 255
    made = spoilt(pixels, 0)["warp"]
    assert (made != pixels).any((1, 2, 3)).all()
    assert set(np.unique(made[:, 30:34, 30:34])) == {255} and set(np.unique(made[:, :2, :2])) == {0}


def test_one_picture_alone_cannot_be_cut_up() -> None:
    with pytest.raises(ValueError, match="two at least"):
        spoilt(scene(1), 0)


def test_the_discriminant_is_fisher_s(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    monkeypatch.setattr(planted_artifacts, "RIDGE", 0.0)
    monkeypatch.setattr(planted_artifacts, "FURTHEST", 1e9)
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 0.3]])
    sound = torch.randn(300, 3, generator=generator) @ mixing + 5
    faulty = torch.randn(300, 3, generator=generator) @ mixing + 5 + torch.tensor([0.5, -0.5, 0.2])
    found = Discriminant.of(sound, faulty)
    both, label = torch.cat([sound, faulty]).numpy(), np.repeat([0, 1], 300)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(both, label).coef_[0]
    ours = (found.direction / found.scale).numpy()
    assert ours / np.linalg.norm(ours) == pytest.approx(theirs / np.linalg.norm(theirs), abs=1e-4)
    assert found(faulty).mean() > found(sound).mean()
