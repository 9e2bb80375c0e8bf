"""What the real FLUX pipeline gives on the embedded model, small, in a copy of the checkout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

LAYERS = ("early", "late")


@pytest.fixture(scope="module")
def project(copy_of_everything: Callable[[str], Any]) -> Any:
    return copy_of_everything("flux")


def table(project: Any, stage: str, name: str) -> pl.DataFrame:
    return pl.read_parquet(project.root / "artifacts" / "flux" / stage / name)


def test_every_layer_has_its_own_features_in_pictures_that_there_are(project: Any) -> None:
    images = table(project, "images", "images.parquet")
    assert len(images) == 48 and images["season"].null_count() == 0
    for layer in LAYERS:
        selected = table(project, f"selection-{layer}", "selected.parquet")
        assert len(selected) == 3
        examples = [image for some in selected["examples"] for image in some]
        assert len(set(examples)) == len(examples) == 6 and max(examples) < 48
        overlays = table(project, f"overlays-{layer}", "overlays.parquet")
        assert sorted(overlays.select("latent", "image").rows()) == sorted(
            (latent, image) for latent, some in selected.select("latent", "examples").iter_rows() for image in some
        )
        # A latent is active in each of its examples: no overlay without heat.
        assert float(str(overlays["map_max"].min())) > 0


def test_grids_lack_no_picture_and_the_middle_is_the_unsteered_one(project: Any) -> None:
    for layer in LAYERS:
        folder = project.root / "artifacts" / "flux" / f"grids-{layer}"
        grids = pl.read_parquet(folder / "grids.parquet")
        assert set(grids["strength"]) == {-0.6, 0.0, 0.6}
        assert all((folder / "pictures" / name).is_file() for name in grids["file"])
        assert (grids.filter(strength=0.0)["lpips"] == 0).all() and (grids.filter(strength=0.6)["lpips"] > 0).all()
        assert {path.stem for path in (folder / "sheets").iterdir()} == {str(latent) for latent in grids["latent"]}


def test_the_gallery_opens_from_a_file_and_asks_for_nothing_else(project: Any) -> None:
    folder = project.root / "artifacts" / "flux" / "report" / "report"
    pages = {path.name for path in folder.glob("*.html")}
    assert {"index.html", "truth.html", "steering.html", "demos.html", "decoder.html", "layers.html"} <= pages
    for name in pages:
        text = (folder / name).read_text()
        assert (
            "http://" not in text.replace("http://www.w3.org/", "") and "https://" not in text and "fetch(" not in text
        )
    selected = table(project, "selection-early", "selected.parquet")["latent"].to_list()
    exported = list(folder.rglob("early/*.json"))
    assert {path.stem for path in exported} == {*map(str, selected), "index"}
    record = json.loads(next(path for path in exported if path.stem == str(selected[0])).read_text())
    assert record["index"] == str(selected[0]) and len(record["activations"][0]["values"]) == 64


def test_one_layer_can_be_run_alone_and_a_second_run_does_nothing(project: Any) -> None:
    assert set(project.run("flux").values()) <= {"unchanged"}
    said = project.steerwright("run", "flux", "--no-prefect", "--layers", "late")
    assert "flux-grids-late" in said and "flux-grids-early" not in said and "ran " not in said


def test_an_autoencoder_of_another_step_is_refused_in_one_line(project: Any) -> None:
    project.edit("params.yaml", "    sae: pooled", "    sae: conditioned")
    project.edit("params.yaml", "    step: 2 ", "    step: 3 ")
    command = ("run", "flux", "--no-prefect", "--only", "flux-images,flux-smatrix-early")
    said = project.call(*_steerwright(project), *command, fails=True)
    assert "steps: (2,) and (3,)" in said and "Traceback" not in said


def _steerwright(project: Any) -> tuple[str, ...]:
    import sys

    assert Path(sys.executable).exists()
    return sys.executable, "-m", "steerwright.cli.main"
