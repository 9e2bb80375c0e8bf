"""The comparison tab: where steering changes the model inside, token by token, and where it leads on a map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import gradio as gr

from steerwright.lab.charts.charts import heatmap
from steerwright.lab.charts.plane import Path, Place, plane
from steerwright.lab.jobs import Stop, follow
from steerwright.lab.operations.compare_tokens import TokenComparison, compare_tokens
from steerwright.lab.operations.concept_map import ConceptPlane, concept_map
from steerwright.lab.page_state import PageState, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.style import lead, progress
from steerwright.lab.workbench import Workbench
from steerwright.report.html.page import Html, el

_PROMPT = "Tell me about the lake."
_LEAD = (
    "The same tokens, read twice: once as the model is, once with a concept added at one layer. What differs is what "
    "steering does inside. The map shows where the answers end up among the concepts."
)
_MAPS = {
    "change": "how much each vector changes",
    "along": "what points along the concept",
    "norms": "lengths before and after",
}


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    layers = workbench.outline().layers
    entries = workbench.concepts()
    name = next(iter(entries), None)
    entry = entries[name] if name else None
    factors = sorted({entry.factor for entry in entries.values() if entry.factor})
    gr.HTML(lead("Before and after, side by side", _LEAD))
    with gr.Row():
        prompt = gr.Textbox(_PROMPT, label="Prompt", scale=3, min_width=280, elem_id="compare-prompt")
        concept = shared.concept_picker(scale=2, min_width=180, elem_id="compare-concept")
    with gr.Row():
        layer = gr.Slider(0, layers - 1, entry.layer if entry else 0, step=1, label="Steer at layer", min_width=160)
        strength = gr.Slider(
            -4, 4, entry.strength if entry else 1, step=0.05, label="Strength, in shares of a token's norm",
            min_width=160,
        )  # fmt: skip
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=90, scale=0)
    wish = stop_state()
    with gr.Tabs(elem_classes="lab-inner"):
        with gr.Tab("Token by token"):
            with gr.Row():
                read = gr.Radio(
                    [("the steered one", "steered"), ("the unsteered one", "unsteered")], value="steered",
                    label="Which answer both runs read", min_width=240,
                )  # fmt: skip
                shown = gr.Dropdown(
                    [(text, key) for key, text in _MAPS.items()], value="change", label="What is drawn", min_width=220
                )
                tokens = gr.Slider(4, 60, 20, step=1, label="Tokens", min_width=140)
            with gr.Row(elem_classes="actions"):
                compare = gr.Button(
                    "Compare token by token", variant="primary", scale=0, min_width=220, elem_id="compare-go"
                )
                stop_comparing = gr.Button("Stop", visible=False, scale=0, min_width=90)
                comparing = status_line()
            comparison = gr.State(None)
            grids = gr.HTML(
                _invitation("Compare to see which tokens and layers the concept reaches."), elem_id="compare-grids"
            )
        with gr.Tab("Map of concepts"):
            with gr.Row():
                factor = gr.Dropdown([("all concepts", ""), *[(one, one) for one in factors]], value="",
                                     label="Concepts on the map", min_width=180)  # fmt: skip
                at_layer = gr.Slider(0, layers - 1, _late(layers), step=1, label="Look after layer", min_width=160)
            with gr.Row(elem_classes="actions"):
                draw = gr.Button("Draw map and path", variant="primary", scale=0, min_width=220, elem_id="map-go")
                stop_drawing = gr.Button("Stop", visible=False, scale=0, min_width=90)
                drawing_now = status_line()
            drawing = gr.HTML(
                _invitation("The path leads from unsteered answers to steered ones, in steps."), elem_id="map-drawing"
            )

    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}

    def defaults(chosen: str) -> tuple[Any, Any]:
        found = workbench.concept(chosen)
        return gr.update(value=found.layer), gr.update(value=min(found.strength, 4.0))

    def compared(text: str, chosen: str, at: int, push: float, number: float, which: str, map_: str, many: int,
                 stop_: Stop) -> Iterator[Any]:  # fmt: skip
        def work(job: Any) -> TokenComparison:
            return compare_tokens(workbench, text, chosen, at, push, tokens=many, seed=number, read=which, job=job)

        for update in follow(work, stop_):
            if update.done:
                said = f"Compared. Unsteered: {update.result.unsteered} Steered: {update.result.steered}"
                yield (
                    progress(None, say=said), gr.update(visible=False), comparison_html(update.result, map_),
                    update.result,
                )  # fmt: skip
            else:
                yield progress(update.share, update.words), gr.update(visible=True), gr.skip(), gr.skip()

    def drawn(text: str, chosen: str, at: int, push: float, number: float, kind: str, look: int,
              stop_: Stop) -> Iterator[Any]:  # fmt: skip
        def work(job: Any) -> ConceptPlane:
            return concept_map(
                workbench, text, chosen, at, push, at_layer=look, seed=number, factor=kind or None, job=job
            )  # fmt: skip

        for update in follow(work, stop_):
            if update.done:
                said = f"The map is drawn. The answer at the end of the path: {update.result.texts[-1]}"
                yield progress(None, say=said), gr.update(visible=False), map_html(update.result)
            else:
                yield progress(update.share, update.words), gr.update(visible=True), gr.skip()

    def again(words: str) -> tuple[Any, ...]:
        return progress(None, words), gr.update(visible=False), gr.skip()

    def other(map_: str, found: TokenComparison | None) -> Any:
        return gr.skip() if found is None else comparison_html(found, map_)

    concept.change(guarded(defaults), concept, [layer, strength], **quiet)
    asked = [prompt, concept, layer, strength, seed]
    compare.click(
        guarded(compared, lambda words: (*again(words), gr.skip())), [*asked, read, shown, tokens, wish],
        [comparing, stop_comparing, grids, comparison], **quiet,
    )  # fmt: skip
    draw.click(guarded(drawn, again), [*asked, factor, at_layer, wish], [drawing_now, stop_drawing, drawing], **quiet)
    shown.change(guarded(other), [shown, comparison], grids, **quiet)
    gr.on([stop_comparing.click, stop_drawing.click], ask_to_stop, wish, None, queue=False, **quiet)


def comparison_html(found: TokenComparison, which: str) -> Html:
    """Both answers and the chosen map, for the page."""
    rows = [f"layer {number}" for number in range(found.change.shape[0])]
    where = f"“{found.concept}” added at layer {found.layer}, strength {found.strength:g}"
    common: dict[str, Any] = {"here": found.layer}
    match which:
        case "along":
            grids = [
                heatmap(
                    found.along.tolist(), rows, found.tokens, title="Change along the concept's direction",
                    unit="share of the token's norm", signed=True,
                    caption=f"{where}. Blue: towards the concept at that layer, by that layer's own direction; orange: "
                    "away from it. Below the stressed layer the model itself carries it on.", **common,
                )
            ]  # fmt: skip
        case "norms":
            top = float(max(found.norm_before.max(), found.norm_after.max()))
            grids = [
                heatmap(values.tolist(), rows, found.tokens, title=f"Length of the residual stream, {title}",
                        unit="length", top=top, **common)
                for title, values in (("unsteered", found.norm_before), ("steered", found.norm_after))
            ]  # fmt: skip
        case _:
            grids = [
                heatmap(
                    found.change.tolist(), rows, found.tokens, title="Change of every token at every layer",
                    unit="length of the change as a share of the token's norm",
                    caption=f"{where}. Above the stressed layer nothing changes, since the push comes later; left of "
                    "the answer neither, since the push begins at the prompt's last token.", **common,
                )
            ]  # fmt: skip
    answers = el(
        "div",
        _answer("Unsteered", found.unsteered, found.read == "unsteered"),
        _answer("Steered", found.steered, found.read == "steered"),
        class_="two-answers",
    )
    return el("div", answers, _likelier(found), *grids)


def map_html(found: ConceptPlane) -> Html:
    """The map, and what was written at each step of the path."""
    places = [
        Place(name, x, y, "first" if name == found.concept else "plain", name == found.concept)
        for name, (x, y) in zip(found.names, found.places.tolist(), strict=True)
    ]
    cloud = [(x, y) for x, y in found.answers.reshape(-1, 2).tolist() if math.isfinite(x) and math.isfinite(y)]
    labels = [f"strength {one:.2f}" for one in found.strengths]
    labels[0], labels[-1] = "unsteered", f"strength {found.strengths[-1]:g}"
    path = Path(labels, [(x, y) for x, y in found.path.tolist()], "second", cloud)
    kept = found.kept[-1]
    seen = f" The plane shows {100 * kept:.0f} % of how far the answers really moved." if math.isfinite(kept) else ""
    drawn = plane(
        places, [path],
        title=f"Concepts after layer {found.layer}, and where the answers go",
        x_label=f"first axis, {100 * found.explained[0]:.0f} % of the spread",
        y_label=f"second axis, {100 * found.explained[1]:.0f} %",
        caption="Each concept lies where its examples lie as seen from their neutral twins. The path is the mean of "
        f"{found.answers.shape[1]} answers at each strength, read again without steering; small dots are single "
        f"answers.{seen}",
        key=[("plain", "concepts"), ("first", found.concept), ("second", "answers, from unsteered to steered")],
    )  # fmt: skip
    steps = [
        el("li", el("b", f"{one:.2f}"), el("q", text.strip() or "(nothing)"))
        for one, text in zip(found.strengths, found.texts, strict=True)
    ]
    written = el("div", el("h4", "One answer at each strength"), el("ol", *steps), class_="path-texts")
    return el("div", drawn, written, class_="map-and-texts")


def _likelier(found: TokenComparison) -> Html:
    """The answer's token that the edit made likelier most, in words."""
    changes = [(float(change), place) for place, change in enumerate(found.log_prob_change) if change == change]
    if not changes or found.strength == 0:
        return el("p", "With strength 0 nothing changes: every cell is exactly 0.", class_="muted")
    most, where = max(changes)
    least, there = min(changes)
    said = f"Made likelier most: “{found.tokens[where].strip()}”, {math.exp(most):.3g} times"
    if least < 0:
        said += f"; made unlikelier most: “{found.tokens[there].strip()}”, {math.exp(-least):.3g} times"
    return el("p", said + ".", class_="muted")


def _answer(title: str, text: str, read: bool) -> Html:
    note = el("span", " · read both times", class_="muted") if read else ""
    return el("div", el("h4", title, note), el("p", text.strip() or "(nothing)"))


def _invitation(text: str) -> str:
    return el("p", text, class_="muted invitation")


def _late(layers: int) -> int:
    """Three quarters down: where what was steered has become what is said."""
    return min(layers - 1, (3 * layers) // 4)
