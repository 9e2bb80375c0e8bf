"""The scoreboard: all steering methods there are in one table, for the terminal, as a page and as CSV."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from steerwright.report.html.page import Html, document, download, el, scrolling
from steerwright.report.html.theme import DASH, THIN, decimal, percent, span
from steerwright.scoring.metrics import METRICS
from steerwright.scoring.target import Target

WIDTH = 110  # columns of a terminal
NAME_WIDTH = 30


@dataclass(frozen=True, slots=True)
class Measure:
    """A column: its heading (two lines in the terminal), what it means, and whether it is a share with its interval."""

    heading: tuple[str, str]
    meaning: str
    share: bool


# Metrics whose column has words of its own.
_HEADED = {"prompt_similarity": Measure(("CLIP to", "prompt"), "cosine of picture and original prompt", False)}


def measures(target: Target) -> dict[str, Measure]:
    """The columns by metric; their names and words follow the target."""
    *most, last = target.barred_labels
    kept = f"{', '.join(most)} and {last}" if most else last
    shown, changes = _title(target.name), target.changes
    where = "outdoors" if target.outdoors else ""
    return {
        f"{target.key}_rate": Measure((shown, where), f"share of {target.pictures} that show {target.name}", True),
        "labels_right": Measure(
            ("Labels", "right"), f"{kept} as the prompt names them, as a share of the unsteered share", True
        ),
        f"random_{target.changed}": Measure(
            (f"{_title(changes)} changed", "by random"),
            f"pictures that change {changes} when pushed as hard in a random direction",
            True,
        ),
        **{name: _HEADED.get(name) or Measure((one.title, ""), one.meaning, False) for name, one in METRICS.items()},
    }


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


COLUMNS = ("method", "metric", "estimate", "low", "high")


def scoreboard_text(scores: pl.DataFrame, target: Target) -> str:
    """The table as plain text of at most 110 columns, for a terminal; shares with their intervals.

    `scores` has one row for each `method` and `metric` of `measures`: `estimate`, `low`, `high` (null where there is no
    interval). Methods keep the order of the table; what is not there is a dash. Raises ValueError for a metric that the
    scoreboard does not know, for one that a method has twice, and for missing columns.
    """
    known = measures(target)
    cells = _cells(scores, known)
    present = _present(cells, known)
    body = [[name, *(_plain(found.get(metric), known[metric]) for metric in present)] for name, found in cells.items()]
    headings = [["Method", *(known[metric].heading[line] for metric in present)] for line in (0, 1)]
    headings[1][0] = ""
    widths = [max(len(row[place]) for row in (*headings, *body)) for place in range(1 + len(present))]
    rest = sum(widths[1:]) + 2 * len(present)
    widths[0] = min(widths[0], max(NAME_WIDTH, WIDTH - rest))
    lines = [_line(row, widths) for row in headings if any(row)]
    lines.append("-" * (widths[0] + rest))
    for row in body:
        # A long name goes on below itself; its numbers stand in its first line.
        first, *more = textwrap.wrap(row[0], widths[0], subsequent_indent="  ") or [""]
        lines += [_line([first, *row[1:]], widths), *more]
    return "\n".join(lines) + "\n"


def write_scoreboard(
    folder: Path,
    scores: pl.DataFrame,
    *,
    title: str = "Scoreboard",
    note: str = "",
    perceptual: str = "LPIPS",
    target: Target,
) -> Path:
    """Write scoreboard.html, scoreboard.csv (the numbers) and scoreboard.txt; returns the page's path.

    `note` stands below the title (which prompts, how many seeds). The page asks for nothing outside itself, and the
    same scores give the same bytes. Raises as `scoreboard_text`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scoreboard.txt").write_text(scoreboard_text(scores, target), encoding="utf-8")
    scores.write_csv(folder / "scoreboard.csv", float_precision=6)
    body = [
        el("header", el("h1", title), *([el("p", note, class_="muted")] if note else [])),
        el(
            "section",
            scoreboard_table(scores, target, perceptual),
            el("p", download("scoreboard", scores), class_="note data"),
        ),
    ]
    path = folder / "scoreboard.html"
    path.write_text(document(title, body), encoding="utf-8")
    return path


def scoreboard_table(scores: pl.DataFrame, target: Target, perceptual: str = "LPIPS") -> Html:
    """The table for a page: methods down, measures across, each with its interval."""
    known = measures(target)
    cells = _cells(scores, known)
    present = _present(cells, known)
    top = [el("th", "Method", scope="col")]
    for metric in present:
        measure = known[metric]
        name = perceptual if metric == "lpips" else " ".join(measure.heading).strip()
        top.append(el("th", name, el("small", measure.meaning), scope="col", class_="n"))
    rows = [
        el("tr", el("th", name, scope="row"), *(_shown(found.get(metric), known[metric]) for metric in present))
        for name, found in cells.items()
    ]
    return scrolling("Scoreboard", [el("tr", *top)], rows)


def _cells(scores: pl.DataFrame, known: Mapping[str, Measure]) -> dict[str, dict[str, dict[str, Any]]]:
    """Method -> metric -> row."""
    missing = [column for column in COLUMNS if column not in scores.columns]
    if missing:
        raise ValueError(f"The scores of the scoreboard lack the columns {', '.join(missing)}.")
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for row in scores.with_columns(cs.float().fill_nan(None)).iter_rows(named=True):
        if row["metric"] not in known:
            raise ValueError(f"The scoreboard knows no metric {row['metric']!r}; it knows {', '.join(known)}.")
        if row["metric"] in cells.setdefault(row["method"], {}):
            raise ValueError(f"The scores of the scoreboard hold {row['metric']} of {row['method']!r} twice.")
        cells[row["method"]][row["metric"]] = row
    return cells


def _present(cells: dict[str, dict[str, dict[str, Any]]], known: Mapping[str, Measure]) -> list[str]:
    found = {metric for row in cells.values() for metric in row}
    return [metric for metric in known if metric in found]


def _plain(row: dict[str, Any] | None, measure: Measure) -> str:
    """A cell in the terminal: `94 % (89 to 98)`."""
    if row is None or row["estimate"] is None:
        return "-"
    if not measure.share:
        return decimal(row["estimate"])
    interval = ""
    if row["low"] is not None and row["high"] is not None:
        interval = f" ({span(row['low'], row['high']).removesuffix(f'{THIN}%')})"
    return (percent(row["estimate"]) + interval).replace(THIN, " ")


def _shown(row: dict[str, Any] | None, measure: Measure) -> Html:
    if row is None or row["estimate"] is None:
        return el("td", DASH, class_="n")
    value = percent(row["estimate"]) if measure.share else decimal(row["estimate"])
    if row["low"] is None or row["high"] is None:
        return el("td", value, class_="n")
    first, last = decimal(row["low"]), decimal(row["high"])
    number = last if first == last else f"{first} to {last}"
    return el("td", value, el("small", span(row["low"], row["high"]) if measure.share else number), class_="n")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The name to the left, numbers to the right."""
    numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
    return f"{row[0]:<{widths[0]}}{numbers}".rstrip()
