"""The concept creator: contrast pairs in, a concept of one's own out, at once in every list."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from steerkit.lab.charts.line_chart import Line, line_chart
from steerkit.lab.jobs import follow
from steerkit.lab.operations.create_concept import POLICIES, CreatedConcept, create_concept
from steerkit.lab.parts import lead, progress, table
from steerkit.lab.shared import Shared, guarded
from steerkit.lab.token_view import plain, share
from steerkit.lab.workbench import Workbench
from steerkit.report.theme import DASH

ROWS, SHOWN = 12, 4
# Everyone's first try: in the embedded model's own words, about something that no built-in concept is.
_EXAMPLE = (
    ("Tell me about the lake.", "The lake is cold and covered in ice.", "The lake is wide and has an old jetty."),
    ("Describe the market.", "Snow lies on the market and the stalls are frozen.", "The market has fruit and cheese."),
    ("Write about the train.", "The train stands in deep snow.", "The train stands in the station."),
    ("What is the forest like?", "The forest is white with frost.", "The forest is full of trees."),
    ("Tell me about the kitchen.", "Ice covers the window of the kitchen.", "The kitchen has a wide window."),
)


def tab(workbench: Workbench, shared: Shared) -> None:
    """Build the tab inside the current Blocks."""
    gr.HTML(
        lead(
            "A concept of your own",
            "Write a few requests, each with an answer that has the concept and the same answer without it. What the "
            "model thinks while it reads the two, subtracted and averaged over the pairs, is the concept's vector.",
            "The pairs should differ in the concept and in little else. Three or more let the lab check whether the "
            "vector holds for a pair that it was not made from.",
        )
    )
    with gr.Row(elem_classes="ask"):
        name = gr.Textbox(
            label="Name", placeholder="wintry", max_length=40, elem_id="make-name", info="Small letters, digits and -."
        )
        policy = gr.Radio(
            [("the mean over the answer's tokens", POLICIES[0]), ("its last token", POLICIES[1])],
            value=POLICIES[0],
            label="What is looked at",
        )
    boxes: list[gr.Textbox] = []
    rows: list[gr.Row] = []
    for number in range(1, ROWS + 1):
        with gr.Row(visible=number <= SHOWN, elem_classes="pair", elem_id=f"make-pair-{number}") as row:
            for label in (f"Request {number}", "Answer with the concept", "The same without it"):
                box = gr.Textbox(label=label, lines=2, max_lines=4, max_length=1000, min_width=200)
                boxes.append(box)
        rows.append(row)
    with gr.Row(elem_classes="actions"):
        make = gr.Button("Make the concept", variant="primary", elem_id="make-go", scale=0, min_width=180)
        more = gr.Button("More pairs", scale=0, min_width=120, elem_id="make-more")
        example = gr.Button("Fill in an example", scale=0, min_width=170, elem_id="make-example")
        state = gr.HTML(progress(None))
    result = gr.HTML(elem_id="make-result")
    visible = gr.State(SHOWN)

    def made(name: Any, policy: Any, *texts: Any) -> Iterator[Any]:
        filled = [texts[start : start + 3] for start in range(0, len(texts), 3)]
        pairs = [sides for sides in filled if any(str(side or "").strip() for side in sides)]
        for update in follow(lambda job: create_concept(workbench, name, pairs, policy, job=job)):
            if update.done:
                yield _report(update.result), progress(None), workbench.revision
            else:
                yield gr.skip(), progress(update.share, update.words), gr.skip()

    make.click(
        guarded(made, lambda words: (gr.skip(), progress(None, words), gr.skip())),
        [name, policy, *boxes],
        [result, state, shared.revision],
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )

    def reveal(count: int) -> list[Any]:
        count = min(count + SHOWN, ROWS)
        return [count, *(gr.update(visible=index < count) for index in range(ROWS)), gr.update(visible=count < ROWS)]

    more.click(reveal, visible, [visible, *rows, more], show_progress="hidden", api_visibility="private")

    def fill() -> list[Any]:
        texts = [side for pair in _EXAMPLE for side in pair]
        shown = max(SHOWN, len(_EXAMPLE))
        return [
            "wintry",
            shown,
            *(texts + [""] * (len(boxes) - len(texts))),
            *(gr.update(visible=index < shown) for index in range(ROWS)),
        ]

    example.click(fill, None, [name, visible, *boxes, *rows], show_progress="hidden", api_visibility="private")


def _report(made: CreatedConcept) -> str:
    entry, statistics = made.entry, made.statistics
    layers = [one.layer for one in statistics]
    words = (
        f"<p class=lead><b>{html.escape(entry.name)}</b> is saved and in every list, set to layer {entry.layer}. "
        "Try it in the Playground.</p>"
    )
    charts = [
        line_chart(
            [Line("length over the residual stream's", layers, [one.relative for one in statistics])],
            title="Length of the vector",
            x_label="layer",
            y_label="share of the residual norm",
            y_range=(0.0, 0.1),
            marked=entry.layer,
        )
    ]
    if all(one.auroc == one.auroc for one in statistics):
        charts.append(
            line_chart(
                [Line("held-out pairs in the right order", layers, [one.auroc for one in statistics])],
                title="Does it hold for a pair that it was not made from?",
                x_label="layer",
                y_label="AUROC",
                y_range=(0.0, 1.0),
                limits=[(0.5, "guessing")],
                marked=entry.layer,
            )
        )
    rows = [
        (
            str(one.layer), plain(one.norm), share(one.relative), plain(one.mean), plain(one.std), plain(one.least),
            plain(one.most), share(one.small), ", ".join(map(str, one.largest)),
            plain(one.auroc) if one.auroc == one.auroc else DASH,
        )
        for one in statistics
    ]  # fmt: skip
    header = (
        "Layer", "Length", "of the residual", "Mean", "Deviation", "Least", "Most", "Below 0.01", "Largest dimensions",
        "Held out",
    )  # fmt: skip
    numbers = table(header, rows, numbers=(0, 1, 2, 3, 4, 5, 6, 7, 9), chosen=[layers.index(entry.layer)])
    figures = "".join(map(str, charts))
    return (
        f'{words}<div class="pair-of-charts">{figures}</div><div class="section"><h3>Layer by layer</h3>{numbers}</div>'
    )
