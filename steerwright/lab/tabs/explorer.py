"""The explorer tab: what each depth of the model does, in words and measured now."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from steerwright.errors import UserError
from steerwright.lab.charts.charts import depth_card, depth_strip, lens_chart
from steerwright.lab.charts.line_chart import Line, line_chart
from steerwright.lab.checks import checked_layer
from steerwright.lab.jobs import Job, Stop, follow
from steerwright.lab.operations.explore_layers import LayerExploration, explore_layers, settled_by
from steerwright.lab.operations.separability import Separability, concept_separability
from steerwright.lab.page_state import PageState, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.style import lead, progress
from steerwright.lab.workbench import Workbench
from steerwright.report.html.page import Html, el

_PROMPT = "Tell me about the lake."
_LEAD = (
    "A model works in blocks, one after the other. Each reads the residual stream (one vector for each token) and adds "
    "to it. Here is what a depth is for by rule of thumb, and what this model's blocks do while it answers you."
)


@dataclass(frozen=True, slots=True)
class _View:
    """What one look found; the concept's part is missing for concepts without pairs, with `why`."""

    found: LayerExploration
    apart: Separability | None
    why: str = ""


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    layers = workbench.outline().layers

    @functools.cache
    def first() -> _View | None:
        """The look that greets a visitor; none with models that are slow to answer."""
        names = list(workbench.concepts())
        return _look(workbench, _PROMPT, names[0], Job()) if workbench.embedded and names else None

    gr.HTML(lead("What each layer does", _LEAD))
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            prompt = gr.Textbox(_PROMPT, label="Prompt", lines=1, max_lines=4, elem_id="layers-prompt")
        with gr.Column(scale=2, min_width=200):
            concept = shared.concept_picker("Concept to tell apart", elem_id="layers-concept")
    with gr.Row(elem_classes="actions"):
        run = gr.Button("Look inside", variant="primary", scale=0, min_width=160, elem_id="layers-go")
        stop = gr.Button("Stop", visible=False, scale=0, min_width=90)
        told = status_line()
    state, wish = gr.State(None), stop_state()
    layer = gr.Slider(0, layers - 1, value=layers // 2, step=1, label="Layer", elem_id="layers-at")
    card = gr.HTML(_card(None, layers // 2, layers), elem_id="layers-card")
    charts = gr.HTML(_charts(None, layers // 2), elem_id="layers-charts")

    def look(text: str, name: str, at: int, stop: Stop) -> Iterator[Any]:
        # Stop is shown while it runs, and what was there before stays until there is something new.
        for update in follow(lambda job: _look(workbench, text, name, job), stop):
            if update.done:
                view = update.result
                yield (
                    gr.update(visible=True), gr.update(visible=False), progress(None, say=_said(view)),
                    _card(view, at, layers),
                    _charts(view, at), view,
                )  # fmt: skip
            else:
                yield (
                    gr.update(visible=False), gr.update(visible=True), progress(update.share, update.words), gr.skip(),
                    gr.skip(), gr.skip(),
                )  # fmt: skip

    def again(words: str) -> tuple[Any, ...]:
        return gr.update(visible=True), gr.update(visible=False), progress(None, words), *(gr.skip(),) * 3

    def moved(at: float, view: _View | None) -> tuple[str, str]:
        chosen = checked_layer(at, layers)
        seen = view or first()
        return _card(seen, chosen, layers), _charts(seen, chosen)

    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on(
        [run.click, prompt.submit, concept.input], guarded(look, again), [prompt, concept, layer, wish],
        [run, stop, told, card, charts, state], **quiet,
    )  # fmt: skip
    stop.click(ask_to_stop, wish, None, queue=False, **quiet)
    # Not when the page has loaded: a request made then would wait for this look.
    shared.here.select(guarded(moved), [layer, state], [card, charts], **quiet)
    layer.change(guarded(moved), [layer, state], [card, charts], trigger_mode="always_last", **quiet)


def _look(workbench: Workbench, prompt: str, concept: str, job: Job) -> _View:
    found = explore_layers(workbench, prompt, job=job)
    job.step(0.8, "Telling the concept apart")
    try:
        return _View(found, concept_separability(workbench, concept, job))
    except UserError as error:
        return _View(found, None, str(error))


def _said(view: _View) -> str:
    return f"Every layer is measured. The answer: {view.found.answer}"


def _card(view: _View | None, layer: int, layers: int) -> str:
    measured: list[tuple[str, str]] = []
    if view is not None:
        found = view.found
        measured.append((f"{found.norms[layer]:.3g}", "mean length of the residual stream after it"))
        if layer:
            measured.append((f"{100 * found.written[layer]:.0f} %", "of what came in is what this block adds"))
        measured.append((f"{100 * settled_by(found)[layer]:.0f} %", "of the answer's words are settled"))
        if view.apart is not None:
            gap = view.apart.gap[layer]
            measured.append((f"{gap:.1f} SD", f"between {view.apart.concept} and neutral texts"))
    return depth_strip(layer, layers) + depth_card(layer, layers, measured)


def _charts(view: _View | None, layer: int) -> str:
    if view is None:
        return el("p", "Press “Look inside” to measure every layer on your prompt.", class_="muted")
    found, places = view.found, list(range(view.found.layers))
    norms = line_chart(
        [Line("length", places, found.norms)],
        title="Length of the residual stream", x_label="layer", y_label="mean over the answer", marked=layer,
        y_range=(0, max(found.norms)),
        caption="A push of fixed length is large early and small late; strengths in the lab are shares of this.",
    )  # fmt: skip
    settled = line_chart(
        [Line("settled", places, [100 * share for share in settled_by(found)], colour="fourth")],
        title="Words that are decided", x_label="layer", y_label="% of the answer", marked=layer, y_range=(0, 100),
        caption="The share of the answer's words for which the guess no longer changes.",
    )  # fmt: skip
    pieces: list[Html] = [norms, _apart(view, places, layer), settled]
    answer = el("p", "The answer: ", el("q", found.answer.strip()), class_="said")
    return el("div", answer, el("div", *pieces, class_="charts-row"), lens_chart(found, layer), class_="charts")


def _apart(view: _View, places: list[int], layer: int) -> Html:
    if view.apart is None:
        return el("figure", el("h4", "Concept and neutral, apart"), el("figcaption", view.why), class_="lab-chart")
    apart = view.apart
    sure = f"Held-out pairs in the right order: {100 * apart.auroc[layer]:.0f} % after layer {layer}."
    return line_chart(
        [Line(apart.concept, places, apart.gap, colour="second")],
        title=f"How far apart {apart.concept} and neutral lie", x_label="layer", y_label="standard deviations",
        marked=layer, y_range=(0, max(*apart.gap, 1.0)),
        caption=f"{apart.pairs} pairs, each measured along the direction of the others. {sure}",
    )  # fmt: skip
