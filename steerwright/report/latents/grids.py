"""Which pictures of erasing are shown: the first prompt that names each value, nobody chose by looks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from steerwright.report.html.page import Html, el, picture_cell, picture_table, small_picture
from steerwright.report.html.sheets import SheetCell, SheetColumn, picture_sheet
from steerwright.report.html.theme import DASH
from steerwright.report.latents.content import LatentsContent, concept_name, method_name
from steerwright.scoring.erasure_samples import UNSTEERED, ErasureTarget
from steerwright.scoring.unlearning import ASKED

KEPT_ROWS = 2
Shown = dict[tuple[str | None, str, Any, int], Path]


@dataclass(frozen=True, slots=True)
class LatentCell:
    """A picture and what the judge sees in it.

    `seen`: the label of the axis in question; `named`: it is what is erased in this column; `erasing`: the prompt asks
    for that; `changed`: other labels that are not those of the unsteered picture.
    """

    path: Path
    seen: str
    named: bool
    erasing: bool
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LatentRow:
    """A prompt on one seed; `about` says why it is shown; a column without a picture has no cell."""

    prompt: str
    about: str
    cells: tuple[LatentCell | None, ...]


@dataclass(frozen=True, slots=True)
class LatentGrid:
    """Prompts down, columns across; `name` is that of its files."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[LatentRow, ...]

    def table(self) -> pl.DataFrame:
        """What is shown, one row a picture."""
        return pl.DataFrame([
            {"prompt": row.prompt, "about": row.about, "column": column, "seen": cell.seen, "erasing": cell.erasing,
             "changed": ", ".join(cell.changed)}
            for row in self.rows for column, cell in zip(self.columns, row.cells, strict=True) if cell is not None
        ])  # fmt: skip


def grids(content: LatentsContent) -> list[LatentGrid]:
    """For each axis its matrix of prompts and targets, and the methods side by side; those without pictures are not."""
    paths: Shown = {
        (row["target"], row["method"], row["prompt_id"], row["seed"]): Path(row["path"])
        for row in content.pictures.iter_rows(named=True)
    }
    judged = {
        (row["target"], row["method"], row["prompt_id"], row["seed"]): row
        for row in content.images.filter(pl.col("operating")).iter_rows(named=True)
    }
    found = [_matrix(content, axis, paths, judged) for axis in content.axes]
    found += [_methods(content, axis, paths, judged) for axis in content.axes]
    return [grid for grid in found if any(cell for row in grid.rows for cell in row.cells)]


def _matrix(content: LatentsContent, axis: str, paths: Shown, judged: Mapping[Any, Mapping[str, Any]]) -> LatentGrid:
    """A prompt for each target of the axis down, unsteered and every target erased across: the diagonal is erased."""
    targets = _of_axis(content, axis)
    columns = [(None, UNSTEERED), *((target, "steered") for target in targets)]
    rows = tuple(_rows(content, targets, columns, paths, judged))
    names = ("Unsteered", *(f"{concept_name(target)} erased" for target in targets))
    return LatentGrid(f"{axis}-targets", f"Each {axis} erased in turn", names, rows)


def _methods(content: LatentsContent, axis: str, paths: Shown, judged: Mapping[Any, Mapping[str, Any]]) -> LatentGrid:
    """The methods across: a prompt that names each target down, then prompts from which nothing should be erased."""
    methods = [method for method in content.methods if method != UNSTEERED]
    targets = _of_axis(content, axis)
    rows: list[LatentRow] = []
    for target in targets:
        columns = [(None, UNSTEERED), *((target, method) for method in methods)]
        rows += _rows(content, [target], columns, paths, judged)
    for target, other in list(pairwise(targets))[:KEPT_ROWS]:
        columns = [(None, UNSTEERED), *((target, method) for method in methods)]
        for row in _rows(content, [other], columns, paths, judged):
            rows.append(replace(row, about=f"{row.about}; {concept_name(target)} is erased"))
    names = tuple(method_name(method) for method in [UNSTEERED, *methods])
    return LatentGrid(f"{axis}-methods", f"Methods side by side: {axis}s", names, tuple(rows))


