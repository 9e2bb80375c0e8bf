"""The gallery: everything on it, its numbers those of the frames, no request, the same bytes every time."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.features import features
from steerwright.report.flux.page import PAGES, write_flux_report
from steerwright.stats.bootstrap import Bootstrap
from tests.digests import digests
from tests.html_reader import HtmlReader


@pytest.fixture(scope="session")
def pages(report: Path) -> dict[str, Any]:
    return {name: HtmlReader(report / f"{name}.html") for name in PAGES}


def test_nothing_is_asked_for_outside_the_folder_and_every_link_leads_somewhere(
    report: Path, pages: dict[str, Any]
) -> None:
    ids = {f"{name}.html": set(page.ids()) for name, page in pages.items()}
    for name, page in pages.items():
        assert len(page.ids()) == len(set(page.ids()))
        for _, attributes in page.elements:
            for key in ("src", "href", "xlink:href", "srcset", "action", "data"):
                target = attributes.get(key)
                if target is None or target.startswith("data:"):
                    continue
                path, _, anchor = target.partition("#")
                assert "://" not in target and (report / (path or f"{name}.html")).exists(), target
                assert not anchor or anchor in ids[path or f"{name}.html"], target
        text = (report / f"{name}.html").read_text()
        assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)|fetch\(|XMLHttp|import\(", text)


def test_every_page_leads_to_every_other_and_says_which_it_is(pages: dict[str, Any]) -> None:
    for name, page in pages.items():
        links = {a.get("href"): a.get("aria-current") for tag, a in page.elements if tag == "a"}
        assert {f"{other}.html" for other in PAGES} <= set(links)
        assert [href for href, current in links.items() if current] == [f"{name}.html"]


def test_what_comes_from_data_is_text_and_never_markup(pages: dict[str, Any]) -> None:
    said = {"index": ("Features of <seasons-flux>", "Scores of all <latents>"), "method": ("Said <here>",),
            "demos": ("prompt <0>",)}  # fmt: skip
    for name, texts in said.items():
        for text in texts:
            assert text in pages[name].text, text
        assert not {"seasons-flux", "latents", "here"} & {tag for tag, _ in pages[name].elements}


def test_every_selected_latent_has_a_card_and_so_has_one_that_was_only_steered(
    content: FluxContent, pages: dict[str, Any]
) -> None:
    cards = {a["id"]: a for tag, a in pages["index"].elements if tag == "li" and "data-rank" in a}
    for layer in content.layers:
        selected = layer.selected["latent"].to_list()
        (spare,) = set(layer.grids["latent"].to_list()) - set(selected)
        for latent in [*selected, spare]:
            card = cards.pop(f"{layer.name}-{latent}")
            assert card["data-kind"] == ("selected" if latent in selected else "steered")
            truth = layer.labels.filter(latent=latent).to_dicts()[0]
            assert float(str(card["data-auroc"])) == truth["auroc"]
            assert card["data-value"] == f"{truth['label']}: {truth['value']}"
            # One that too few prompts make active has none.
            known = layer.coherence.filter(latent=latent)["z"].to_list()
            assert card["data-z"] == (f"{known[0]}" if known else "")
            assert float(str(card["data-density"])) == layer.statistics.filter(latent=latent)["frequency"].item()
    assert not cards


def test_a_card_tells_its_numbers_with_their_meaning(content: FluxContent, pages: dict[str, Any]) -> None:
    layer = content.layers[0]
    chosen = layer.selected.sort("rank").to_dicts()[0]
    latent = chosen["latent"]
    text = pages["index"].text
    start = text.index(f" Latent {latent} layer early, rank 1")
    card = text[start : text.index(" Latent ", start + 10)]
    label = layer.labels.filter(latent=latent).to_dicts()[0]
    stats = layer.statistics.filter(latent=latent).to_dicts()[0]
    for said in (
        f"{label['label']}: {label['value']}", f"AUROC {label['auroc']:.2f} ({label['low']:.2f} to {label['high']:.2f}",
        f"next best {label['second_label']}: {label['second_value']}, {label['second_auroc']:.2f}",
        f"{chosen['coherence']:.2f}, z = {chosen['z']:.1f}", "random pictures: 0.55 (0.50 to 0.60)",
        f"{stats['largest']:.2f} largest", "88~% of its maps peak on", "a random place: 25~%; 50~%",
        f"Examples with their heat, from 0 to {layer.overlays.filter(latent=latent)['vmax'][0]:.2f} and more",
    ):  # fmt: skip
        assert said in card, said


def test_pictures_of_the_gallery_are_those_of_the_run_byte_for_byte(
    content: FluxContent, report: Path, pages: dict[str, Any]
) -> None:
    feature = features(content)[0]
    shown = {a["src"]: a for tag, a in pages["index"].elements if tag == "img"}
    held = {(report / str(source)).read_bytes() for source in shown}
    for one in feature.examples:
        assert one.picture.read_bytes() in held
        assert one.overlay is not None and one.overlay.read_bytes() in held
    assert all(a["alt"] and a["width"] == "64" for a in shown.values())
    # Two names for one content are one file.
    names = [path.name for path in (report / "pictures").iterdir()]
    contents = {path.read_bytes() for path in (report / "pictures").iterdir()}
    assert len(names) == len(contents)


def test_a_picture_that_is_not_there_is_a_box_that_says_so(pages: dict[str, Any], content: FluxContent) -> None:
    boxes = [a for tag, a in pages["demos"].elements if a.get("class") == "missing"]
    # In each layer one row of the last grid is gone and the file of another is null.
    assert len(boxes) == 2 * len(content.layers)
    assert pages["demos"].text.count(" not made") == 2 * len(content.layers)
    assert "4 pictures of these grids are not there" in pages["demos"].text
    selected = sum(layer.selected.height for layer in content.layers)
    assert pages["demos"].text.count("No grid was made for: ") == 1 and selected == 10


def test_every_figure_has_its_png_and_its_numbers(report: Path, pages: dict[str, Any]) -> None:
    figures = {path.stem for path in (report / "figures").iterdir()}
    assert {"coherence-auroc", "interpretable-by-coherence", "selected-random", "steering-ends", "steering-rates",
            "map-early", "similarity-late", "density", "matches-correlation", "change-gain"} <= figures  # fmt: skip
    for name in figures:
        with Image.open(report / "figures" / f"{name}.png") as picture:
            assert picture.format == "PNG"
        assert (report / "data" / f"{name}.csv").is_file()
    linked = {a.get("href") for page in pages.values() for tag, a in page.elements if tag == "a"}
    assert {f"data/{name}.csv" for name in figures} <= linked


def test_the_truth_page_counts_as_the_frames_do(content: FluxContent, pages: dict[str, Any]) -> None:
    text = pages["truth"].text
    for layer in content.layers:
        chosen = layer.labels.filter(pl.col("latent").is_in(layer.selected["latent"].implode()))
        good = int((chosen["auroc"] >= 0.9).sum())
        pool = layer.labels.filter(pl.col("auroc").is_not_null())
        count = int((pool["auroc"] >= 0.9).sum())
        assert f"{layer.name} against all alive latents {good} of {chosen.height}" in text
        assert f"{count} of {pool.height}" in text
    assert "early 0 of 54 latents; late 0 of 54 latents" in text


def test_the_matching_table_pairs_latents_with_their_correlation(content: FluxContent, pages: dict[str, Any]) -> None:
    best = content.matches.sort("correlation", descending=True).to_dicts()[0]
    rows = pages["layers"].text
    assert f" {best['correlation']:.2f} " in rows[rows.index("best pairs") :]
    assert "Mean correlation of the 54 pairs 0.38 0.25" in rows and "Matched at 0.5 and more" in rows
    assert "A further fact 7" in rows


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, content: FluxContent, report: Path) -> None:
    again = write_flux_report(content, tmp_path / "again", Bootstrap(resamples=100)).parent
    assert digests(again) == digests(report)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_runs_the_gallery_from_a_file_without_an_error(report: Path, tmp_path: Path) -> None:
    said = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path}", "--virtual-time-budget=2000", "--dump-dom", f"file://{report}/index.html#?layer=late&sort=z"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in said.stderr
    assert '<html lang="en" class="js">' in said.stdout
    assert "6 of 12 features" in said.stdout
