"""The tables that a run writes: a row for each thing, named by the columns that tell it apart; and drawn so."""

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

# The columns whose values together stand in one row only, by the file's name; the first pattern that fits counts.
PICTURE = ("prompt_id", "seed")
KEYS: dict[str, tuple[str, ...]] = {
    "attention/vectors/norms.csv": ("concept", "block", "attention", "branch", "step_first"),
    "attention/scores/curves.csv": ("edit", "kind", "metric", "strength"),
    "attention/report/report/*-norms.csv": ("block", "attention", "branch", "step_first"),
    "attention/report/report/*-cosines.csv": ("block", "attention", "branch", "step_first"),
    "attention/report/report/*-grid.csv": (*PICTURE, "condition", "strength"),
    "attention/report/report/*-tuning.csv": ("edit", "places", "strength"),
    "attention/report/report/trials.csv": ("edit", "places", "strength"),
    "attention/report/report/images.csv": ("edit", *PICTURE, "condition", "strength"),
    "attention/report/report/comparisons.csv": ("edit", "question", "measure", "kind", "condition"),
    "attention/report/report/*.csv": ("edit", "condition", "strength", "kind", "metric"),
    "language/vectors/separability.csv": ("concept", "layer"),
    "language/scores/rates.csv": ("concept", "condition", "decoding"),
    "language/report/report/data/cosines.csv": ("concept", "other", "layer"),
    "language/report/report/data/statistics.csv": ("concept", "layer"),
    "language/report/report/data/texts.csv": (
        "condition", "concept", "layer", "strength", *PICTURE, "decoding",
    ),
    "language/report/report/data/mixes.csv": ("mix", "part", "decoding"),
    "language/report/report/data/measurements.csv": ("concept", "condition", "decoding"),
    "language/report/report/data/removal.csv": ("concept", "condition", "decoding"),
    "language/report/report/data/*.csv": ("concept", "layer", "strength"),
    "latents/report/report/images.csv": ("target", "method", "strength", *PICTURE),
    "latents/report/report/cards.csv": ("sae", "latent", "concept", "rank", "step"),
    "latents/report/report/*-concepts.csv": ("sae", "concept", "latent"),
    "latents/report/report/*-methods.csv": ("prompt", "column"),
    "latents/report/report/*-targets.csv": ("prompt", "column"),
    "latents/report/report/comparisons.csv": ("question", "measure", "target", "method"),
    "latents/report/report/trials.csv": ("target", "method", "number"),
    "latents/report/report/training.csv": ("sae", "rows"),
    "latents/report/report/loss-by-step.csv": ("sae", "measure", "step"),
    "latents/report/report/density.csv": ("sae", "measure", "step", "low"),
    "latents/report/report/quality.csv": ("sae", "measure", "step", "low"),
    "latents/report/report/*.csv": ("target", "method", "strength", "metric"),
    "flux/report/report/data/map-*.csv": ("latent",),
    "flux/report/report/data/matches-*.csv": ("layer", "low"),
    "flux/report/report/data/*-histogram.csv": ("layer", "low"),
    "flux/report/report/data/density.csv": ("layer", "low"),
    "flux/report/report/data/matches.csv": ("latent_a", "latent_b"),
    "flux/report/report/data/similarity-*.csv": ("latent_a", "latent_b"),
    "flux/report/report/data/grid-*.csv": (*PICTURE, "strength"),
    "flux/report/report/data/trials.csv": ("layer", "latent", *PICTURE, "strength"),
    "flux/report/report/data/change-gain.csv": ("layer", "latent", *PICTURE, "strength"),
    "flux/report/report/data/coverage.csv": ("layer", "label", "value"),
    "flux/report/report/data/interpretable-by-coherence.csv": ("layer", "group"),
    "flux/report/report/data/selected-random.csv": ("layer", "pool"),
    "flux/report/report/data/steering-rates.csv": ("layer", "latent", "strength"),
    "flux/report/report/data/pointing.csv": ("layer", "latent"),
    "flux/report/report/data/*.csv": ("layer", "latent"),
    "scoreboard/report/report/scoreboard.csv": ("method", "metric"),
    "winter/scores/rates.csv": ("group", "condition"),
    "winter/scores/similarity.csv": ("prompt_id", "condition"),
    "winter/report/report/activation-difference.csv": ("layer", "tokens"),
    "winter/report/report/comparisons.csv": ("question", "name", "measure", "group", "condition", "baseline"),
    "winter/report/report/contact-sheet.csv": PICTURE,
    "winter/report/report/doses.csv": ("prompt_id",),
    "winter/report/report/per-prompt.csv": ("prompt_id", "condition"),
    "winter/report/report/similarity.csv": ("prompt_id", "condition"),
    "winter/report/report/search.csv": ("layers", "strengths", "kind"),
    "winter/report/report/*.csv": ("condition", "group", "metric"),
    "winter/report/submission.csv": ("id",),
    "*/curves/*.tsv": ("step",),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    return copy_of_everything("tables")


def test_no_two_rows_of_a_table_are_of_the_same_thing(project: Any) -> None:
    folder: Path = project.root / "artifacts"
    tables = sorted(path for kind in ("*.csv", "*.tsv") for path in folder.rglob(kind))
    wrong = []
    for path in tables:
        name = str(path.relative_to(folder))
        keys = next((keys for pattern, keys in KEYS.items() if fnmatch(name, pattern)), None)
        table = pl.read_csv(path, infer_schema=False, separator="\t" if path.suffix == ".tsv" else ",")
        if keys is None or not set(keys) <= set(table.columns):
            wrong.append(f"{name}: no key {keys} in {table.columns}")
        elif table.select(keys).is_duplicated().any():
            wrong.append(f"{name}: {keys} stand in several rows")
    assert len(tables) > 80 and not wrong, "\n".join(wrong)


def lines(spec: dict[str, Any]) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Each line mark's encoding, and the fields by which its points are parted into lines."""
    inner = spec.get("spec", spec)
    facet = {spec["facet"]["field"]} if "facet" in spec else set()
    for layer in [inner, *inner.get("layer", [])]:
        mark = layer.get("mark")
        if (mark if isinstance(mark, str) else (mark or {}).get("type")) == "line":
            encoding = {**inner.get("encoding", {}), **layer.get("encoding", {})}
            parts = {encoding[name].get("field") for name in ("color", "strokeDash", "detail") if name in encoding}
            yield encoding, facet | (parts - {None})


def test_dvc_plots_draws_every_table_and_no_line_goes_back(project: Any) -> None:
    said = json.loads(project.call("dvc", "plots", "show", "--json"))
    assert not said.get("errors")
    drawn = {name: one["content"] for name, (one,) in said["data"].items()}
    assert {Path(name).name for name in drawn} >= {
        "norms.csv", "norms.json", "curves.csv", "separability.csv", "rates.csv", "similarity.csv", "fvu.tsv",
    }  # fmt: skip
    zigzags = []
    for name, content in drawn.items():
        spec = json.loads(content) if isinstance(content, str) else content
        points = pl.DataFrame(spec["data"]["values"])
        assert points.height, name
        for encoding, parts in lines(spec):
            if points.select(sorted({encoding["x"]["field"], *parts})).is_duplicated().any():
                zigzags.append(name)
    assert not zigzags
