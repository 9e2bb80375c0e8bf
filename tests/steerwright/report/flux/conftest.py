"""A made-up model of the seasons world with two dictionaries, whose latents stand for known things or for nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from seasons.labels import LABELS
from seasons.render import render_with_mask
from seasons.scene import Scene, sample_scene
from steerwright.report.flux.content import FluxContent, LayerContent, score_histogram, score_levels
from steerwright.report.flux.page import write_flux_report
from steerwright.report.provenance import RunProvenance
from steerwright.stats.bootstrap import Bootstrap
from tasks.flux.overlays import write_overlays

Make = Callable[..., FluxContent]
PLANTED = tuple(f"{label}:{value}" for label in ("season", "object", "time") for value in LABELS[label])
STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)
GRID = (8, 8)
SELECTED, EXAMPLES, TOP = 5, 3, 8


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return lambda **options: make_content(tmp_path_factory.mktemp("run"), **options)


@pytest.fixture(scope="session")
def content(make: Make) -> FluxContent:
    return make()


@pytest.fixture(scope="session")
def report(content: FluxContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report that is written once, for tests that only read it."""
    return write_flux_report(content, tmp_path_factory.mktemp("report"), Bootstrap(resamples=100)).parent


def make_content(
    folder: Path, prompts: int = 24, repetitions: int = 2, latents: int = 60, selected: int = SELECTED,
    layers: tuple[str, ...] = ("early", "late"), grid_prompts: int = 2,
) -> FluxContent:  # fmt: skip
    scenes = [sample_scene(np.random.default_rng(number)) for number in range(prompts)]
    images, masks = _images(folder / "images", scenes, repetitions)
    scores = {name: _scores(images, latents, place) for place, name in enumerate(layers)}
    made = [_layer(folder, name, scores[name], images, masks, scenes, selected, grid_prompts) for name in layers]
    pairs = _matches(*scores.values()) if len(layers) > 1 else pl.DataFrame()
    return FluxContent(
        title="Features of <seasons-flux>", model="seasons-flux (models/seasons-flux), 12 steps, 64 px",
        images=images, image_folder=folder / "images", layers=made,
        provenance=RunProvenance({"Command": "steerwright run flux"}, {"a": {"b": 1}}, {"images": "ab12"}),
        done={"Pictures": f"{images.height} pictures of {prompts} prompts.", "Latents": "Scores of all <latents>."},
        matches=pairs, matched=(layers[0], layers[1]) if len(layers) > 1 else None,
        comparison={
            "a": {"latents_per_image": 31.25, "l0": 12.5}, "b": {"latents_per_image": 28.5, "l0": None},
            "pairs": pairs.height, "correlation": 0.375, "share_above": {"0.5": 0.28, "0.9": 0.14},
            "chance": {"correlation": 0.25, "share_above": {"0.5": 0.01, "0.9": 0.0}}, "chance_high": 0.42,
            "share_above_chance": 0.33, "a_further_fact": 7,
        },
        perceptual="LPIPS (seasons)", explanations={"A further word": "Said <here>."},
    )  # fmt: skip


def _images(folder: Path, scenes: list[Scene], repetitions: int) -> tuple[pl.DataFrame, np.ndarray]:
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    masks = []
    for number, scene in enumerate(scenes):
        for repetition in range(repetitions):
            shown = Scene(**{name: getattr(scene, name) for name in Scene.__dataclass_fields__} | {"seed": len(rows)})
            pixels, mask = render_with_mask(shown)
            Image.fromarray(pixels).save(folder / f"{len(rows)}.png")
            masks.append(mask.reshape(8, 8, 8, 8).mean((1, 3)))
            rows.append({
                "image": len(rows), "id": f"p{number}-{repetition}", "prompt_id": f"p{number}", "seed": 100 + len(rows),
                "prompt": f"a {scene.colour} <{scene.object}>, {scene.season}", "file": f"{len(rows)}.png",
                "height": 64, "width": 64, **{label: getattr(scene, label) for label in LABELS},
            })  # fmt: skip
    return pl.DataFrame(rows), np.stack(masks)


def _scores(images: pl.DataFrame, latents: int, place: int) -> np.ndarray:
    """Score [images, latents]: planted ones first (in another order at each layer), then noise, then dead ones."""
    rng = np.random.default_rng(place)
    scores = np.maximum(rng.normal(0.2, 0.6, (images.height, latents)), 0)
    order = np.random.default_rng(10 + place).permutation(len(PLANTED))
    for latent, planted in enumerate(order):
        label, value = PLANTED[planted].split(":")
        shows = (images[label] == value).to_numpy()
        scores[:, latent] = np.where(shows, rng.uniform(1.5, 4, images.height), np.maximum(rng.normal(-0.4, 0.5), 0))
    scores[:, -6:] = 0
    return scores


