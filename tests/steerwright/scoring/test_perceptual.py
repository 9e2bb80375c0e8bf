"""LPIPS on our backbone against its formula, and silence about everything else."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steerwright.errors import UserError
from steerwright.scoring.perceptual import Perceptual, PerceptualBackbone, on_backbone, save_perceptual_backbone


class TwoMaps(nn.Module):
    """Feature maps that can be worked out by hand: the pixels, and their negative twice over."""

    channels = (3, 6)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [pixels, torch.cat([-pixels, -pixels], 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_perceptual_backbone(PerceptualBackbone((4, 8)), tmp_path)
    return tmp_path


def pictures(seed: int, count: int = 5, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_distance_is_the_squared_difference_of_unit_features_summed_over_maps() -> None:
    red, cyan = torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, 1, -1])
    first, second = (colour[None, :, None, None].expand(1, 3, 4, 4) for colour in (red, cyan))
    # Unit vectors differ by 2/sqrt(3) in two of three channels: 8/3 in each map, doubled channels being normalised too.
    assert on_backbone(TwoMaps())(first, second).item() == pytest.approx(2 * 8 / 3, rel=1e-5)


def test_distances_are_zero_to_itself_symmetric_and_independent_of_the_batch(folder: Path) -> None:
    metric = Perceptual(folder, device="cpu", batch_size=2)
    first, second = pictures(1), pictures(2)
    there = metric.distances(first, second)
    assert metric.name == "lpips_seasons"
    assert there.shape == (5,) and there.min() > 0
    assert metric.distances(first, first).abs().max() < 1e-6
    assert torch.allclose(there, metric.distances(second, first), atol=1e-6)
    assert torch.allclose(there[3:4], metric.distances(first[3:4], second[3:4]), atol=1e-6)


def test_a_larger_change_is_further_away(folder: Path) -> None:
    metric = Perceptual(folder, device="cpu")
    picture = np.repeat(pictures(3, 1), 3, axis=0).astype(int)
    noise = np.random.default_rng(4).normal(size=picture.shape[1:])
    noisy = np.stack([np.clip(picture[0] + scale * noise, 0, 255) for scale in (2, 10, 50)])
    small, middle, large = metric.distances(picture.astype(np.uint8), noisy.astype(np.uint8)).tolist()
    assert small < middle < large


def test_loading_prints_nothing_warns_of_nothing_and_leaves_the_random_numbers_alone(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Perceptual(folder, device="cpu").distances(pictures(1), pictures(2))
    assert torch.equal(torch.rand(3), expected)
    assert capfd.readouterr() == ("", "")


def test_alex_without_network_names_the_embedded_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from urllib.error import URLError

    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"weights of the alex network.*models/seasons-lpips"):
        Perceptual("alex")
    assert capfd.readouterr() == ("", "")


def test_alex_with_weights_runs_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    torch.manual_seed(0)
    state = torchvision.models.alexnet(weights=None).state_dict()
    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", lambda *a, **k: state)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: state)
    metric = Perceptual("alex", device="cpu")
    assert metric.name == "lpips_alex"
    assert (metric.distances(pictures(1, 2), pictures(2, 2)) > 0).all()


def test_a_folder_that_is_not_there_and_pictures_of_two_sizes_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="no perceptual backbone 'nowhere'"):
        Perceptual("nowhere")
    with pytest.raises(ValueError, match="one shape"):
        Perceptual(folder, device="cpu").distances(pictures(1), pictures(1, size=32))
