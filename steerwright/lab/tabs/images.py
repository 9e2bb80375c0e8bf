"""The images tab: pictures of the embedded Stable Diffusion and FLUX, left alone and steered."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr
import numpy as np

from steerwright.errors import UserError
from steerwright.lab.checks import LARGEST_SEED
from steerwright.lab.jobs import Job, Stop, follow
from steerwright.lab.operations.steer_feature import STRONGEST, FeaturePicture, layer_features, steer_feature
from steerwright.lab.operations.steer_picture import CONCEPT, LONGEST_PROMPT, picture_choices, steer_picture
from steerwright.lab.page_state import PageState, answering, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.pictures.catalogue import PictureChange
from steerwright.lab.pictures.edits import METHODS
from steerwright.lab.pictures.features import LAYERS
from steerwright.lab.pictures.sd_panel import sd_panel
from steerwright.lab.pictures.session import picture_session
from steerwright.lab.pictures.view import (
    PICTURE_STYLE,
    blank,
    changes,
    feature_card,
    heat_scale,
    heat_shot,
    label_rows,
    plain_strength,
    png_uri,
    said,
    shot,
    shots,
)
from steerwright.lab.style import lead, progress, table
from steerwright.lab.workbench import Workbench
from steerwright.report.html.page import el


def tab(workbench: Workbench, shared: PageState) -> None:  # noqa: ARG001
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


# Steering the embedded FLUX on the page, along one feature of a sparse autoencoder.

_LAYERS = (("early: the first block", "early"), ("late: the last block but one", "late"))
_FIRST = "late"
_PROMPTS = ("a red house by a lake at noon", "a photo of a tent in the mountains", "a landscape by a lake")
_STRENGTH = 0.8
_EVENTS: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def flux_panel(workbench: Workbench) -> None:
    """Build the panel inside the current Blocks. UserError where there are no features."""
    first = layer_features(workbench, _FIRST)[0]
    stop = stop_state()
    with gr.Row(equal_height=False, elem_classes="ask"):
        with gr.Column(scale=1, min_width=280):
            layer = gr.Radio(list(_LAYERS), value=_FIRST, label="Layer", elem_id="flux-layer")
            feature = gr.Dropdown(
                _listed(workbench, _FIRST), value=first.latent, label="Feature", elem_id="flux-feature",
                info="Named by the label value that it picks out best; those that change pictures most come first.",
            )  # fmt: skip
            card = gr.HTML(_card(workbench, _FIRST, first.latent), elem_id="flux-card")
        with gr.Column(scale=1, min_width=280):
            prompt = gr.Textbox(_PROMPTS[0], label="Prompt", lines=2, max_length=LONGEST_PROMPT, elem_id="flux-prompt")
            with gr.Row(elem_classes="chips"):
                chips = [gr.Button(text, size="sm", min_width=60) for text in _PROMPTS]
            strength = gr.Slider(
                -STRONGEST, STRONGEST, value=_STRENGTH, step=0.05, label="Strength", elem_id="flux-strength",
                info="In mean lengths of the layer's tokens; below 0 it goes away from the feature.",
            )  # fmt: skip
            seed = gr.Number(5, precision=0, minimum=0, maximum=LARGEST_SEED, label="Seed", elem_id="flux-seed")
    with gr.Row(elem_classes="actions"):
        go = gr.Button("Draw twice", variant="primary", elem_id="flux-go", scale=0, min_width=140)
        again = gr.Button("With another seed", elem_id="flux-again", scale=0, min_width=190)
        halt = gr.Button("Stop", elem_id="flux-stop", scale=0, min_width=90)
        state = status_line(elem_id="flux-progress")
    with gr.Row(equal_height=False, elem_classes="answers"):
        with gr.Column(scale=3, min_width=300):
            pictures = gr.HTML(_waiting(), elem_id="flux-pictures")
        with gr.Column(scale=2, min_width=280):
            facts = gr.HTML(elem_id="flux-facts")

    def draw(prompt: Any, layer: Any, feature: Any, strength: Any, seed: Any, stop: Stop) -> Iterator[Any]:
        def work(job: Job) -> FeaturePicture:
            return steer_feature(workbench, prompt, layer, feature, strength, seed, job)

        for update in follow(work, stop):
            if update.done:
                yield (*_finished(workbench, update.result), progress(None, say=f"Drawn. {said(update.result.change)}"))
            elif isinstance(update.partial, np.ndarray):
                half = shots(
                    shot(update.partial, "Left alone"), blank("Steered", "being drawn"), blank("Where it fires", ""),
                    kind="three",
                )  # fmt: skip
                yield half, gr.skip(), progress(update.share, update.words)
            else:
                yield gr.skip(), gr.skip(), progress(update.share, update.words)

    settings, shown = [prompt, layer, feature, strength, seed, stop], [pictures, facts, state]
    gr.on([go.click, prompt.submit], guarded(draw), settings, shown, trigger_mode="once", **_EVENTS)
    again.click(lambda: random.randrange(100_000), None, seed, api_visibility="private", queue=False).then(
        guarded(draw), settings, shown, **_EVENTS
    )
    halt.click(ask_to_stop, stop, None, queue=False, api_visibility="private").then(
        lambda: progress(None, "Stopped"), None, state, queue=False, **_EVENTS
    )

    def pick_layer(name: Any) -> Any:
        chosen = layer_features(workbench, name)[0].latent
        return gr.update(choices=_listed(workbench, name), value=chosen), _card(workbench, name, chosen)

    layer.input(guarded(pick_layer), layer, [feature, card], **_EVENTS)
    feature.input(guarded(lambda name, latent: _card(workbench, name, latent)), [layer, feature], card, **_EVENTS)
    for chip, text in zip(chips, _PROMPTS, strict=True):
        chip.click(lambda text=text: text, None, prompt, queue=False, api_visibility="private")


def _listed(workbench: Workbench, layer: str) -> list[tuple[str, int]]:
    return [(one.title, one.latent) for one in layer_features(workbench, layer)]


def _card(workbench: Workbench, layer: str, latent: int) -> str:
    place = picture_session(workbench).layer(layer)
    feature = place.feature(latent)
    return feature_card(feature, place.strip(feature), place.step)


def _waiting() -> str:
    return shots(
        blank("Left alone", "Press “Draw twice”."), blank("Steered", "It will be here."), blank("Where it fires", ""),
        kind="three",
    )  # fmt: skip


def _finished(workbench: Workbench, found: FeaturePicture) -> tuple[str, str]:
    step = picture_session(workbench).layer(found.feature.layer).step
    heat = found.heat_unsteered
    silent = not heat[min(step, len(heat) - 1)].any()
    fires = heat_shot(found.unsteered, heat, found.limit, step, "Where it fires, left alone")
    pictures = shots(
        shot(found.unsteered, "Left alone", f"seed {found.seed}"),
        shot(found.steered, found.feature.title, f"strength {plain_strength(found.strength)}"),
        fires,
        kind="three",
    )
    words = f"activation of feature {found.feature.latent} at step {step + 1}"
    if silent:
        words += "; it is silent in this picture"
    rows, moved = label_rows(found.change)
    listed = table(("", "Left alone", "sure", "Steered", "sure"), rows, numbers=(2, 4), chosen=moved)
    return pictures + heat_scale(found.limit, words + "."), changes(found.change) + listed
