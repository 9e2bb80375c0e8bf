"""The contact sheet of features: original beside overlay, in the order of rank, gaps that say so."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tasks.flux.sheets import CELL, GAP, MARGIN, PAIR_GAP, feature_sheet, sheet_rows

SELECTED = pl.DataFrame({
    "rank": [2, 1], "latent": [40, 30], "coherence": [0.5, 0.75], "z": [None, 9.25], "examples": [[0], [1, 2]],
})  # fmt: skip
LABELS = pl.DataFrame({"latent": [30], "label": ["season"], "value": ["winter"], "auroc": [0.987]})
PAIR = 2 * CELL + PAIR_GAP


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    originals, heated = tmp_path / "images", tmp_path / "overlays"
    originals.mkdir()
    heated.mkdir()
    for image in range(3):
        Image.new("RGB", (64, 64), (image, 100, 0)).save(originals / f"{image}.png")
    for latent, image in ((30, 1), (30, 2)):
        Image.new("RGB", (64, 64), (image, 200, latent)).save(heated / f"{latent}-{image}.png")
    return originals, heated


def rows_of(folders: tuple[Path, Path], labels: pl.DataFrame = LABELS) -> list:
    images = pl.DataFrame({"image": [0, 1, 2], "prompt": ["zero", "one", "two"], "file": ["0.png", "1.png", "2.png"]})
    overlays = pl.DataFrame({
        "latent": [30, 30], "image": [1, 2], "file": ["30-1.png", "30-2.png"], "map_max": [3.25, 2.0],
    })  # fmt: skip
    return sheet_rows(SELECTED, images, overlays, labels, *folders)


def corner(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int]:
    found = np.argwhere((sheet == colour).all(axis=2))
    assert len(found) == CELL * CELL
    return int(found[:, 0].min()), int(found[:, 1].min())


def test_features_stand_in_order_of_rank_and_each_original_beside_its_overlay(folders: tuple[Path, Path]) -> None:
    rows = rows_of(folders)
    sheet = np.asarray(feature_sheet(rows, "Early"))
    first, second = corner(sheet, (1, 100, 0)), corner(sheet, (2, 100, 0))
    assert corner(sheet, (1, 200, 30)) == (first[0], first[1] + CELL + PAIR_GAP)
    assert second == (first[0], MARGIN + PAIR + GAP) and first[1] == MARGIN
    # Latent 40 has rank 2, below, and no overlay: its original is alone beside a frame.
    assert corner(sheet, (0, 100, 0))[0] > first[0] + CELL


def test_each_feature_says_its_label_coherence_and_z(folders: tuple[Path, Path]) -> None:
    rows = rows_of(folders)
    assert [row.name for row in rows] == ["Latent 30", "Latent 40"]
    assert rows[0].facts == "season winter, AUROC 0.99   coherence 0.75, z 9.2"
    assert rows[1].facts == "coherence 0.50, z \u2013"
    assert [example.caption for row in rows for example in row.examples] == ["3.25  one", "2.00  two", "zero"]
    assert rows_of(folders, LABELS.clear())[0].facts == "coherence 0.75, z 9.2"


def test_the_same_rows_give_the_same_bytes(folders: tuple[Path, Path]) -> None:
    files = []
    for _ in range(2):
        out = io.BytesIO()
        feature_sheet(rows_of(folders), "Early").save(out, "PNG", optimize=False)
        files.append(out.getvalue())
    assert files[0] == files[1]


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no features"):
        feature_sheet([], "Early")