def _auroc(score: np.ndarray, shows: np.ndarray) -> float:
    """By all pairs, ties half."""
    first, second = score[shows][:, None], score[~shows][None]
    return float(((first > second) + 0.5 * (first == second)).mean())


def _layer(
    folder: Path, name: str, scores: np.ndarray, images: pl.DataFrame, masks: np.ndarray, scenes: list[Scene],
    count: int, grid_prompts: int,
) -> LayerContent:  # fmt: skip
    rng = np.random.default_rng(len(name))
    latents = scores.shape[1]
    frequency = (scores > 1e-4).mean(0)
    bins = ["dead" if f == 0 else "rare" if f < 0.01 else "common" if f < 0.1 else "very common" for f in frequency]
    statistics = pl.DataFrame({
        "latent": range(latents), "alive": frequency > 0, "bin": bins, "frequency": frequency, "mean": scores.mean(0),
        "std": scores.std(0), "largest": scores.max(0),
    })  # fmt: skip
    top = pl.DataFrame([
        {"latent": latent, "rank": rank, "image": int(image), "score": float(scores[image, latent])}
        for latent in range(latents)
        for rank, image in enumerate(np.argsort(-scores[:, latent], kind="stable")[:TOP], 1)
        if scores[image, latent] > 0
    ])  # fmt: skip
    labels = _labels(scores, images)
    z = np.where(np.arange(latents) < len(PLANTED), rng.uniform(3, 9, latents), rng.normal(0.5, 1.2, latents))
    coherence = pl.DataFrame({
        "latent": range(latents), "images": 8, "coherence": 0.55 + 0.03 * z, "null_mean": 0.55, "null_sd": 0.03,
        "null_low": 0.5, "null_high": 0.6, "z": z,
    }).filter(pl.Series(frequency > 0.1))  # fmt: skip
    best = coherence.sort("z", descending=True).head(count)["latent"].to_list()
    # Steered for its label, though it was not selected.
    spare = [latent for latent in range(len(PLANTED)) if latent not in best][:1]
    ranked = {latent: top.filter(latent=latent)["image"].to_list()[:EXAMPLES] for latent in best}
    overlays = write_overlays(
        folder / name / "overlays", ranked,
        lambda image, latent: scores[image, latent] * (0.15 + masks[image]) / 1.15,
        lambda image: folder / "images" / f"{image}.png",
    )  # fmt: skip
    directions = rng.normal(size=(latents, 16))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return LayerContent(
        name=name, facts={"Hookpoint": f"transformer_blocks.{len(name)}:out:image", "Step": "8 of 12", "k": "16"},
        quality={"l0": 15.9, "fvu": 0.213, "dead_share": 0.1}, statistics=statistics, top=top, coherence=coherence,
        selected=coherence.sort("z", descending=True).head(count).select(
            pl.int_range(1, count + 1).alias("rank"), "latent", "coherence", "z", "null_low", "null_high"
        ).with_columns(examples=pl.Series([ranked[latent] for latent in best])),
        labels=labels, decoder=_decoder(directions, frequency), overlays=overlays,
        similarity=pl.DataFrame([{"latent_a": a, "latent_b": b, "cosine": float(directions[a] @ directions[b])}
                                 for a in best for b in best]),
        steering=_steering(folder / name / "steering", best[:3], labels, scenes),
        trials=pl.DataFrame([
            {"latent": latent, "strength": strength, "lpips_plus": 0.4 * strength, "lpips_minus": 0.3 * strength,
             "score": 0.3 * strength, "concept_gain": 0.02 * strength - 0.01 * place, "fidelity": 1 - 0.03 * strength,
             "prompt_id": f"p{place}-0", "prompt": f"prompt <{place}>", "kept": strength == 2.0 and place < 2}
            for place, latent in enumerate(best) for strength in (1.0, 2.0)
        ]),
        grids=_grids(folder / name / "grids", [*best[:3], *spare], labels, scenes, grid_prompts),
        levels=score_levels(scores[:, best], best), distribution=score_histogram(scores[:, best], best),
        overlay_folder=folder / name / "overlays", steering_folder=folder / name / "steering",
        grid_folder=folder / name / "grids", strengths=STRENGTHS,
    )  # fmt: skip


