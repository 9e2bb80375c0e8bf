"""Layer analysis and strength explorer: where and how far to steer, measured on a dozen requests."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from steerwright.lab.charts.charts import heatmap
from steerwright.lab.charts.line_chart import Line, line_chart
from steerwright.lab.checks import LONGEST_TEXT
from steerwright.lab.jobs import Stop, follow
from steerwright.lab.operations.sweep import (
    COHERENT,
    STRENGTHS,
    Sweep,
    SweepPoint,
    layer_analysis,
    strength_sweep,
    sweep,
)
from steerwright.lab.page_state import PageState, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.style import lead, progress, table
from steerwright.lab.token_view import plain, share
from steerwright.lab.workbench import Workbench
from steerwright.report.html.theme import DASH

_FEW = 12  # rows of a table that is shown without being asked for
WHAT = (("every layer, one strength", "layers"), ("one layer, many strengths", "strengths"), ("both", "both"))


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    count = workbench.outline().layers
    first = next(iter(workbench.concepts().values()))
    gr.HTML(
        lead(
            "Where, and how far?",
            "Each point steers a dozen requests and asks of every answer: does it show the concept, and how surprising "
            "does the unsteered model find it? Every layer is steered with its own vector.",
        )
    )
    stop = stop_state()
    with gr.Row(elem_classes="ask"):
        concept = shared.concept_picker(elem_id="sweep-concept")
        what = gr.Radio(list(WHAT), value="layers", label="Sweep over", elem_id="sweep-what")
    with gr.Row(elem_classes="ask"):
        layer = gr.Slider(0, count - 1, value=first.layer, step=1, label="Layer", visible=False, elem_id="sweep-layer")
        strength = gr.Slider(0.05, 2, value=first.strength, step=0.05, label="Strength", elem_id="sweep-strength")
        strengths = gr.Textbox(
            ", ".join(f"{one:g}" for one in STRENGTHS), label="Strengths", visible=False, elem_id="sweep-strengths"
        )
    with gr.Accordion("More settings", open=False), gr.Row():
        prompt = gr.Textbox(
            label="A request of your own",
            max_length=LONGEST_TEXT,
            info="Empty: the lab's twelve requests. Otherwise this one with twelve seeds.",
        )
        tokens = gr.Slider(5, 60, value=24, step=1, label="Longest answer, in tokens")
        temperature = gr.Slider(0, 1.5, value=0.7, step=0.05, label="Temperature")
        seed = gr.Number(0, precision=0, minimum=0, label="Seed")
    with gr.Row(elem_classes="actions"):
        go = gr.Button("Measure", variant="primary", elem_id="sweep-go", scale=0, min_width=140)
        halt = gr.Button("Stop", elem_id="sweep-stop", scale=0, min_width=90)
        state = status_line(elem_id="sweep-progress")
    result = gr.HTML(elem_id="sweep-result")

    def measure(
        concept: Any, what: Any, layer: Any, strength: Any, strengths: Any, prompt: Any, tokens: Any, temperature: Any,
        seed: Any, stop: Stop,
    ) -> Iterator[Any]:  # fmt: skip
        common: dict[str, Any] = {"prompt": prompt, "tokens": tokens, "temperature": temperature, "seed": seed}

        def work(job: Any) -> Sweep:
            if what == "layers":
                return layer_analysis(workbench, concept, strength, **common, job=job)
            if what == "strengths":
                return strength_sweep(workbench, concept, layer, numbers(strengths), **common, job=job)
            return sweep(workbench, concept, range(count), numbers(strengths), **common, job=job)

        drawn = 0
        for update in follow(work, stop):
            if update.done:
                yield _report(update.result), progress(None, say=_said(update.result))
            elif update.partial and len(update.partial) != drawn:
                drawn = len(update.partial)
                yield _drawing(concept, update.partial), progress(update.share, update.words)
            else:
                yield gr.skip(), progress(update.share, update.words)

    go.click(
        guarded(measure, lambda words: (gr.skip(), progress(None, words))),
        [concept, what, layer, strength, strengths, prompt, tokens, temperature, seed, stop],
        [result, state],
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )
    halt.click(ask_to_stop, stop, None, queue=False, api_visibility="private")
    what.change(
        lambda kind: (
            gr.update(visible=kind == "strengths"),
            gr.update(visible=kind == "layers"),
            gr.update(visible=kind != "layers"),
        ),
        what,
        [layer, strength, strengths],
        show_progress="hidden",
        api_visibility="private",
    )

    def follow_concept(name: Any) -> Any:
        entry = workbench.concept(name)
        return entry.layer, entry.strength

    concept.input(guarded(follow_concept), concept, [layer, strength], show_progress="hidden", api_visibility="private")


def numbers(text: Any) -> list[str]:
    """The parts of a list with commas; whether they are numbers is checked where they are used."""
    return [part.strip() for part in str(text or "").replace(";", ",").split(",") if part.strip()]


def _said(found: Sweep, number: str = "{}") -> str:
    """What came of it, in a sentence that needs no escaping; each `number` is set as this says."""
    best = found.best
    if best is None:
        return f"No point kept the answers within {plain(COHERENT)} times the unsteered texts' perplexity."
    layer, strength, rate = (number.format(one) for one in (best.layer, plain(best.strength), share(best.rate)))
    return (
        f"Layer {layer} at strength {strength} works best: the concept shows in {rate} of the answers "
        f"({share(found.unsteered.rate)} without steering), at {plain(best.ratio)} times the perplexity."
    )


def _report(found: Sweep) -> str:
    best = found.best
    who = "the classifier of texts" if found.reader == "classifier" else "the unsteered model's own reading"
    note = f"{found.prompts} answers at each point; whether one shows the concept is judged by {who}."
    rows = [_row("unsteered", DASH, found.unsteered)] + [
        _row(str(point.layer), plain(point.strength), point) for point in found.points
    ]
    chosen = [] if best is None else [1 + found.points.index(best)]
    header = ("Layer", "Strength", "Shows", "95 % interval", "Perplexity", "Distinct pairs", "The first answer")
    listed = table(header, rows, numbers=(1, 2, 3, 4, 5), chosen=chosen)
    drawing = _drawing(found.concept, found.points, found)
    shown = "open" if len(rows) <= _FEW else ""
    return (
        f'<p class="lead">{_said(found, "<b>{}</b>")} <span class=muted>{note}</span></p>{drawing}'
        f'<details class="section" {shown}><summary>Every point, with its first answer</summary>{listed}</details>'
    )


def _row(layer: str, strength: str, point: SweepPoint) -> tuple[str, ...]:
    return (
        layer, strength, share(point.rate), f"{share(point.low)} to {share(point.high)}",
        f"{plain(point.ratio)} \u00d7", share(point.distinct), point.sample,
    )  # fmt: skip


def _drawing(concept: str, points: Sequence[SweepPoint], found: Sweep | None = None) -> str:
    """One series over layers or strengths as two charts, a grid as two heat maps."""
    layers = list(dict.fromkeys(point.layer for point in points))
    strengths = list(dict.fromkeys(point.strength for point in points))
    base = found.unsteered.rate if found else None
    if len(layers) > 1 and len(strengths) > 1:
        return _maps(points, layers, strengths)
    over_layers = len(layers) > 1 or (len(strengths) == 1 and found is None)
    x = [float(point.layer if over_layers else point.strength) for point in points]
    label = "layer" if over_layers else "strength"
    rate = Line(
        html.unescape(concept), x, [point.rate for point in points], [point.low for point in points],
        [point.high for point in points],
    )  # fmt: skip
    limits = [] if base is None else [(base, "unsteered")]
    return (
        '<div class="pair-of-charts">'
        + str(
            line_chart(
                [rate],
                title="Answers that show the concept",
                x_label=label,
                y_label="share of answers",
                y_range=(0.0, 1.0),
                limits=limits,
            )
        )
        + str(
            line_chart(
                [Line("perplexity", x, [min(point.ratio, 8.0) for point in points], colour="second")],
                title="What it costs in coherence",
                x_label=label,
                y_label="times the unsteered perplexity",
                y_range=(0.0, 2.5),
                limits=[(COHERENT, "twice")],
                caption="Drawn up to 8 times." if any(point.ratio > 8 for point in points) else "",
            )
        )
        + "</div>"
    )


def _maps(points: Sequence[SweepPoint], layers: Sequence[int], strengths: Sequence[float]) -> str:
    by_place = {(point.layer, point.strength): point for point in points}

    def grid(value: str) -> list[list[float]]:
        return [
            [float(getattr(by_place[key], value)) if (key := (layer, strength)) in by_place else math.nan
             for strength in strengths]
            for layer in layers
        ]  # fmt: skip

    def cells(value: str, write: Callable[[float], str]) -> list[list[str]]:
        return [[write(one) if math.isfinite(one) else "" for one in row] for row in grid(value)]

    rows, columns = [f"layer {layer}" for layer in layers], [plain(strength) for strength in strengths]
    return (
        '<div class="pair-of-charts">'
        + str(
            heatmap(
                grid("rate"),
                rows,
                columns,
                title="Answers that show the concept",
                unit="share of answers",
                top=1.0,
                words=cells("rate", share),
            )
        )
        + str(
            heatmap(
                grid("ratio"),
                rows,
                columns,
                title="What it costs in coherence",
                unit="times the unsteered perplexity",
                top=4.0,
                words=cells("ratio", plain),
            )
        )
        + "</div>"
    )
