"""A made-up world of erasing: pictures that are rendered as imagined methods would draw them, and their tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from seasons.labels import LABELS
from seasons.render import render
from seasons.scene import Scene, sample_scene
from steerwright.report.latents.content import LatentCard, LatentsContent, TopPicture
from steerwright.report.provenance import RunProvenance
from steerwright.scoring.erasure_samples import ErasureTarget
from steerwright.scoring.unlearning import answers, unlearning
from steerwright.stats.bootstrap import Bootstrap

Make = Callable[..., LatentsContent]
TARGETS = ("season:spring", "season:winter", "object:car", "object:cat", "object:tent")
METHODS = ("steered", "ablation", "saeuron", "random")
# How surely a method takes hold where it should, and how often it changes another label.
SURE = {"steered": 0.97, "ablation": 0.2, "saeuron": 0.9, "random": 0.02}
HARM = {"steered": 0.04, "ablation": 0.02, "saeuron": 0.3, "random": 0.05}
OBJECTS = ("car", "cat", "tent", "house")
STEPS = tuple(range(0, 20, 2))


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return lambda **options: make_content(tmp_path_factory.mktemp("pictures"), **options)


@pytest.fixture(scope="session")
def content(make: Make) -> LatentsContent:
    return make()


def make_content(
    folder: Path, targets: tuple[str, ...] = TARGETS, methods: tuple[str, ...] = METHODS,
    together: tuple[str, ...] = ("season:spring + season:winter", "season:spring + season:winter + object:car"),
    clip: bool = True, saes: tuple[str, ...] = ("mid", "up"), cards: int = 2, resamples: int = 100,
) -> LatentsContent:  # fmt: skip
    images = judged(folder, targets, methods, together, clip)
    table = unlearning(images.drop("path"), Bootstrap(resamples=resamples), _features(images))
    pictures = images.filter(pl.col("operating")).select("target", "method", "prompt_id", "seed", "path")
    several = table.filter(pl.col("target").str.contains(" + ", literal=True) | (pl.col("target") == "season:spring"))
    return LatentsContent(
        title="Latents that <carry> concepts",
        model="seasons-sd (models/seasons-sd)",
        done={"Prompts": "32 test prompts, each on a seed of its own.", "Autoencoders": "Two of 512 latents <each>."},
        images=images.drop("path"),
        unlearning=table.filter(~pl.col("target").str.contains(" + ", literal=True)),
        sequential=several if together else several.clear(),
        comparisons=answers(table),
        chosen={target: {method: {"recipe": {"change": "set", "top": 64, "gate": 0.5}, "strength": 1.0, "wanted": 0.98,
                                  "reached": True if method == "steered" else None} for method in methods[:3]}
                for target in targets},
        trials=pl.DataFrame([
            {"target": target, "recipe": json.dumps({"change": "set", "top": top}), "strength": strength,
             "wanted": strength * top / 64, "kept": 0.98, "chosen": top == 64 and strength == 1.0}
            for target in targets for top in (32, 64) for strength in (0.5, 1.0)
        ]),
        quality=_quality(saes),
        curves=pl.DataFrame([
            {"sae": sae, "rows": rows * 4096, "fvu": 0.9 / (1 + rows / 5) + 0.05 * place, "l0": 24.0 + 40 / rows,
             "dead_share": 0.2 / rows}
            for place, sae in enumerate(saes) for rows in range(1, 60)
        ]),
        saes={sae: {"Hookpoint": f"unet.{sae}_block:out", "Latents": "512"} for sae in saes},
        concept_latents=_concept_latents(saes, targets),
        cards=_cards(images, saes, targets, cards),
        pictures=pictures,
        provenance=RunProvenance({"Command": "steerwright run latents"}, {"a": {"b": 1}}, {"pictures": "ab12"}),
        perceptual="lpips_seasons",
        fid_name="fid_seasons",
        explanations={"A further word": "Said <here>."},
    )  # fmt: skip


def judged(
    folder: Path, targets: tuple[str, ...], methods: tuple[str, ...], together: tuple[str, ...], clip: bool
) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    asked = [(season, thing) for season in LABELS["season"] for thing in OBJECTS]
    prompts = [(season, thing, ("day", "night")[number % 3 == 1]) for number, (season, thing) in enumerate(asked)]
    rows: list[dict[str, Any]] = []
    for number, (season, thing, time) in enumerate(prompts):
        scene = sample_scene(np.random.default_rng(number), season=season, object=thing, time=time)
        if number % 9 == 8:
            scene = _with(scene, object="house" if thing != "house" else "car")
        shots = [(None, "unsteered"), *((target, method) for target in targets for method in methods)]
        shots += [(target, "steered") for target in together if "steered" in methods]
        for target, method in shots:
            drawn, artifact = _drawn(scene, target, method, rng)
            path = folder / f"{number}-{(target or 'none').replace(':', '-')}-{method}.png"
            Image.fromarray(render(drawn)).save(path)
            changed = sum(getattr(drawn, label) != getattr(scene, label) for label in LABELS)
            rows.append({
                "target": target, "method": method, "strength": 0.0 if target is None else 1.0, "operating": True,
                "prompt_id": f"test-{number}", "prompt": f"a picture of a <{thing}> in {season} at {time}",
                "seed": 1000 + number, "template": 0, **{label: getattr(drawn, label) for label in LABELS},
                "asked_season": season, "asked_object": thing, "asked_time": time, "lpips": 0.1 * changed,
                "artifact": artifact, "clip_target": 0.2 if target is not None and clip else None, "path": str(path),
            })  # fmt: skip
    return pl.DataFrame(
        rows, infer_schema_length=None, schema_overrides={"target": pl.String, "clip_target": pl.Float64}
    )


def _drawn(scene: Scene, target: str | None, method: str, rng: np.random.Generator) -> tuple[Scene, bool]:
    if target is None:
        return scene, bool(rng.random() < 0.05)
    for axis, value in ErasureTarget.parse(target).concepts:
        others = [one for one in LABELS[axis] if one != value]
        if getattr(scene, axis) == value and rng.random() < SURE[method]:
            scene = _with(scene, **{axis: others[rng.integers(len(others))]})
    if rng.random() < HARM[method]:
        scene = _with(scene, time="sunset")
    return scene, bool(rng.random() < 0.05 + HARM[method] / 2)


def _with(scene: Scene, **values: str) -> Scene:
    return Scene(**{name: getattr(scene, name) for name in Scene.__dataclass_fields__} | values)


def _features(images: pl.DataFrame) -> pl.Series:
    rng = np.random.default_rng(1)
    shift = {"unsteered": 0.0, "steered": 0.2, "ablation": 0.1, "saeuron": 1.0, "random": 0.1}
    return pl.Series([(rng.normal(size=3) + shift[method]).tolist() for method in images["method"].to_list()])


def _quality(saes: tuple[str, ...]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for place, sae in enumerate(saes):
        rows += [{"sae": sae, "measure": name, "step": None, "low": None, "high": None, "value": value + 0.01 * place}
                 for name, value in (("fvu", 0.123), ("l0", 23.7), ("dead_share", 0.011))]  # fmt: skip
        rows += [{"sae": sae, "measure": "fvu", "step": step, "low": None, "high": None, "value": 0.2 - step / 150}
                 for step in STEPS]  # fmt: skip
        rows += [{"sae": sae, "measure": "density", "step": None, "low": low / 2, "high": (low + 1) / 2,
                  "value": float(40 - (low + 5 + place) ** 2)} for low in range(-10, 0)]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _concept_latents(saes: tuple[str, ...], targets: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame([
        {"sae": sae, "concept": concept, "latent": 7 + 31 * place + 3 * copy, "mean": 1.0 if same else 0.1 * copy,
         "selected": same}
        for sae in saes for place, target in enumerate(targets) for copy in range(3) for concept in targets
        for same in [concept == target]
    ])  # fmt: skip


def _cards(images: pl.DataFrame, saes: tuple[str, ...], targets: tuple[str, ...], count: int) -> list[LatentCard]:
    plain = images.filter(method="unsteered")
    found = []
    for place, target in enumerate(targets):
        axis, value = ErasureTarget.parse(target).concepts[0]
        rows = plain.filter(pl.col(axis) == value).head(4).to_dicts()
        for copy in range(count):
            bump = np.exp(-((np.arange(8) - 3.5) ** 2) / 6)
            maps = np.stack([np.outer(bump, bump) * (1 + step / 4) for step in range(len(STEPS))])
            top = [TopPicture(row["prompt"], row["seed"], Path(row["path"]), 2.5 - rank / 4, maps / (1 + rank / 4))
                   for rank, row in enumerate(rows)]  # fmt: skip
            found.append(LatentCard(
                saes[copy % len(saes)], 7 + 31 * place + 3 * copy, target, {"AUROC": 0.987, "Cohen's d": 2.345},
                0.0123, STEPS, {value: [0.1 * step for step in STEPS], "others": [0.3] * len(STEPS)}, top,
            ))  # fmt: skip
    return found
