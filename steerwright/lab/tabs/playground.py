"""The playground: one request answered without and with steering, side by side, token by token."""

from __future__ import annotations

import html
import random
from collections.abc import Iterator
from typing import Any

import gradio as gr

from steerwright.lab.checks import LARGEST_SEED, LONGEST_ANSWER, LONGEST_TEXT
from steerwright.lab.jobs import Stop, follow
from steerwright.lab.operations.blend import blend
from steerwright.lab.operations.steer_text import ACTIONS, BOUNDS, PLACES, REMOVAL, SteeredText, Written, steer_text
from steerwright.lab.page_state import PageState, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.style import lead, progress
from steerwright.lab.token_view import answer_panel, coloured, legend, plain, summary, where, writing
from steerwright.lab.workbench import Workbench

PROMPTS = ("Tell me about the garden.", "Describe the harbour.", "What do you know about the stars?")
WIDEST = 2.0
_EMPTY = '<span class="muted">{}</span>'


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    first = next(iter(workbench.concepts().values()))
    gr.HTML(
        lead(
            "Playground",
            "The same request, twice from the same random numbers: once left alone, and once with a concept's vector "
            "added inside the model while it writes.",
        )
    )
    stop = stop_state()
    with gr.Row(equal_height=False, elem_classes="ask"):
        with gr.Column(scale=5, min_width=280):
            prompt = gr.Textbox(
                value=PROMPTS[0], label="Request", lines=2, max_lines=5, max_length=LONGEST_TEXT, elem_id="play-prompt"
            )
            with gr.Row(elem_classes="chips"):
                chips = [gr.Button(text, size="sm", variant="secondary", min_width=60) for text in PROMPTS]
        with gr.Column(scale=4, min_width=280):
            concepts = shared.concept_picker(
                "Concepts",
                value=[first.name],
                multiselect=True,
                info="Several take turns, about a sentence each.",
                elem_id="play-concepts",
            )
            with gr.Row():
                layer = gr.Slider(
                    0, workbench.outline().layers - 1, value=first.layer, step=1, label="Layer", elem_id="play-layer"
                )
                strength = gr.Slider(
                    -WIDEST, WIDEST, value=first.strength, step=0.05, label="Strength", elem_id="play-strength"
                )
            hint = gr.HTML(_hint(workbench, [first.name]))
    with gr.Accordion("More settings", open=False):
        with gr.Row():
            tokens = gr.Slider(1, LONGEST_ANSWER, value=40, step=1, label="Longest answer, in tokens")
            temperature = gr.Slider(
                0, 1.5, value=0.7, step=0.05, label="Temperature", info="0 always takes the likeliest token."
            )
            seed = gr.Number(0, precision=0, minimum=0, maximum=LARGEST_SEED, label="Seed", elem_id="play-seed")
        with gr.Row():
            action = gr.Radio(
                [("Add the concept", ACTIONS[0]), ("Take it away", ACTIONS[1])],
                value=ACTIONS[0],
                label="What to do",
                info="Taken away at every layer, from what the request asks for; 1 removes it, 2 turns it around.",
                elem_id="play-action",
            )
            place = gr.Radio(
                [("request's last and new ones", PLACES[0]), ("new ones", PLACES[1]), ("all", PLACES[2])],
                value=PLACES[0],
                label="Tokens that are steered",
            )
            bound = gr.Radio(
                [("as long as it gets", BOUNDS[0]), ("its own length kept", BOUNDS[1])],
                value=BOUNDS[0],
                label="Each token's vector is",
            )
    with gr.Row(elem_classes="actions"):
        go = gr.Button("Answer twice", variant="primary", elem_id="play-go", scale=0, min_width=160)
        again = gr.Button("Another seed", variant="secondary", elem_id="play-again", scale=0, min_width=140)
        halt = gr.Button("Stop", variant="secondary", elem_id="play-stop", scale=0, min_width=90)
        state = status_line(elem_id="play-progress")
    with gr.Row(elem_classes="answers"):
        left = gr.HTML(answer_panel("Left alone", _EMPTY.format("Press “Answer twice”.")), elem_id="play-unsteered")
        right = gr.HTML(answer_panel("Steered", _EMPTY.format("It will stand here.")), elem_id="play-steered")
    gr.HTML(legend())
    facts = gr.HTML(elem_id="play-facts")

    settings = [prompt, concepts, layer, strength, action, place, bound, tokens, temperature, seed, stop]
    shown = [left, right, facts, state]

    def answer(
        prompt: Any, concepts: Any, layer: Any, strength: Any, action: Any, place: Any, bound: Any, tokens: Any,
        temperature: Any, seed: Any, stop: Stop,
    ) -> Iterator[Any]:  # fmt: skip
        def work(job: Any) -> SteeredText:
            together = "|".join(concepts) if isinstance(concepts, list) and concepts else concepts
            return steer_text(
                workbench, prompt, together, layer if action == "add" else None, strength, action=action,
                tokens=tokens, temperature=temperature, seed=seed, place=place, bound=bound, job=job,
            )  # fmt: skip

        for update in follow(work, stop):
            if update.done:
                yield _finished(update.result)
            elif isinstance(update.partial, Written):
                yield (
                    answer_panel("Left alone", writing(update.partial.unsteered)),
                    answer_panel("Steered", writing(update.partial.steered)),
                    gr.skip(),
                    progress(update.share, update.words),
                )
            else:
                yield gr.skip(), gr.skip(), gr.skip(), progress(update.share, update.words)

    asked = guarded(answer, lambda words: (gr.skip(), gr.skip(), gr.skip(), progress(None, words)))
    events: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "once"}
    gr.on([go.click, prompt.submit], asked, settings, shown, **events)
    again.click(lambda: random.randrange(100_000), None, seed, api_visibility="private", queue=False).then(
        asked, settings, shown, **events
    )
    halt.click(ask_to_stop, stop, None, queue=False, api_visibility="private")
    for chip, text in zip(chips, PROMPTS, strict=True):
        chip.click(lambda text=text: text, None, prompt, queue=False, api_visibility="private")
    gr.on(
        [concepts.input, action.input],
        guarded(lambda names, action: _set_to(workbench, names, action)),
        [concepts, action],
        [layer, strength, place, hint],
        show_progress="hidden",
        api_visibility="private",
    )


