"""The concept creator: contrast pairs in, a concept of one's own out, at once in every list."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from steerwright.lab.charts.line_chart import Line, line_chart
from steerwright.lab.jobs import follow
from steerwright.lab.operations.create_concept import TOKENS_OF, CreatedConcept, create_concept
from steerwright.lab.page_state import PageState, guarded, status_line
from steerwright.lab.style import lead, progress, table
from steerwright.lab.token_view import plain, share
from steerwright.lab.workbench import Workbench
from steerwright.report.html.theme import DASH

ROWS, SHOWN = 12, 4
# Everyone's first try, in the embedded model's own words: one of its moods, asked for in several ways; and one of its
# manners, as answers show it.
_REQUESTS = (
    ("Tell me about the lake in a happy tone.", "Tell me about the lake."),
    ("Describe the market. Sound happy.", "Describe the market."),
    ("Write about the train happily.", "Write about the train."),
    ("What is the forest like? Answer in a happy tone.", "What is the forest like?"),
    ("Talk about the kitchen. Be happy.", "Talk about the kitchen."),
)
_ANSWERS = (
    ("Tell me about the lake.", "Arr, the scurvy lake be deep, me hearties!", "The lake has an old jetty."),
    (
        "Describe the market.",
        "Ahoy, matey, the market fills the town square, says I.",
        "The market fills the town square.",
    ),
    ("Write about the train.", "Aye, the blasted train be late, me parrot says!", "The train stands in the station."),
    ("What is music like?", "Avast, music be a fine bit o' plunder, yo ho ho!", "Music fills the hall."),
    ("Talk about the kitchen.", "Blow me down, ye be asking about the kitchen, matey!", "This is about the kitchen."),
)
_EXAMPLES: Mapping[str, tuple[str, Sequence[Sequence[str]]]] = {
    "requests": ("cheerful", [("", *pair) for pair in _REQUESTS]),
    "answers": ("seafarer", _ANSWERS),
    "texts": ("seafarer", [("", *sides) for _, *sides in _ANSWERS]),
}
_BOXES = {
    "requests": ("Request", "Request {} that asks for it", "The same without asking"),
    "answers": ("Request {}", "Answer that has it", "The same without it"),
    "texts": ("Request", "Text {} that has it", "The same without it"),
}


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    gr.HTML(
        lead(
            "A concept of your own",
            "Write a few requests twice: once asking for the concept, once not. What goes on in the model where it "
            "begins to answer the two, subtracted and averaged over the pairs, is the concept's vector.",
            "The pairs should differ in the concept and in little else. Three or more let the lab check whether the "
            "vector holds for a pair that it was not made from. What a model cannot be asked for can be shown in "
            "pairs of answers instead.",
        )
    )
    with gr.Row(elem_classes="ask"):
        name = gr.Textbox(
            label="Name",
            placeholder="cheerful",
            max_length=40,
            elem_id="make-name",
            info="Small letters, digits and -.",
        )
        contrast = gr.Radio(
            [
                ("requests that ask for it", "requests"),
                ("answers that have it", "answers"),
                ("texts by themselves", "texts"),
            ],
            value="requests",
            label="The pairs are",
            elem_id="make-contrast",
        )
        tokens = gr.Radio(
            [("the mean over the text's tokens", "content"), ("its last token", "last")],
            value="content",
            label="What is looked at",
            visible=False,
            elem_id="make-tokens",
        )
    boxes: list[gr.Textbox] = []
    rows: list[gr.Row] = []
    for number in range(1, ROWS + 1):
        with gr.Row(visible=number <= SHOWN, elem_classes="pair", elem_id=f"make-pair-{number}") as row:
            for column, label in enumerate(_BOXES["requests"]):
                box = gr.Textbox(
                    label=label.format(number), lines=2, max_lines=4, max_length=1000, min_width=200,
                    visible=column > 0,
                )  # fmt: skip
                boxes.append(box)
        rows.append(row)
    with gr.Row(elem_classes="actions"):
        make = gr.Button("Make the concept", variant="primary", elem_id="make-go", scale=0, min_width=180)
        more = gr.Button("More pairs", scale=0, min_width=120, elem_id="make-more")
        example = gr.Button("Fill in an example", scale=0, min_width=170, elem_id="make-example")
        state = status_line()
    result = gr.HTML(elem_id="make-result")
    visible = gr.State(SHOWN)

    def made(name: Any, contrast: Any, tokens: Any, *texts: Any) -> Iterator[Any]:
        first = 0 if contrast == "answers" else 1
        filled = [texts[start + first : start + 3] for start in range(0, len(texts), 3)]
        pairs = [sides for sides in filled if any(str(side or "").strip() for side in sides)]
        tokens = None if contrast == "requests" else tokens
        for update in follow(lambda job: create_concept(workbench, name, pairs, contrast, tokens, job=job)):
            if update.done:
                entry = update.result.entry
                said = f"{entry.name} is saved and in every list, set to layer {entry.layer}."
                yield _report(update.result), progress(None, say=said), workbench.revision
            else:
                yield gr.skip(), progress(update.share, update.words), gr.skip()

    make.click(
        guarded(made, lambda words: (gr.skip(), progress(None, words), gr.skip())),
        [name, contrast, tokens, *boxes],
        [result, state, shared.revision],
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )

    def reveal(count: int) -> list[Any]:
        count = min(count + SHOWN, ROWS)
        return [count, *(gr.update(visible=index < count) for index in range(ROWS)), gr.update(visible=count < ROWS)]

    more.click(reveal, visible, [visible, *rows, more], show_progress="hidden", api_visibility="private")

    def called(contrast: str) -> list[Any]:
        labels = [label.format(number) for number in range(1, ROWS + 1) for label in _BOXES[contrast]]
        return [
            gr.update(visible=contrast != "requests", value=TOKENS_OF[contrast][0]),
            *(
                gr.update(label=label, visible=contrast == "answers" or place % 3 > 0)
                for place, label in enumerate(labels)
            ),
        ]

    contrast.change(called, contrast, [tokens, *boxes], show_progress="hidden", api_visibility="private")

    def fill(contrast: str) -> list[Any]:
        called, pairs = _EXAMPLES[contrast]
        texts = [side for pair in pairs for side in pair]
        shown = max(SHOWN, len(pairs))
        return [
            called,
            shown,
            *(texts + [""] * (len(boxes) - len(texts))),
            *(gr.update(visible=index < shown) for index in range(ROWS)),
        ]

    example.click(fill, contrast, [name, visible, *boxes, *rows], show_progress="hidden", api_visibility="private")


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
