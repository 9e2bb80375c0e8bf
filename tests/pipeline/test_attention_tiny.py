"""What the attention pipeline gives on the embedded model, small, and what it does again when its inputs change."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    return copy_of_everything("attention")


def test_every_edit_has_its_pictures_scores_and_page(project: Any) -> None:
    folder = project.root / "artifacts" / "attention"
    images = pl.read_parquet(folder / "scores" / "images.parquet")
    chosen = json.loads((folder / "search" / "chosen.json").read_text())
    assert set(images["edit"]) == set(chosen) == {"add-winter", "erase-horse", "cat-to-horse"}
    for name in chosen:
        conditions = set(images.filter(edit=name)["condition"])
        assert conditions == {"unsteered", "steered", "random", "prompt", "negative"}
    page = (folder / "report" / "report" / "report.html").read_text()
    assert all(name in page for name in ("Add winter", "Erase horse", "Replace cat by horse"))
    # Four steps in two bins, seven blocks: fourteen vectors a concept.
    geometry = pl.read_parquet(folder / "vectors" / "geometry.parquet")
    assert dict(geometry.group_by("concept").len().iter_rows()) == {"winter": 14, "horse": 14, "cat": 14}


def test_erasing_leaves_pictures_without_the_concept_almost_alone(project: Any) -> None:
    images = pl.read_parquet(project.root / "artifacts" / "attention" / "scores" / "images.parquet")
    steered = images.filter(edit="erase-horse", condition="steered")
    near = steered.filter(pl.col("kind") != "contains")["lpips"].mean()
    far = steered.filter(pl.col("kind") == "contains")["lpips"].mean()
    assert isinstance(near, float) and isinstance(far, float)
    assert near < 0.1 * far


def test_one_context_more_collects_one_shard_more(project: Any) -> None:
    lists = project.root / "data" / "attention" / "contexts" / "objects.txt"
    moments = project.root / "artifacts" / "attention" / "activations" / "activations" / "horse"
    before = {path.name: path.read_bytes() for path in moments.iterdir()}
    with lists.open("a") as file:
        file.write("a photo of a blue {concept} in the evening by a lake\n")
    project.run("attention", "--only", "attention-prompts,attention-activations")
    after = {path.name: path.read_bytes() for path in moments.iterdir()}
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in after) == 1
