"""Artifacts that are planted in generated pictures are found; sound ones are taken for them at the known rate only.

tests/data/scoring/unsteered-pictures.webp: 256 unsteered pictures of the embedded model (48 prompts), 16 a row.
"""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import avg_pool2d, pad

from seasons.drawing import DRAW
from seasons.render import render
from seasons.scene import sample_scene
from steerwright.scoring.artifacts import FOLDS, ArtifactDetector, Whitening, spoilt
from steerwright.scoring.labels import LabelScorer

Pictures = NDArray[np.uint8]
COUNT = 196


@cache
def generated() -> Pictures:
    with Image.open("tests/data/scoring/unsteered-pictures.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    return pixels.reshape(16, 64, 16, 64, 3).swapaxes(1, 2).reshape(256, 64, 64, 3)


def scenes(seeds: range) -> Pictures:
    return np.stack([render(sample_scene(np.random.default_rng(seed))) for seed in seeds])


def names(prefix: str, pixels: Pictures) -> list[str]:
    return [f"{prefix}{place}" for place in range(len(pixels))]


@pytest.fixture(scope="module")
def detector() -> ArtifactDetector:
    reference = generated()[:COUNT]
    return ArtifactDetector(reference, names("reference", reference), classifier=LabelScorer.load())


@pytest.fixture(scope="module")
def sound() -> Pictures:
    return generated()[COUNT:]


def with_noise(pixels: Pictures, side: int) -> Pictures:
    rng = np.random.default_rng(5)
    spoilt = pixels.copy()
    for picture in spoilt:
        top, left = rng.integers(0, 64 - side, 2)
        picture[top : top + side, left : left + side] = rng.integers(0, 256, (side, side, 3))
    return spoilt


def blurred(pixels: Pictures, side: int) -> Pictures:
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    values = avg_pool2d(pad(values, (side // 2,) * 4, mode="reflect"), side, stride=1)
    return values.permute(0, 2, 3, 1).round().byte().numpy()


def test_sound_pictures_of_other_prompts_cross_the_threshold_about_as_often_as_calibrated(
    detector: ArtifactDetector, sound: Pictures
) -> None:
    assert detector.rate == pytest.approx(0.05, abs=0.01)
    # Of 60 at 5 %: nine or more happen once in 500 times.
    assert detector.found(sound, names("new", sound)).sum() <= 8


@pytest.mark.parametrize("level", [0, 128, 255])
def test_black_grey_and_white_pictures_are_artifacts(detector: ArtifactDetector, level: int) -> None:
    flat = np.full((3, 64, 64, 3), level, np.uint8)
    assert detector.found(flat, names("flat", flat)).all()


@pytest.mark.parametrize(("spoil", "least"), [
    (lambda pixels: np.random.default_rng(0).integers(0, 256, pixels.shape).astype(np.uint8), 1.0),
    (lambda pixels: with_noise(pixels, 12), 0.9),
    (lambda pixels: blurred(pixels, 9), 0.2),
    (lambda pixels: 255 - pixels, 0.9),
    (lambda pixels: (pixels * 0.4 + 150).astype(np.uint8), 0.9),
], ids=["noise", "patch of noise", "blur", "negative", "faded"])  # fmt: skip
def test_planted_artifacts_are_found(detector: ArtifactDetector, sound: Pictures, spoil: object, least: float) -> None:
    assert callable(spoil)
    spoilt = spoil(sound)
    assert detector.found(spoilt, names("spoilt", spoilt)).mean() >= least


def test_a_worse_artifact_scores_higher(detector: ArtifactDetector, sound: Pictures) -> None:
    small, large = (detector.scores(with_noise(sound, side), names("s", sound)).mean() for side in (4, 24))
    assert small < large


def test_an_erased_object_is_no_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = scenes(range(160))
    found = ArtifactDetector(reference, names("p", reference), classifier=LabelScorer.load())
    for name in list(DRAW):
        monkeypatch.setitem(DRAW, name, lambda *_: None)
    cleared = scenes(range(1000, 1040))
    assert found.found(cleared, names("new", cleared)).mean() <= 0.25


def test_pictures_of_a_reference_prompt_are_not_compared_with_themselves(sound: Pictures) -> None:
    reference = sound[:30]
    prompts = names("p", reference)
    found = ArtifactDetector(reference, prompts, bank=100_000)
    assert found.measures(reference, prompts)[:, :2].min() > 0.5
    # Under another prompt's name four in five meet themselves among the others.
    strangers = found.measures(reference, names("stranger", reference))[:, :2]
    assert (strangers < 0.02).all(1).mean() == pytest.approx(0.8, abs=0.2)


def test_scrambled_pictures_are_found(detector: ArtifactDetector, sound: Pictures) -> None:
    # Faults of the kind that was learnt from, drawn again and planted in pictures of other prompts.
    scrambled = spoilt(sound, seed=99)["patchwork"]
    assert detector.found(scrambled, names("spoilt", scrambled)).mean() >= 0.85


def test_the_same_pictures_give_the_same_scores(sound: Pictures) -> None:
    some, prompts = sound[:30], names("p", sound[:30])
    one, other = (ArtifactDetector(some, prompts, bank=500).scores(some[:4], names("q", some[:4])) for _ in range(2))
    assert (one == other).all()


def test_too_few_prompts_are_refused(sound: Pictures) -> None:
    with pytest.raises(ValueError, match=f"at least {FOLDS} prompts, got 2"):
        ArtifactDetector(sound[:8], ["a", "b"] * 4)


def test_whitened_rows_have_the_identity_as_covariance() -> None:
    mixing = torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.1]])
    rows = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) @ mixing + 7
    assert torch.allclose(torch.cov(Whitening.of(rows, 0.0)(rows).T), torch.eye(3), atol=1e-3)