def _of_axis(content: LatentsContent, axis: str) -> list[str]:
    return [target for target in content.targets if ErasureTarget.parse(target).axes == (axis,)]


def _rows(
    content: LatentsContent, targets: Sequence[str], columns: Sequence[tuple[str | None, str]], paths: Shown,
    judged: Mapping[Any, Mapping[str, Any]],
) -> Iterator[LatentRow]:  # fmt: skip
    plain = content.images.filter(method=UNSTEERED)
    taken: set[Any] = set()
    for target in targets:
        (axis, value) = ErasureTarget.parse(target).concepts[0]
        asked = plain.filter(pl.col(f"{ASKED}{axis}") == value).select("prompt_id", "seed", "prompt").rows()
        # The first that has the most pictures; a prompt that another row shows only where there is no other.
        candidates = [
            (sum((*column, prompt, seed) in paths for column in columns), prompt not in taken, -place)
            for place, (prompt, seed, _) in enumerate(asked)
        ]
        if not candidates or max(candidates)[0] == 0:
            continue
        prompt, seed, text = asked[-max(candidates)[2]]
        taken.add(prompt)
        cells = tuple(_cell(column, prompt, seed, axis, value, paths, judged) for column in columns)
        yield LatentRow(text, concept_name(target), cells)


def _cell(
    column: tuple[str | None, str], prompt: Any, seed: int, axis: str, asked: str, paths: Shown,
    judged: Mapping[Any, Mapping[str, Any]],
) -> LatentCell | None:  # fmt: skip
    path, row = paths.get((*column, prompt, seed)), judged.get((*column, prompt, seed))
    if path is None or row is None:
        return None
    reference = judged.get((None, UNSTEERED, prompt, seed), row)
    erased = ErasureTarget.parse(column[0]).values(axis) if column[0] else ()
    labels = [name for name in reference if f"{ASKED}{name}" in reference or name in ("place", "colour")]
    changed = tuple(str(row[name]) for name in labels if name != axis and row[name] != reference[name])
    return LatentCell(path, str(row[axis]), row[axis] == asked, asked in erased, changed)


# A grid of pictures as a table of the page, and as a PNG.


def grid_table(grid: LatentGrid) -> Html:
    """The grid; cells in which the target is erased from a prompt that asks for it are outlined."""
    head = el("tr", *(el("th", name, scope="col") for name in grid.columns))
    rows = (
        (el("span", row.prompt, el("small", f"asks for {row.about}")),
         [_table_cell(cell, row.prompt, name) for cell, name in zip(row.cells, grid.columns, strict=True)])
        for row in grid.rows
    )  # fmt: skip
    return picture_table(grid.title, [head], rows, len(grid.columns))


def grid_sheet(grid: LatentGrid) -> Image.Image:
    """An RGB image of the grid. Raises ValueError if there is no picture."""
    columns = [SheetColumn(name) for name in grid.columns]
    rows = [(row.prompt, [None if cell is None else _sheet_cell(cell) for cell in row.cells]) for row in grid.rows]
    return picture_sheet(grid.title, columns, rows, gap=10, head=30)


def _sheet_cell(cell: LatentCell) -> SheetCell:
    colour, frame = "ink" if cell.named else "muted", "adaptive" if cell.erasing else None
    return SheetCell(cell.path, cell.seen, cell.named, cell.changed, colour, frame)


def _table_cell(cell: LatentCell | None, prompt: str, column: str) -> Html:
    if cell is None:
        return el("td", DASH)
    return picture_cell(
        small_picture(cell.path, f"{column}: {prompt}, judged {cell.seen}"), cell.seen, cell.changed,
        shows="asked" if cell.named else None, class_="operating" if cell.erasing else None,
    )  # fmt: skip