def _set_to(workbench: Workbench, names: Any, action: str) -> Any:
    """Layer, strength and tokens that the chosen concepts are set to, and a word on them."""
    if not names:
        return gr.skip(), gr.skip(), gr.skip(), ""
    leading, hint = blend(workbench, names).leading, _hint(workbench, names, action)
    if action == "erase":
        return gr.update(interactive=False), REMOVAL, "all", hint
    return gr.update(value=leading.layer, interactive=True), leading.strength, "last", hint


def _hint(workbench: Workbench, names: Any, action: str = "add") -> str:
    if not names:
        return ""
    entry = blend(workbench, names).leading
    if action == "erase":
        asking = entry.instruction or f"a request that asks for {entry.name}"
        return f'<p class="hint">Ask for it in the request, and see it stay away: {html.escape(asking)}</p>'
    words = f"{entry.name} is set to layer {entry.layer}, strength {plain(entry.strength)}"
    if entry.safe is not None:
        words += f"; texts stayed coherent up to {plain(entry.safe[1])} there"
    return f'<p class="hint">{html.escape(words)}.</p>'


def _finished(result: SteeredText) -> tuple[str, str, str, str]:
    verb = "by" if result.action == "add" else "away from"
    return (
        answer_panel("Left alone", coloured(result.unsteered), f"perplexity {plain(result.unsteered.perplexity)}"),
        answer_panel(
            f"Steered {verb} {result.concepts}",
            coloured(result.steered),
            f"perplexity {plain(result.steered.perplexity)} · {where(result.layers)} · "
            f"strength {plain(result.strength)} · seed {result.seed}",
        ),
        summary(result),
        progress(
            None, say=f"Left alone: {result.unsteered.text} Steered {verb} {result.concepts}: {result.steered.text}"
        ),
    )
