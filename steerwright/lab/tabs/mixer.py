"""The mixer: several concepts by weights, and how often each of them shows."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from steerwright.lab.checks import LONGEST_TEXT
from steerwright.lab.jobs import Stop, follow
from steerwright.lab.operations.mix_concepts import TOKENS, Mixed, keep_mix, mix_concepts
from steerwright.lab.page_state import PageState, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.style import lead, progress, table
from steerwright.lab.token_view import plain, share
from steerwright.lab.workbench import Workbench
from steerwright.vectors.mixing import takes_turns

PARTS = 3
_PREFERRED = (("happy", 0.5), ("formal", 0.5), (None, 0.0))
_HOW = {"turns": "|", "sum": ","}


def tab(workbench: Workbench, shared: PageState) -> None:
    """Build the tab inside the current Blocks."""
    known = workbench.concepts()
    gr.HTML(
        lead(
            "Mixer",
            "Weigh up to three concepts, or write the mix as text, and see how many answers show each, and how many "
            "show all of them.",
            "In turns, each concept steers its share of the answer's sentences. Added up, they are one vector, which "
            "mostly shows the concept that the answer happens to begin with.",
        )
    )
    stop = stop_state()
    pickers: list[Any] = []
    weights: list[gr.Slider] = []
    with gr.Row(elem_classes="ask"):
        for index, (name, weight) in enumerate(_PREFERRED):
            with gr.Column(min_width=220):
                pickers.append(
                    shared.concept_picker(
                        f"Concept {index + 1}",
                        value=name if name in known else None,
                        optional=True,
                        elem_id=f"mix-concept-{index + 1}",
                    )
                )
                weights.append(gr.Slider(-1, 1, value=weight, step=0.05, label="Weight"))
    start = "|".join(f"{name}:{weight:g}" for name, weight in _PREFERRED if name in known)
    with gr.Row(elem_classes="ask"):
        how = gr.Radio([("take turns", "turns"), ("add up", "sum")], value="turns", label="They", elem_id="mix-how")
        text = gr.Textbox(start, label="The mix as text", max_length=400, elem_id="mix-text")
        layer = gr.Slider(
            0, workbench.outline().layers - 1, value=workbench.usual().layer, step=1, label="Layer",
            elem_id="mix-layer",
        )  # fmt: skip
        strength = gr.Slider(
            0, 2, value=_strength(workbench, start), step=0.05, label="Strength", elem_id="mix-strength"
        )
    with gr.Accordion("More settings", open=False), gr.Row():
        prompt = gr.Textbox(
            label="A request of your own",
            max_length=LONGEST_TEXT,
            info="Empty: the lab's twelve requests. Otherwise this one with twelve seeds.",
        )
        tokens = gr.Slider(5, 80, value=TOKENS, step=1, label="Longest answer, in tokens")
        temperature = gr.Slider(0, 1.5, value=0.7, step=0.05, label="Temperature")
        seed = gr.Number(0, precision=0, minimum=0, label="Seed")
    with gr.Row(elem_classes="actions"):
        go = gr.Button("Mix", variant="primary", elem_id="mix-go", scale=0, min_width=140)
        halt = gr.Button("Stop", elem_id="mix-stop", scale=0, min_width=90)
        state = status_line(elem_id="mix-progress")
    result = gr.HTML(elem_id="mix-result")
    with gr.Row(elem_classes="ask keep"):
        name = gr.Textbox(label="Keep the mix as a concept", placeholder="jolly-pirate", max_length=40,
                          elem_id="mix-name")  # fmt: skip
        keep = gr.Button("Keep", scale=0, min_width=110, elem_id="mix-keep")

    def mixed(text: Any, layer: Any, strength: Any, prompt: Any, tokens: Any, temperature: Any, seed: Any,
              stop: Stop) -> Iterator[Any]:  # fmt: skip
        def work(job: Any) -> Mixed:
            return mix_concepts(workbench, text, layer, strength, prompt=prompt, tokens=tokens,
                                temperature=temperature, seed=seed, job=job)  # fmt: skip

        for update in follow(work, stop):
            if update.done:
                yield _report(update.result), progress(None, say=_said(update.result))
            else:
                yield gr.skip(), progress(update.share, update.words)

    go.click(
        guarded(mixed, lambda words: (gr.skip(), progress(None, words))),
        [text, layer, strength, prompt, tokens, temperature, seed, stop],
        [result, state],
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="once",
    )
    halt.click(ask_to_stop, stop, None, queue=False, api_visibility="private")

    def written(how: str, *values: Any) -> str:
        chosen = zip(values[:PARTS], values[PARTS:], strict=True)
        return _HOW[how].join(f"{concept}:{weight:g}" for concept, weight in chosen if concept and weight)

    gr.on(
        [how.input, *(picker.input for picker in pickers), *(weight.input for weight in weights)],
        written,
        [how, *pickers, *weights],
        text,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="always_last",
    )

    def kept(name: Any, mix: Any, layer: Any, strength: Any) -> Any:
        entry = keep_mix(workbench, name, mix, layer, strength)
        gr.Success(f"{entry.name} is saved and in every list.", title="Kept", duration=5)
        return workbench.revision

    keep.click(
        guarded(kept), [name, text, layer, strength], shared.revision, show_progress="hidden", api_visibility="private"
    )


def _strength(workbench: Workbench, mix: str) -> float:
    """What the mix's leading concept is set to."""
    known = workbench.concepts()
    first = mix.partition(":")[0]
    return known[first].strength if first in known else next(iter(known.values())).strength


def _said(found: Mixed, number: str = "{}") -> str:
    """What came of it, in a sentence that needs no escaping; the `number` that counts is set as this says."""
    return (
        f"Of {found.prompts} answers, {number.format(share(found.all_shown))} show everything that was mixed in, at "
        f"{plain(found.ratio)} times the unsteered perplexity."
    )


def _report(found: Mixed) -> str:
    turns, whole = takes_turns(found.mix), sum(abs(part.weight) for part in found.parts)
    rows = [
        (
            part.concept, plain(part.weight),
            share(abs(part.weight) / whole) if turns else plain(part.cosine), share(part.unsteered), share(part.rate),
            f"{share(part.low)} to {share(part.high)}",
        )
        for part in found.parts
    ]  # fmt: skip
    middle = "Of the sentences" if turns else "Cosine to the mix"
    header = ("Concept", "Weight", middle, "Shows unsteered", "Shows mixed", "95 % interval")
    samples = table(("Request", "Left alone", "Mixed"), found.samples)
    how = f"{html.escape(found.mix)}, layer {found.layer}, strength {plain(found.strength)}"
    return (
        f'<p class="lead">{_said(found, "<b>{}</b>")} <span class=muted>({how})</span></p>'
        f"{table(header, rows, numbers=(1, 2, 3, 4, 5))}"
        f'<div class="section"><h3>Some answers</h3>{samples}</div>'
    )
