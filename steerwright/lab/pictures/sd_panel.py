"""Steering the embedded Stable Diffusion on the page: by its text encoder, its cross-attention, or latents."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from steerwright.lab.checks import LARGEST_SEED, checked_choice
from steerwright.lab.jobs import Job, Stop, follow
from steerwright.lab.operations.steer_picture import (
    CONCEPT,
    LONGEST_PROMPT,
    PictureStrip,
    SteeredPicture,
    picture_choices,
    picture_strip,
    steer_picture,
)
from steerwright.lab.page_state import ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.pictures.edits import METHODS, EditChoice
from steerwright.lab.pictures.view import (
    blank,
    changes,
    heat_scale,
    heat_shot,
    label_rows,
    plain_strength,
    said,
    shot,
    shots,
    strip_caption,
)
from steerwright.lab.style import progress, table
from steerwright.lab.workbench import Workbench

_SCENES = {
    "house": "a red house by a lake", "cat": "a yellow cat on a street", "car": "a blue car on a street",
    "horse": "a purple horse in a meadow", "boat": "a red boat on a lake", "tent": "a yellow tent in the mountains",
    "tower": "a blue tower by a lake", "umbrella": "a purple umbrella on a street",
}  # fmt: skip
_WHERE = {
    "text": "The prompt's own representation is moved before anything is drawn.",
    "attention": "What the picture takes from the prompt is changed, block by block, at every denoising step.",
    "latents": "A sparse autoencoder reads cross-attention as a few hundred features; the concept's are changed.",
}
_FIRST = ("attention", "cat-to-horse")
_PARTS = 5
_EVENTS: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def sd_panel(workbench: Workbench) -> None:
    """Build the panel inside the current Blocks. UserError where there is nothing to steer with."""
    by_key = {one.key: one for one in picture_choices(workbench, _FIRST[0])}
    first = by_key.get(_FIRST[1]) or next(iter(by_key.values()))
    stop, kept = stop_state(), gr.State(None)
    with gr.Row(equal_height=False, elem_classes="ask"):
        with gr.Column(scale=1, min_width=280):
            method = gr.Radio(
                [(title, name) for name, title in METHODS.items()],
                value=_FIRST[0],
                label="Steer in",
                elem_id="sd-method",
            )
            about = gr.HTML(f'<p class="hint">{_WHERE[_FIRST[0]]}</p>')
            edit = gr.Dropdown(_listed(workbench, _FIRST[0]), value=first.key, label="What to do", elem_id="sd-edit")
            strength = gr.Slider(
                first.lowest, first.highest, value=first.strength, step=0.05, label="Strength", elem_id="sd-strength"
            )
            hint = gr.HTML(_hint(first))
        with gr.Column(scale=1, min_width=280):
            prompt = gr.Textbox(
                scene(first), label="Prompt", lines=2, max_length=LONGEST_PROMPT, elem_id="sd-prompt",
                info="The model knows objects, colours, places, seasons and times of day.",
            )  # fmt: skip
            with gr.Row(elem_classes="chips"):
                chips = [gr.Button(text, size="sm", min_width=60) for text in list(_SCENES.values())[:3]]
            seed = gr.Number(3, precision=0, minimum=0, maximum=LARGEST_SEED, label="Seed", elem_id="sd-seed")
    with gr.Row(elem_classes="actions"):
        go = gr.Button("Draw twice", variant="primary", elem_id="sd-go", scale=0, min_width=140)
        again = gr.Button("With another seed", elem_id="sd-again", scale=0, min_width=190)
        sweep = gr.Button("Compare strengths", elem_id="sd-sweep", scale=0, min_width=190)
        halt = gr.Button("Stop", elem_id="sd-stop", scale=0, min_width=90)
        state = status_line(elem_id="sd-progress")
    with gr.Row(equal_height=False, elem_classes="answers"):
        with gr.Column(scale=3, min_width=300):
            pair = gr.HTML(_waiting(), elem_id="sd-pictures")
        with gr.Column(scale=2, min_width=280):
            facts = gr.HTML(elem_id="sd-facts")
    with gr.Column(visible=False, elem_id="sd-heat") as heat_part:
        gr.HTML('<div class="section"><h3>Where in the picture?</h3></div>')
        with gr.Row(elem_classes="ask"):
            look = gr.Dropdown(
                [("the concept", CONCEPT)], value=CONCEPT, label="Look for", elem_id="sd-look",
                info="The edited concept, or a word of the prompt.",
            )  # fmt: skip
            step = gr.Slider(0, 20, value=0, step=1, label="Denoising step (0: all of them)", elem_id="sd-step")
        heat = gr.HTML(elem_id="sd-maps")
    strip = gr.HTML(elem_id="sd-strip")

    settings = [prompt, method, edit, strength, seed, look, stop]
    shown = [pair, facts, heat_part, look, step, heat, kept, state]
    kept_as_is = (gr.skip(),) * (len(shown) - 1)

    def draw(prompt: Any, method: Any, edit: Any, strength: Any, seed: Any, look: Any, stop: Stop) -> Iterator[Any]:
        def work(job: Job) -> SteeredPicture:
            # A word that is no longer in the prompt is looked for no longer.
            there = look if look in str(prompt).split() else CONCEPT
            return steer_picture(workbench, prompt, method, edit, strength, seed, there, job)

        for update in follow(work, stop):
            if update.done:
                found: SteeredPicture = update.result
                yield (*_finished(found, look), found, progress(None, say=f"Drawn. {said(found.change)}"))
            elif isinstance(update.partial, np.ndarray):
                half = shots(shot(update.partial, "Left alone"), blank("Steered", "being drawn"))
                yield (half, *kept_as_is[1:], progress(update.share, update.words))
            else:
                yield (*kept_as_is, progress(update.share, update.words))

    def compare(prompt: Any, method: Any, edit: Any, seed: Any, stop: Stop) -> Iterator[Any]:
        choice = _choice(workbench, method, edit)
        far = [0.0] + [round(choice.highest * part / _PARTS, 3) for part in range(1, _PARTS + 1)]

        def work(job: Job) -> PictureStrip:
            return picture_strip(workbench, prompt, method, edit, far, seed, job)

        seen = 0
        drawn = "Drawn with every strength."
        for update in follow(work, stop):
            now = update.result or update.partial
            if now is not None and len(now.pictures) != seen:
                seen = len(now.pictures)
                yield _strip(now), progress(None, say=drawn) if update.done else progress(update.share, update.words)
            else:
                yield gr.skip(), progress(None, say=drawn) if update.done else progress(update.share, update.words)

    gr.on([go.click, prompt.submit, look.input], guarded(draw), settings, shown, trigger_mode="once", **_EVENTS)
    again.click(lambda: random.randrange(100_000), None, seed, api_visibility="private", queue=False).then(
        guarded(draw), settings, shown, **_EVENTS
    )
    sweep.click(guarded(compare), [prompt, method, edit, seed, stop], [strip, state], trigger_mode="once", **_EVENTS)
    halt.click(ask_to_stop, stop, None, queue=False, api_visibility="private").then(
        lambda: progress(None, "Stopped"), None, state, queue=False, **_EVENTS
    )
    step.change(_heat, [kept, step], heat, trigger_mode="always_last", **_EVENTS)

    def pick_method(name: Any, before: Any, written: Any) -> Any:
        listed = picture_choices(workbench, name)
        same = next((one for one in listed if one.key == before), listed[0])
        return (
            f'<p class="hint">{_WHERE[name]}</p>',
            gr.update(choices=_listed(workbench, name), value=same.key),
            *_set_to(same, written),
            "",
        )

    method.input(guarded(pick_method), [method, edit, prompt], [about, edit, strength, hint, prompt, strip], **_EVENTS)
    edit.input(
        guarded(lambda name, key, written: (*_set_to(_choice(workbench, name, key), written), "")),
        [method, edit, prompt], [strength, hint, prompt, strip], **_EVENTS,
    )  # fmt: skip
    for chip, text in zip(chips, _SCENES.values(), strict=False):
        chip.click(lambda text=text: text, None, prompt, queue=False, api_visibility="private")


def scene(choice: EditChoice) -> str:
    """A prompt on which the edit shows what it does."""
    axis, _, value = choice.concept.rpartition(":")
    if value in _SCENES:
        return _SCENES[value]
    return _SCENES["house"] + (f" in {value}" if choice.action == "erase" and axis else "")


def _choice(workbench: Workbench, method: Any, key: Any) -> EditChoice:
    known = {one.key: one for one in picture_choices(workbench, method)}
    return known[checked_choice(key, known, "edit")]


def _listed(workbench: Workbench, method: str) -> list[tuple[str, str]]:
    return [(one.title, one.key) for one in picture_choices(workbench, method)]


def _set_to(choice: EditChoice, written: Any) -> tuple[Any, str, Any]:
    """Slider, hint, and a prompt that suits the edit unless the visitor has written one."""
    text = str(written or "").strip()
    own = text and text.partition(" in ")[0] not in _SCENES.values() and text not in _SCENES.values()
    slider = gr.update(minimum=choice.lowest, maximum=choice.highest, value=choice.strength)
    return slider, _hint(choice), gr.skip() if own else scene(choice)


def _hint(choice: EditChoice) -> str:
    whose = "on other prompts" if choice.searched else "for another concept of its kind"
    return f'<p class="hint">Set to {plain_strength(choice.strength)}, as a search {whose} chose.</p>'


def _waiting() -> str:
    return shots(blank("Left alone", "Press “Draw twice”."), blank("Steered", "It will be here."))


def _finished(found: SteeredPicture, look: Any) -> tuple[Any, ...]:
    rows, moved = label_rows(found.change)
    pair = shots(
        shot(found.unsteered, "Left alone", f"seed {found.seed}"),
        shot(found.steered, found.choice.title, f"strength {plain_strength(found.strength)}"),
    )
    listed = table(("", "Left alone", "sure", "Steered", "sure"), rows, numbers=(2, 4), chosen=moved)
    words = list(dict.fromkeys(found.prompt.split()))
    picker = gr.update(
        choices=[("the concept", CONCEPT), *((f"“{word}”", word) for word in words)],
        value=look if look in words else CONCEPT,
    )
    steps = len(found.heat)
    return (
        pair, changes(found.change) + listed, gr.update(visible=True), picker,
        gr.update(maximum=steps, value=0), _heat(found, 0),
    )  # fmt: skip


def _heat(found: SteeredPicture | None, step: Any) -> str:
    if found is None:
        return ""
    at = int(step) - 1 if step else None
    return shots(
        heat_shot(found.unsteered, found.heat_unsteered, found.limit, at, "Left alone"),
        heat_shot(found.steered, found.heat, found.limit, at, found.choice.title),
    ) + heat_scale(found.limit, f"{found.heat_of}.")


def _strip(found: PictureStrip) -> str:
    several = zip(found.strengths, found.pictures, found.changes, strict=True)
    figures = [
        shot(pixels, f"Strength {plain_strength(far)}" if far else "Left alone", strip_caption(change) if far else "")
        for far, pixels, change in several
    ]
    return f'<div class="section"><h3>{found.choice.title}, further and further</h3></div>' + shots(
        *figures, kind="many"
    )
