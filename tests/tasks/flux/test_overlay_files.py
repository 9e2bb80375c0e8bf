"""Overlays on disk: one for each latent and image, with the limit that they were drawn to."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steerwright.report.html.overlays import overlay
from tasks.flux.overlays import write_overlays

EXAMPLES = {7: [2, 5], 9: [1]}


def token_map(image: int, latent: int) -> np.ndarray:
    """Non-square; the largest value is 10 * latent + image, once, and everything else is 1."""
    values = np.ones((4, 6), dtype=np.float32)
    values[image % 4, 5] = 10 * latent + image
    return values


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for image in (1, 2, 5):
        pixels = np.random.default_rng(image).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{image}.png")
    return folder


def test_every_latent_and_image_has_its_file_and_what_the_table_says_is_what_is_drawn(
    tmp_path: Path, pictures: Path
) -> None:
    folder = tmp_path / "overlays"
    table = write_overlays(folder, EXAMPLES, token_map, lambda image: pictures / f"{image}.png", percentile=90)
    assert table.select("latent", "image", "file").rows() == [
        (7, 2, "7-2.png"), (7, 5, "7-5.png"), (9, 1, "9-1.png"),
    ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["7-2.png", "7-5.png", "9-1.png"]
    # Two of 48 tokens of latent 7 are above 1, so the 90th percentile is 1; both maps lie over the same limit.
    assert table["vmax"].to_list() == [1.0, 1.0, 1.0]
    assert table["map_max"].to_list() == [72.0, 75.0, 91.0]
    assert table["map_mean"].to_list() == pytest.approx([(23 + 72) / 24, (23 + 75) / 24, (23 + 91) / 24])
    assert table["tokens_above"].to_list() == [1, 1, 1]
    for row in table.to_dicts():
        pixels = np.asarray(Image.open(pictures / f"{row['image']}.png"))
        drawn = overlay(pixels, token_map(row["image"], row["latent"]), row["vmax"])
        assert np.array_equal(np.asarray(Image.open(folder / row["file"])), drawn)


def test_the_limit_is_that_of_the_latent_or_of_each_map(tmp_path: Path, pictures: Path) -> None:
    limits = {
        scope: write_overlays(
            tmp_path / scope, EXAMPLES, token_map, lambda image: pictures / f"{image}.png", 100, scope
        )["vmax"].to_list()
        for scope in ("latent", "map")
    }
    assert limits == {"latent": [75.0, 75.0, 91.0], "map": [72.0, 75.0, 91.0]}


def test_the_same_maps_give_the_same_bytes(tmp_path: Path, pictures: Path) -> None:
    digests = []
    for name in ("first", "second"):
        write_overlays(tmp_path / name, EXAMPLES, token_map, lambda image: pictures / f"{image}.png")
        digests.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).iterdir()})
    assert digests[0] == digests[1] and len(digests[0]) == 3
