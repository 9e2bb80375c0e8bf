"""Labelled grids: every strength in its place, the unsteered picture in the middle, gaps that say so."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from steerwright.report.html.labelled_grid import CELL, GAP, MARGIN, arrange_grid, draw_grid, signed
from steerwright.report.html.theme import LIGHT

SHADES = {-2.0: (250, 10, 10), -1.0: (200, 10, 10), 0.0: (10, 10, 10), 1.0: (10, 200, 10), 2.0: (10, 250, 10)}


@pytest.fixture
def pictures(tmp_path: Path) -> pl.DataFrame:
    rows = []
    for prompt in ("b", "a"):
        for strength, shade in SHADES.items():
            name = f"{prompt}{strength:g}.png"
            Image.new("RGB", (64, 64), shade).save(tmp_path / name)
            rows.append({
                "strength": strength, "prompt_id": prompt, "prompt": f"a <{prompt}> prompt", "seed": 3, "file": name,
                "season": "winter" if strength > 0 else "summer", "object": "cat" if strength < 2 else "car",
            })  # fmt: skip
    return pl.DataFrame(rows).sample(fraction=1.0, shuffle=True, seed=1).sort("prompt_id", descending=True)


def test_strengths_ascend_with_the_unsteered_picture_in_the_middle(tmp_path: Path, pictures: pl.DataFrame) -> None:
    grid = arrange_grid(pictures, tmp_path, "Latent 5")
    assert grid.strengths == (-2.0, -1.0, 0.0, 1.0, 2.0) and grid.missing == 0
    assert [row.prompt_id for row in grid.rows] == ["b", "a"]
    sheet = np.asarray(draw_grid(grid))
    for place, shade in enumerate(SHADES.values()):
        rows, columns = np.nonzero((sheet == shade).all(axis=2))
        assert columns.min() == MARGIN + place * (CELL + GAP) and columns.max() == columns.min() + CELL - 1
        assert len(rows) == 2 * CELL * CELL


def test_a_strength_without_its_opposite_still_leaves_the_unsteered_picture_in_the_middle(
    tmp_path: Path, pictures: pl.DataFrame
) -> None:
    grid = arrange_grid(pictures.filter(pl.col("strength") >= 0), tmp_path, "Latent 5")
    assert grid.strengths[len(grid.strengths) // 2] == 0.0 and len(grid.strengths) == 5
    assert grid.missing == 4


def test_a_picture_that_was_not_made_is_a_cell_that_says_so(tmp_path: Path, pictures: pl.DataFrame) -> None:
    kept = pictures.filter((pl.col("prompt_id") != "a") | (pl.col("strength") != 1.0))
    failed = (pl.col("prompt_id") == "b") & (pl.col("strength") == 2.0)
    gone = kept.with_columns(pl.when(~failed).then(pl.col("file")).alias("file"))
    (tmp_path / "a-2.png").unlink()
    grid = arrange_grid(gone, tmp_path, "Latent 5")
    told = {(row["prompt_id"], row["strength"]): row["missing"] for row in grid.table().to_dicts() if row["missing"]}
    assert told == {("b", 2.0): "not made", ("a", 1.0): "not made", ("a", -2.0): "file is missing"}
    whole, partial = (np.asarray(draw_grid(arrange_grid(one, tmp_path, "Latent 5"))) for one in (pictures, gone))
    assert whole.shape == partial.shape
    # The cell of "b" at +2 is not blank: it has letters in it.
    left, top = MARGIN + 4 * (CELL + GAP), np.nonzero((partial == SHADES[0.0]).all(axis=2))[0].min()
    cell = partial[top : top + CELL, left : left + CELL]
    panel = [int(LIGHT["panel"][place : place + 2], 16) for place in (1, 3, 5)]
    inside = cell[2:-2, 2:-2]
    assert 20 < (inside != panel).any(axis=2).sum() < 2000


def test_strengths_that_were_asked_for_are_shown_even_if_nothing_was_made(
    tmp_path: Path, pictures: pl.DataFrame
) -> None:
    grid = arrange_grid(pictures, tmp_path, "Latent 5", strengths=[-4, -2, 2, 4])
    assert grid.strengths == (-4.0, -2.0, 0.0, 2.0, 4.0) and grid.missing == 4


def test_the_strip_names_the_label_in_question_and_what_else_changed(tmp_path: Path, pictures: pl.DataFrame) -> None:
    grid = arrange_grid(pictures, tmp_path, "Latent 5", wanted=("season", "winter"))
    row = dict(zip(grid.strengths, grid.rows[0].cells, strict=True))
    assert [row[s].seen for s in (-2.0, 0.0, 2.0)] == [("summer",), ("summer",), ("winter",)]
    assert [row[s].shows for s in (-1.0, 0.0, 1.0)] == [False, False, True]
    # The car at +2 was a cat; the season is the label in question, so it is not among what changed.
    assert [row[s].changed for s in (-2.0, 1.0, 2.0)] == [(), (), ("car",)]


def test_two_pictures_for_one_cell_are_refused(tmp_path: Path, pictures: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="prompt b, seed 3 has two pictures of strength -2"):
        arrange_grid(pl.concat([pictures, pictures.filter(prompt_id="b", strength=-2.0)]), tmp_path, "Latent 5")


def test_a_grid_without_prompts_is_refused(tmp_path: Path, pictures: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no prompt to show"):
        draw_grid(arrange_grid(pictures.clear(), tmp_path, "Latent 5"))


@pytest.mark.parametrize(("strength", "text"), [(2.0, "+2"), (-0.5, "\u22120.5"), (0.0, "0"), (-0.0, "0")])
def test_strengths_have_their_sign(strength: float, text: str) -> None:
    assert signed(strength) == text
