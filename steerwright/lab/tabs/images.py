"""The images tab: pictures of the embedded Stable Diffusion and FLUX, left alone and steered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gradio as gr

from steerwright.errors import UserError
from steerwright.lab.jobs import Job
from steerwright.lab.operations.steer_feature import layer_features, steer_feature
from steerwright.lab.operations.steer_picture import CONCEPT, picture_choices, steer_picture
from steerwright.lab.pictures.edits import METHODS
from steerwright.lab.pictures.features import LAYERS
from steerwright.lab.pictures.flux_panel import flux_panel
from steerwright.lab.pictures.kit import PictureChange
from steerwright.lab.pictures.sd_panel import sd_panel
from steerwright.lab.pictures.view import PICTURE_STYLE, png_uri
from steerwright.lab.shared import Shared, answering
from steerwright.lab.style import lead
from steerwright.lab.workbench import Workbench
from steerwright.report.html.page import el


def tab(workbench: Workbench, shared: Shared) -> None:  # noqa: ARG001
    """Build the tab inside the current Blocks; what is missing for it is said there, and the other tabs go on."""
    gr.HTML(
        f"<style>{PICTURE_STYLE}</style>"
        + lead(
            "Images",
            "Models that paint can be steered like models that write. Here are two small ones, of 64 by 64 pixels: "
            "each picture is drawn twice from the same noise, once left alone and once with an edit inside.",
        )
    )
    add_picture_endpoints(workbench)
    with gr.Tabs(elem_classes="picture-models"):
        for title, name, panel in (("Stable Diffusion", "sd", sd_panel), ("FLUX features", "flux", flux_panel)):
            with gr.Tab(title, id=name, elem_id=f"images-{name}-tab"):
                try:
                    panel(workbench)
                except UserError as error:
                    gr.HTML(el("p", str(error), class_="lab-note"))


# Steering pictures for programs: named endpoints of the app, with pictures as data URIs of PNG.


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
