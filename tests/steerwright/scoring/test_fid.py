"""FID against hand arithmetic and scipy's matrix square root, and its features against what they are said to be."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steerwright.errors import UserError
from steerwright.scoring.fid import FidFeatures, features, fid_name, frechet_distance
from steerwright.scoring.perceptual import PerceptualBackbone, load_perceptual_backbone, save_perceptual_backbone

EMBEDDED = Path(__file__).parents[3] / "models/seasons-lpips"


def normal(seed: int, count: int, width: int) -> np.ndarray:
    """Correlated rows, not around zero."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


def pictures(seed: int, count: int = 6, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_one_feature_is_the_difference_of_means_and_of_deviations_squared() -> None:
    # Means 2 and 7; variances (1 + 0 + 1) / 2 = 1 and (16 + 0 + 16) / 2 = 16: (7 - 2)^2 + (4 - 1)^2 = 34.
    assert frechet_distance([[1], [2], [3]], [[3], [7], [11]]) == pytest.approx(34, rel=1e-12)


def test_features_that_do_not_correlate_add_up() -> None:
    square = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=float)  # variance 4/3 each, covariance 0
    other = square * [3, 0.5] + [10, -2]
    # Deviations are s = sqrt(4/3): s and 3s, s and s/2. (10^2 + 2^2) + 4/3 * ((3 - 1)^2 + (1/2 - 1)^2).
    assert frechet_distance(square, other) == pytest.approx(104 + 4 / 3 * (4 + 0.25), rel=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [((40, 60), 5), ((6, 9), 12)])
def test_the_matrix_square_root_of_scipy_gives_the_same(rows: tuple[int, int], columns: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    first, second = normal(1, rows[0], columns), normal(2, rows[1], columns)
    one, two = np.cov(first.T), np.cov(second.T)
    # An eigenvalue that is zero up to rounding has a square root of 1e-8, hence the tolerance for few rows.
    root = np.trace(linalg.sqrtm(one @ two).real)
    gap = first.mean(0) - second.mean(0)
    expected = gap @ gap + np.trace(one) + np.trace(two) - 2 * root
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9 if rows[0] > columns else 1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 7))
def test_it_is_symmetric_and_neither_a_rotation_nor_a_shift_of_both_changes_it(seed: int, width: int) -> None:
    first, second = normal(seed, 9, width), normal(seed + 1, 12, width)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    there = frechet_distance(first, second)
    assert frechet_distance(second, first) == pytest.approx(there, rel=1e-9, abs=1e-9)
    assert frechet_distance(first @ turn + 3, second @ turn + 3) == pytest.approx(there, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("count", [4, 100])
def test_a_set_is_at_zero_from_itself_in_any_order(count: int) -> None:
    rows = normal(3, count, 8)
    assert frechet_distance(rows, rows[::-1]) < 1e-12 * np.square(rows).sum()


def test_a_shift_counts_by_its_square() -> None:
    rows = normal(4, 50, 3)
    found = [frechet_distance(rows, rows + np.array([shift, 0, 0])) for shift in (0, 1, 2, 5)]
    assert found == pytest.approx([0, 1, 4, 25], abs=1e-9)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (np.zeros((1, 2)), "at least 2"),
        (np.zeros(4), "at least 2"),
        (np.zeros((3, 3)), "3 and 2 features"),
        (np.array([[0, 1], [np.nan, 1], [np.inf, 0]]), "2 of 6 numbers of the first set are not finite"),
    ],
)
def test_what_is_no_sample_of_the_same_features_is_refused(first: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        frechet_distance(first, np.zeros((3, 2)))


def test_embedded_features_are_the_mean_of_the_last_map_whatever_the_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_perceptual_backbone(PerceptualBackbone((4, 6)), tmp_path)
    images = pictures(0, 5)
    last = load_perceptual_backbone(tmp_path)(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)[-1]
    found = FidFeatures(tmp_path, device="cpu", batch_size=2)(images)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, last.detach().numpy().mean(axis=(2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(features(images, tmp_path), found, rtol=1e-4, atol=1e-6)


def test_damaged_pictures_are_further_away_the_more_they_are_damaged() -> None:
    from seasons.render import render_all
    from seasons.scene import sample_scenes

    embed = FidFeatures(EMBEDDED, device="cpu")
    clean = render_all(sample_scenes(120, 1))
    other = render_all(sample_scenes(120, 2)).astype(int)

    def doubled(shift: int) -> float:
        damaged = (other + np.roll(other, shift, axis=2)) // 2
        return frechet_distance(embed(clean), embed(damaged.astype(np.uint8)))

    assert doubled(0) < doubled(3) < doubled(8)


def test_the_name_of_the_score_says_whose_features_it_compares(tmp_path: Path) -> None:
    assert fid_name() == "fid_seasons" and fid_name("inception") == "fid_inception"
    assert FidFeatures(EMBEDDED, device="cpu").name == "fid_seasons"


@pytest.fixture
def random_inception(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights that nobody trained, handed out where torchvision would fetch its own."""
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.inception_v3(weights=None, init_weights=False)
    state: dict[str, Tensor] = network.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: state)
    return state


def test_inception_gives_its_pooled_features_of_pixels_in_its_own_range(
    random_inception: dict[str, Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    import torchvision

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    embed = FidFeatures("inception", device="cpu", batch_size=1)
    images = pictures(1, 2, 299)
    found = embed(images)
    assert torch.equal(torch.rand(3), expected)
    assert embed.name == "fid_inception" and found.shape == (2, 2048)
    assert capfd.readouterr() == ("", "")
    # What comes into the average pooling of the network that torchvision builds, caught by a hook.
    plain = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    plain.load_state_dict(random_inception)
    caught: list[Tensor] = []
    plain.Mixed_7c.register_forward_hook(lambda module, inputs, output: caught.append(output))
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        plain((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / deviation)
    expected_features = caught[0].mean((2, 3)).numpy()
    np.testing.assert_allclose(found, expected_features, rtol=1e-3, atol=1e-4 * np.abs(expected_features).max())
    assert embed(pictures(1, 1)).shape == (1, 2048)


def test_inception_without_network_names_the_embedded_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"weights of Inception v3.*models/seasons-lpips"):
        FidFeatures("inception")


def test_a_folder_without_a_backbone_and_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no features for FID.*config.json and model.safetensors missing"):
        features(pictures(0), tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no images"):
        features(pictures(0, 0), EMBEDDED)
