"""What the real latents pipeline gives on the embedded model, small, in a copy of the checkout."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

METHODS = {"unsteered", "steered", "ablation", "saeuron", "random"}


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    return copy_of_everything("latents")


def test_every_method_has_its_pictures_scores_and_page(project: Any) -> None:
    folder = project.root / "artifacts" / "latents"
    assert {path.name for path in (folder / "sae" / "saes").iterdir()} == {"mid", "up0", "up1", "up2", "block"}
    images = pl.read_parquet(folder / "scores" / "images.parquet")
    chosen = json.loads((folder / "search" / "chosen.json").read_text())
    assert set(chosen) == {"season:winter", "season:autumn", "object:horse", "object:cat"}
    assert set(images["method"]) == METHODS
    for name in chosen:
        assert set(images.filter(target=name)["method"]) == METHODS - {"unsteered"}
    # Every picture counts once: an unsteered one for each of the 24 test prompts, whatever is erased.
    assert images.filter(method="unsteered").height == 24
    assert images.select("target", "method", "prompt_id", "seed").is_unique().all()
    page = (folder / "report" / "report" / "report.html").read_text()
    assert "winter" in page and "horse" in page and "SAeUron" in page


def test_unsteered_and_untouched_pictures_are_the_same_pictures(project: Any) -> None:
    images = pl.read_parquet(project.root / "artifacts" / "latents" / "scores" / "images.parquet")
    assert images.filter(method="unsteered")["lpips"].max() == 0
    steered = images.filter(method="steered", target="object:horse")
    near, far = (steered.filter(same)["lpips"].mean() for same in (pl.col("asked_object") != "horse",
                                                                   pl.col("asked_object") == "horse"))  # fmt: skip
    assert isinstance(near, float) and isinstance(far, float) and near < far


def test_a_tenth_more_prompts_collects_only_their_shards(project: Any) -> None:
    rows = project.root / "artifacts" / "latents" / "activations" / "rows"
    before = {path.name for path in rows.glob("*.arrow")}
    project.edit("params.yaml", "train: 24", "train: 32")
    project.run("latents", "--only", "latents-prompts,latents-activations")
    after = {path.name for path in rows.glob("*.arrow")}
    assert before < after
    shards = {name.split(".")[0] for name in after - before}
    assert len(shards) == 1