def _labels(scores: np.ndarray, images: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for latent in range(scores.shape[1]):
        found = sorted((
            (_auroc(scores[:, latent], shows), label, value)
            for label, values in LABELS.items() for value in values
            if 2 <= (shows := (images[label] == value).to_numpy()).sum() <= len(shows) - 2
        ), key=lambda one: -one[0])  # fmt: skip
        (first, label, value), (second, second_label, second_value) = found[:2]
        row: dict[str, Any] = {"latent": latent, "label": label, "value": value, "auroc": first, "low": first - 0.05,
                               "high": min(1.0, first + 0.04), "second_label": second_label,
                               "second_value": second_value, "second_auroc": second, "shuffled": 0.6, "chance": 0.7,
                               "region": "object" if label in ("object", "colour") else "background",
                               "pointing": 0.875, "base_rate": 0.25, "energy": 0.5}  # fmt: skip
        if not scores[:, latent].any():
            row = {"latent": latent}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _decoder(directions: np.ndarray, frequency: np.ndarray) -> pl.DataFrame:
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -2)
    near = np.argsort(-cosines, axis=1)[:, :5]
    alive = frequency > 0
    return pl.DataFrame({
        "latent": range(len(directions)), "norm": 1 + 0.05 * directions[:, 2],
        "encoder_decoder_cosine": 0.5 + 0.2 * directions[:, 3], "neighbours": near.tolist(),
        "neighbour_cosines": np.take_along_axis(cosines, near, 1).tolist(),
        "x": np.where(alive, directions[:, 0], np.nan), "y": np.where(alive, directions[:, 1], np.nan),
    })  # fmt: skip


def _steered(scene: Scene, wanted: tuple[str, str], strength: float) -> Scene:
    """Plus brings the value, minus takes it away; a strong minus changes the time of day as well."""
    label, value = wanted
    changed: dict[str, Any] = {}
    if strength > 0:
        changed[label] = value
    elif strength < 0 and getattr(scene, label) == value:
        changed[label] = next(one for one in LABELS[label] if one != value)
    if strength < -1 and label != "time":
        changed["time"] = "night"
    return Scene(**{name: getattr(scene, name) for name in Scene.__dataclass_fields__} | changed)


def _drawn(folder: Path, name: str, scene: Scene, wanted: tuple[str, str], strength: float) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    shown = _steered(scene, wanted, strength)
    Image.fromarray(render_with_mask(shown)[0]).save(folder / name)
    return {"strength": strength, "file": name, "lpips": abs(strength), "clip": 0.3 - 0.01 * abs(strength),
            **{label: getattr(shown, label) for label in LABELS}}  # fmt: skip


def _wanted(labels: pl.DataFrame, latent: int) -> tuple[str, str]:
    row = labels.filter(latent=latent).to_dicts()[0]
    return row["label"], row["value"]


def _steering(folder: Path, latents: list[int], labels: pl.DataFrame, scenes: list[Scene]) -> pl.DataFrame:
    return pl.DataFrame([
        {"latent": latent, "mode": mode, "prompt": f"a {scene.object}", "seed": place,
         **_drawn(folder, f"{latent}-{mode}-{place}-{strength:g}.png", scene, _wanted(labels, latent), strength)}
        for latent in latents for mode in ("add", "encode_edit_decode") for place, scene in enumerate(scenes[:2])
        for strength in STRENGTHS
    ])  # fmt: skip


def _grids(
    folder: Path, latents: list[int], labels: pl.DataFrame, scenes: list[Scene], prompts: int
) -> pl.DataFrame:  # fmt: skip
    """The last latent's grid lacks a strength of one prompt, and has one that was not made."""
    rows = [
        {"latent": latent, "prompt_id": f"g{place}", "prompt": f"a {scene.object} in {scene.season}", "seed": place,
         **_drawn(folder, f"{latent}-{place}-{strength:g}.png", scene, _wanted(labels, latent), strength)}
        for latent in latents for place, scene in enumerate(scenes[:prompts]) for strength in STRENGTHS
    ]  # fmt: skip
    last = len(STRENGTHS) * prompts
    del rows[-last]
    rows[-1]["file"] = None
    return pl.DataFrame(rows)


def _matches(first: np.ndarray, second: np.ndarray) -> pl.DataFrame:
    alive_a, alive_b = (np.flatnonzero(one.std(0)) for one in (first, second))
    found = np.corrcoef(first[:, alive_a].T, second[:, alive_b].T)[: len(alive_a), len(alive_a) :]
    best = found.argmax(1)
    return pl.DataFrame({
        "latent_a": alive_a, "latent_b": alive_b[best], "cosine": [None] * len(alive_a),
        "correlation": found.max(1),
    }, schema_overrides={"cosine": pl.Float64})  # fmt: skip
