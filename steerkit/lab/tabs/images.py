"""The images tab: pictures of the embedded Stable Diffusion and FLUX, left alone and steered."""

from __future__ import annotations

import gradio as gr

from steerkit.errors import UserError
from steerkit.lab.parts import lead
from steerkit.lab.pictures.endpoints import add_picture_endpoints
from steerkit.lab.pictures.flux_panel import flux_panel
from steerkit.lab.pictures.sd_panel import sd_panel
from steerkit.lab.pictures.view import PICTURE_STYLE
from steerkit.lab.shared import Shared
from steerkit.lab.workbench import Workbench
from steerkit.report.html import el


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
