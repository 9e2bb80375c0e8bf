"""Which pictures of an edit are shown: a few prompts down, strengths and controls across."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from steerwright.report.attention.content import CONDITION_NAMES, CONTROLS, AttentionContent, EditTables
from steerwright.report.html.theme import percent

STRENGTHS = 6
# Prompts of each kind: those on which the edit must act first, then those on which it must not.
ACTS, ELSEWHERE = 3, 1


@dataclass(frozen=True, slots=True)
class Column:
    """A condition at one strength; `chosen` marks the operating strength."""

    condition: str
    strength: float
    chosen: bool

    @property
    def name(self) -> str:
        """What stands above it: a strength, or the condition."""
        return f"{self.strength:g}" if self.condition == "steered" else CONDITION_NAMES[self.condition]


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture and what the judge sees in it.

    `seen` is the value of the concept's label (or CLIP's probability where there are no labels), `shows` whether that
    is what the edit is about, `changed` the values of the other labels that the unsteered picture does not have.
    """

    path: Path
    seen: str
    shows: bool
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt on one seed; a column without a picture has no cell."""

    prompt_id: Any
    prompt: str
    kind: str
    seed: int
    cells: dict[Column, Cell]


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of one edit."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def table(self) -> pl.DataFrame:
        """What is shown, one row a picture."""
        return pl.DataFrame([
            {"prompt_id": row.prompt_id, "prompt": row.prompt, "kind": row.kind, "seed": row.seed,
             "condition": column.condition, "strength": column.strength, "seen": cell.seen, "shows": cell.shows,
             "changed": ", ".join(cell.changed)}
            for row in self.rows for column, cell in row.cells.items()
        ])  # fmt: skip


def grid(content: AttentionContent, scores: EditTables) -> Grid:
    """The first prompts of each kind, each on the smallest seed that has the most pictures; nobody chose by looks."""
    images = content.images.filter(edit=scores.name)
    columns = tuple(_columns(images, float(scores.point["strength"])))
    find = _finder(content, scores.name)
    rows: list[Row] = []
    for kind, count, part in _parts(images, scores):
        taken = 0
        for prompt in part["prompt_id"].unique(maintain_order=True).to_list():
            row = _row(part.filter(prompt_id=prompt), kind, columns, find, scores)
            if row is not None and taken < count:
                rows.append(row)
                taken += 1
            if taken == count:
                break
    shown = {column for row in rows for column in row.cells}
    return Grid(tuple(column for column in columns if column in shown), tuple(rows))


def _columns(images: pl.DataFrame, chosen: float) -> Iterator[Column]:
    yield Column("unsteered", 0.0, False)
    strengths = sorted(set(images.filter(condition="steered")["strength"].to_list()))
    kept = strengths
    if len(strengths) > STRENGTHS:
        last = len(strengths) - 1
        kept = [strengths[round(place * last / (STRENGTHS - 1))] for place in range(STRENGTHS)]
        if chosen in strengths and chosen not in kept:
            kept[min(range(STRENGTHS), key=lambda place: abs(kept[place] - chosen))] = chosen
    for strength in sorted(set(kept)):
        yield Column("steered", strength, strength == chosen)
    for control in CONTROLS:
        part = images.filter(condition=control, operating=True)
        if part.height:
            yield Column(control, part["strength"][0], False)


def _parts(images: pl.DataFrame, scores: EditTables) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """Kind, how many prompts of it, and its pictures, in order of prompts; others stand in for neighbours."""
    images = images.sort("prompt_id", "seed", maintain_order=True)
    if scores.measured in ("outdoor", "all"):
        lacking = pl.col("kind") != "contains"
        acts = images.filter(lacking & (pl.col("setting") == "outdoor")) if scores.measured == "outdoor" else None
        if acts is not None and acts.height:
            yield "outdoor", ACTS, acts
            yield "indoor", ELSEWHERE, images.filter(lacking & (pl.col("setting") != "outdoor"))
        else:
            yield "without", ACTS + ELSEWHERE, images.filter(lacking)
        yield "contains", ELSEWHERE, images.filter(kind="contains")
        return
    yield "contains", ACTS, images.filter(kind="contains")
    neighbours = images.filter(kind="neighbour")
    yield "neighbour", ELSEWHERE, neighbours
    yield "other", ELSEWHERE + (neighbours.height == 0), images.filter(kind="other")


def _row(
    part: pl.DataFrame, kind: str, columns: tuple[Column, ...], find: Callable[..., Path | None], scores: EditTables
) -> Row | None:
    best: Row | None = None
    for seed in sorted(part["seed"].unique().to_list()):
        judged = {(row["condition"], row["strength"]): row for row in part.filter(seed=seed).to_dicts()}
        reference = judged.get(("unsteered", 0.0))
        prompt = part["prompt_id"][0]
        cells = {}
        for column in columns:
            found = judged.get((column.condition, column.strength))
            path = find(prompt, seed, column.condition, column.strength) if found else None
            if found and path is not None:
                cells[column] = Cell(path, *_seen(found, reference, scores))
        if cells and (best is None or len(cells) > len(best.cells)):
            best = Row(prompt, part["prompt"][0], kind, seed, cells)
    return best


def _seen(
    row: dict[str, Any], reference: dict[str, Any] | None, scores: EditTables
) -> tuple[str, bool, tuple[str, ...]]:
    label = scores.labels.label_of(scores.wanted.lower().removeprefix("a ").removeprefix("an ").removeprefix("in "))
    value = row.get(label) if label else None
    by_labels, by_clip = row["concept_by_labels"], row["concept_by_clip"]
    shows = bool(by_clip if by_labels is None else by_labels)
    if value is None:
        probability = row["concept_probability"]
        value = f"{scores.wanted} {percent(probability)}" if probability is not None else scores.wanted if shows else ""
    changed = [
        str(row[other]) for other in scores.labels.values
        if other != label and reference is not None and row.get(other) not in (None, reference.get(other))
    ]  # fmt: skip
    return str(value), shows, tuple(changed)


def _finder(content: AttentionContent, edit: str) -> Callable[..., Path | None]:
    source = content.pictures.get(edit)
    if source is None:
        return lambda *_: None
    if not isinstance(source, pl.DataFrame):
        return source
    paths = {
        (row["prompt_id"], row["seed"], row["condition"], float(row["strength"])): Path(row["path"])
        for row in source.iter_rows(named=True)
    }
    return lambda *key: paths.get(key)
