"""The gallery where something is not there: no measurements, no labels, one layer, large pictures, wrong tables."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steerwright.report.flux.content import LAYER_FRAMES, FluxContent, LayerContent, empty
from steerwright.report.flux.page import PAGES, write_flux_report
from steerwright.report.html import figures as drawing
from steerwright.stats.bootstrap import Bootstrap
from tests.html_reader import HtmlReader

FEW = Bootstrap(resamples=50)


@pytest.fixture
def alone(content: FluxContent) -> FluxContent:
    """The first layer by itself."""
    return replace(content, layers=content.layers[:1], matches=empty("matches"), matched=None, comparison={})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are laid out, which needs their data, and not rendered, which takes most of the time."""

    def laid_out(drawn: tuple[drawing.Draw, float], path: Path) -> None:
        drawing._figure(drawn)

    monkeypatch.setattr(drawing, "save_png", laid_out)
    monkeypatch.setattr(drawing, "to_svg", lambda drawn, name: "<svg></svg>")


def bare(content: FluxContent) -> FluxContent:
    """Without anything that was measured."""
    layers = [LayerContent(name=layer.name, why_empty={"selected": f"Why <{layer.name}>."}) for layer in content.layers]
    return replace(content, layers=layers, matches=empty("matches"), comparison={}, done={})


def test_without_measurements_every_page_says_so_in_a_sentence(tmp_path: Path, content: FluxContent) -> None:
    folder = write_flux_report(bare(content), tmp_path, FEW).parent
    found = {name: HtmlReader(folder / f"{name}.html") for name in PAGES}
    assert "No feature was selected. early: Why <early>. late: Why <late>." in found["index"].text
    for name in ("truth", "steering", "demos", "decoder", "layers"):
        assert "This was not measured in this run." in found[name].text, name
    assert not any(tag == "img" for page in found.values() for tag, _ in page.elements)


@pytest.mark.parametrize(
    "names",
    [("statistics", "levels"), ("top", "labels"), ("coherence", "overlays"), ("selected",), ("decoder", "grids"),
     ("similarity", "steering", "distribution"), ("trials",)],
)  # fmt: skip
def test_any_frame_may_be_empty(
    tmp_path: Path, alone: FluxContent, quick: None, names: tuple[str, ...]
) -> None:  # fmt: skip
    layer = replace(alone.layers[0], **{name: empty(name) for name in names})
    folder = write_flux_report(replace(alone, layers=[layer]), tmp_path, FEW).parent
    assert all(HtmlReader(folder / f"{page}.html").text for page in PAGES)


def test_one_layer_alone_is_a_report(tmp_path: Path, alone: FluxContent, quick: None) -> None:
    folder = write_flux_report(alone, tmp_path, FEW).parent
    assert "This was not measured in this run." in HtmlReader(folder / "layers.html").text
    assert "late" not in {a.get("data-layer") for _, a in HtmlReader(folder / "index.html").elements}


def test_a_model_without_known_labels_is_shown_without_them(tmp_path: Path, content: FluxContent, quick: None) -> None:
    layers = [replace(layer, labels=empty("labels"), why_empty={"labels": "No truth."}) for layer in content.layers]
    folder = write_flux_report(replace(content, layers=layers), tmp_path, FEW).parent
    text = HtmlReader(folder / "index.html").text
    assert "no known label" in text and "AUROC 0" not in text
    assert "No truth." in HtmlReader(folder / "truth.html").text


def test_large_pictures_are_reduced(tmp_path: Path, content: FluxContent, quick: None) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in content.images["file"].to_list():
        pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    layer = replace(content.layers[0], **{name: empty(name) for name in ("overlays", "steering", "grids", "trials")})
    shown = write_flux_report(replace(
        content, image_folder=folder, layers=[layer], matches=empty("matches"), matched=None
    ), tmp_path / "report", FEW)  # fmt: skip
    images = [a for tag, a in HtmlReader(shown).elements if tag == "img"]
    assert images and {(a["width"], a["height"], a.get("class")) for a in images} <= {
        ("384", "288", None), ("384", "288", "thumb")
    }  # fmt: skip
    assert all(str(a["src"]).endswith(".webp") for a in images)


def test_exports_are_laid_beside_the_pages_and_linked(tmp_path: Path, content: FluxContent) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "7.json").write_text("{}")
    folder = write_flux_report(
        replace(bare(content), exports={"For Neuronpedia": tmp_path / "early"}), tmp_path / "report", FEW
    ).parent
    assert (folder / "data" / "early" / "7.json").read_text() == "{}"
    links = [a["href"] for tag, a in HtmlReader(folder / "method.html").elements if tag == "a"]
    assert "data/early" in links


def test_a_table_without_a_column_is_refused_by_name(content: FluxContent) -> None:
    with pytest.raises(ValueError, match="table trials of the layer early lacks the columns score"):
        replace(content.layers[0], trials=content.layers[0].trials.drop("score"))
    with pytest.raises(ValueError, match="table images of the report lacks the columns file"):
        replace(content, images=content.images.drop("file"))


def test_layers_of_one_name_and_matches_of_unknown_layers_are_refused(content: FluxContent) -> None:
    with pytest.raises(ValueError, match="different names"):
        replace(content, layers=[content.layers[0], content.layers[0]])
    with pytest.raises(ValueError, match="Matches are between two"):
        replace(content, matched=("early", "middle"))


def test_every_frame_of_a_layer_is_documented_and_has_a_default() -> None:
    names = {field.name for field in fields(LayerContent)}
    doc = LayerContent.__doc__ or ""
    assert set(LAYER_FRAMES) <= names and all(f"`{name}`" in doc for name in LAYER_FRAMES)
