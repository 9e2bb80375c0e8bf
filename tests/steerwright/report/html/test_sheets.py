"""The contact sheet: pixels stay pixels, and each picture is in its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steerwright.report.html.sheets import (
    CELL,
    TRIPTYCH,
    SheetCell,
    SheetColumn,
    Triptych,
    contact_sheet,
    fit_picture,
    picture_sheet,
)

COLOURS = {"unsteered": (200, 30, 30), "fixed": (30, 200, 30), "adaptive": (30, 30, 200)}


def triptych(folder: Path, number: int, prompt: str, side: int = 64) -> Triptych:
    paths = {}
    for condition, colour in COLOURS.items():
        paths[condition] = folder / f"{number}-{condition}.png"
        Image.new("RGB", (side, side), colour).save(paths[condition])
    return Triptych(number, prompt, "high", 1, paths, dict.fromkeys(TRIPTYCH, "winter"))


def test_a_small_picture_is_enlarged_three_times_without_smoothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    enlarged = np.asarray(fit_picture(Image.fromarray(pixels), CELL))
    assert np.array_equal(enlarged, pixels.repeat(3, axis=0).repeat(3, axis=1))


@pytest.mark.parametrize(
    ("size", "expected"), [((512, 512), (192, 192)), ((1024, 512), (192, 96)), ((40, 20), (160, 80))]
)
def test_pictures_of_any_shape_fit_their_cell(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_picture(Image.new("RGB", size), 192).size == expected


@pytest.mark.parametrize("side", [64, 512])
def test_every_picture_is_there_in_full_and_in_its_order(tmp_path: Path, side: int) -> None:
    rows = [triptych(tmp_path, number, "a red boat", side) for number in range(7)]
    sheet = np.asarray(contact_sheet(rows, columns=3))
    firsts = {}
    for condition, colour in COLOURS.items():
        found = (sheet == colour).all(axis=2)
        assert found.sum() == 7 * CELL * CELL
        firsts[condition] = np.argwhere(found)[:, 1].min()
    assert firsts["unsteered"] < firsts["fixed"] < firsts["adaptive"]


def test_a_long_prompt_changes_the_height_and_never_the_width(tmp_path: Path) -> None:
    short = contact_sheet([triptych(tmp_path, 0, "a boat")])
    long = contact_sheet([triptych(tmp_path, 0, "a boat " * 60)])
    longer = contact_sheet([triptych(tmp_path, 0, "a boat " * 600)])
    assert short.width == long.width and short.height < long.height == longer.height
    assert contact_sheet([triptych(tmp_path, 0, "x" * 500)]).width == short.width


def test_a_grid_says_which_column_is_which_and_frames_the_cells_that_matter(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (10, 200, 30)).save(tmp_path / "a.png")
    cells = [SheetCell(tmp_path / "a.png", "winter", True, ("dog",), "adaptive", frame) for frame in (None, "adaptive")]
    columns = [SheetColumn("Unsteered"), SheetColumn("Strength 2", "adaptive")]

    def drawn(*columns: SheetColumn, cells: list[SheetCell | None]) -> np.ndarray:
        return np.asarray(picture_sheet("Winter", columns, [("a lake", cells)], gap=8, head=44)).astype(int)

    plain = drawn(*columns, cells=[cells[0], cells[0]])
    assert plain.shape == (2 * 36 + 26 + 44 + 26 + 128 + 34, 2 * 36 + 2 * 128 + 8, 3)
    # Both pictures are there, in whole pixels of their own colour, below the names and the text of the row.
    for x in (36, 36 + 128 + 8):
        assert (plain[140:268, x : x + 128] == (10, 200, 30)).all()
    noted = drawn(columns[0], SheetColumn("Strength 2", "adaptive", "operating point"), cells=[cells[0], cells[0]])
    rows, places = np.nonzero((noted != plain).any(2))
    assert places.min() >= 36 + 128 + 8 and rows.min() >= 70 and rows.max() < 36 + 26 + 44
    assert (noted != plain)[88:100].any(), "the note, below the name"
    rows, places = np.nonzero((drawn(*columns, cells=[cells[0], cells[1]]) != plain).any(2))
    assert (places.min(), places.max()) == (36 + 136 - 3, 36 + 136 + 128 + 2)
    empty = drawn(*columns, cells=[None, cells[0]])
    assert (empty[140:, :165] == empty[140, 0]).all(), "a cell without a picture is left blank"
    with pytest.raises(ValueError, match="no pictures"):
        picture_sheet("Winter", columns, [], gap=8, head=44)
