"""All selected latents on one sheet: a latent a line, each picture beside its overlay."""

import json
from pathlib import Path
from typing import Annotated

import polars as pl

from steerwright.dag import Dep, Out
from steerwright.report.flux.sheets import feature_sheet, sheet_rows


def contact_sheet(
    images: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    overlays: Annotated[Path, Dep()],
    table: Annotated[Path, Dep()],
    facts: Annotated[Path, Dep()],
    sheet: Annotated[Path, Out("contact-sheet.png")],
) -> None:
    """Draw the sheet."""
    said = json.loads(facts.read_text())
    rows = sheet_rows(
        pl.read_parquet(selected), pl.read_parquet(images), pl.read_parquet(table), pl.read_parquet(labels), pictures,
        overlays,
    )  # fmt: skip
    title = f"{len(rows)} features of {said['hookpoint']}, step {said['step']}, by coherence above chance"
    feature_sheet(rows, title).save(sheet, format="PNG")
