"""Steering pictures for programs: named endpoints of the app, with pictures as data URIs of PNG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from steerkit.lab.jobs import Job
from steerkit.lab.operations.steer_feature import layer_features, steer_feature
from steerkit.lab.operations.steer_picture import CONCEPT, picture_choices, steer_picture
from steerkit.lab.pictures.edits import METHODS
from steerkit.lab.pictures.features import LAYERS
from steerkit.lab.pictures.judge import PictureChange
from steerkit.lab.pictures.view import png_uri
from steerkit.lab.shared import answering
from steerkit.lab.workbench import Workbench


def add_picture_endpoints(workbench: Workbench) -> None:
    """Add `picture_options`, `steer_picture` and `steer_feature` to the current Blocks; docs/lab.md describes them."""

    def options() -> dict:
        """What can be done with pictures: the edits of each method, and the features of each FLUX layer."""
        return picture_options(workbench)

    def draw(
        job: Job, prompt: str, method: str = "attention", edit: str = "add-winter", strength: float | None = None,
        seed: int = 0, heat: str = CONCEPT,
    ) -> dict:  # fmt: skip
        """Draw a prompt with Stable Diffusion, unsteered and steered; strength null is the edit's own."""
        return picture_answer(workbench, prompt, method, edit, strength, seed, heat, job)

    def draw_feature(job: Job, prompt: str, layer: str, feature: int, strength: float = 0.8, seed: int = 0) -> dict:
        """Draw a prompt with FLUX, unsteered and steered along a feature."""
        return feature_answer(workbench, prompt, layer, feature, strength, seed, job)

    named: dict[str, Callable[..., Any]] = {
        "picture_options": options,
        "steer_picture": draw,
        "steer_feature": draw_feature,
    }
    for name, endpoint in named.items():
        gr.api(answering(endpoint), api_name=name, concurrency_limit=None)


def picture_options(workbench: Workbench) -> dict[str, Any]:
    """{edits: {method: [{edit, title, ...}]}, features: {layer: [{feature, label, value, ...}]}}"""
    edits = {
        method: [
            {"edit": one.key, "title": one.title, "strength": one.strength, "range": [one.lowest, one.highest]}
            for one in picture_choices(workbench, method)
        ]
        for method in METHODS
    }
    features = {
        layer: [
            {"feature": one.latent, "label": one.label, "value": one.value, "auroc": one.auroc, "change": one.change}
            for one in layer_features(workbench, layer)
        ]
        for layer in LAYERS
    }
    return {"edits": edits, "features": features}


def picture_answer(
    workbench: Workbench,
    prompt: str,
    method: str,
    edit: str,
    strength: float | None,
    seed: int,
    heat: str = CONCEPT,
    job: Job | None = None,
) -> dict[str, Any]:
    """`steer_picture` as JSON: both pictures, the labels of both, the distance, and the mean heat [h][w] of both."""
    found = steer_picture(workbench, prompt, method, edit, strength, seed, heat, job)
    return {
        "prompt": found.prompt, "seed": found.seed, "edit": found.choice.key, "strength": found.strength,
        "unsteered": png_uri(found.unsteered), "steered": png_uri(found.steered), **_judged(found.change),
        "heat_of": found.heat_of, "heat_unsteered": found.heat_unsteered.mean(0).tolist(),
        "heat_steered": found.heat.mean(0).tolist(),
    }  # fmt: skip


def feature_answer(
    workbench: Workbench, prompt: str, layer: str, feature: int, strength: float, seed: int, job: Job | None = None
) -> dict[str, Any]:
    """`steer_feature` as JSON: both pictures, the labels of both, the distance, and the unsteered picture's heat."""
    found = steer_feature(workbench, prompt, layer, feature, strength, seed, job)
    return {
        "prompt": found.prompt, "seed": found.seed, "feature": found.feature.latent, "value": found.feature.value,
        "strength": found.strength, "unsteered": png_uri(found.unsteered), "steered": png_uri(found.steered),
        **_judged(found.change), "heat_unsteered": found.heat_unsteered.mean(0).tolist(),
    }  # fmt: skip


def _judged(change: PictureChange) -> dict[str, Any]:
    return {"labels": [asdict(one) | {"changed": one.changed} for one in change.labels], "lpips": change.distance}
