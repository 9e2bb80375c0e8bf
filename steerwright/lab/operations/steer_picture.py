"""Steer a picture of the embedded Stable Diffusion: unsteered beside steered, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steerwright.errors import UserError
from steerwright.lab.checks import checked_choice, checked_number, checked_seed, checked_text
from steerwright.lab.jobs import Job
from steerwright.lab.pictures.catalogue import PictureChange
from steerwright.lab.pictures.drawing import Drawn, Heat, HeatSource, draw_picture
from steerwright.lab.pictures.edits import EditChoice, PictureEdit, prompt_words
from steerwright.lab.pictures.heat_sources import AttentionHeat
from steerwright.lab.pictures.session import SD, PictureSession, picture_session
from steerwright.models.attention_blocks import attention_blocks
from steerwright.report.html.overlays import heat_limit

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench
    from steerwright.models.load import LoadedModel

LONGEST_PROMPT = 300
CONCEPT = "concept"
MOST_STRENGTHS = 9


@dataclass(frozen=True, slots=True, eq=False)
class SteeredPicture:
    """Two pictures of one prompt and seed, uint8 [height, width, 3], and how they differ.

    `heat` and `heat_unsteered` float32 [steps, h, w] say where what was asked for is found while each is drawn, in the
    unit that `heat_of` names; `limit` is where heat is full in both.
    """

    prompt: str
    seed: int
    choice: EditChoice
    strength: float
    unsteered: NDArray[np.uint8]
    steered: NDArray[np.uint8]
    change: PictureChange
    heat_unsteered: Heat
    heat: Heat
    limit: float
    heat_of: str


@dataclass(frozen=True, slots=True, eq=False)
class PictureStrip:
    """The same picture at several strengths, each with how it differs from the unsteered one."""

    choice: EditChoice
    strengths: tuple[float, ...]
    pictures: tuple[NDArray[np.uint8], ...]
    changes: tuple[PictureChange, ...]


def picture_choices(workbench: Workbench, method: str) -> list[EditChoice]:
    """What a method (text, attention, latents) can do with pictures."""
    return [one.choice for one in picture_session(workbench).choices(method).values()]


def steer_picture(
    workbench: Workbench,
    prompt: str,
    method: str,
    edit: str,
    strength: float | None = None,
    seed: int = 0,
    heat: str = CONCEPT,
    job: Job | None = None,
) -> SteeredPicture:
    """Draw `prompt` from `seed`, unsteered and steered by `edit` of `method` (see `picture_choices`).

    `strength` None is the edit's own; 0 gives the unsteered picture to the bit. `heat` says what to look for: the
    edit's "concept", or a word of the prompt; where the method knows no places in pictures the concept's heat is that
    of the prompt's last word. Raises UserError for what is not there or not finite, Cancelled when the job is stopped.
    """
    job = job or Job()
    session = picture_session(workbench)
    text, number = checked_text(prompt, "prompt", LONGEST_PROMPT), checked_seed(seed)
    chosen = _chosen(session, method, edit)
    far = _strength(chosen.choice, strength)
    model = _model(workbench, job)
    with workbench.turn(SD, job.cancelled):
        # In the turn too: a tokenizer is no more to be shared by threads than the networks are.
        source, heat_of, key = _heat(model, chosen, text, heat)
        plain = session.drawn(
            (SD, text, number, key),
            lambda: draw_picture(model, text, number, heat=source, job=job, span=(0.0, 0.5), what="Unsteered"),
        )
    job.show(plain.pixels)
    with workbench.turn(SD, job.cancelled):
        steered = draw_picture(
            model, text, number, chosen.edits(model, far), heat=source, job=job, span=(0.5, 1.0), what="Steered"
        )
    change = session.judge().compare(plain.pixels, steered.pixels)
    assert plain.heat is not None and steered.heat is not None, "a source of heat was given"
    return SteeredPicture(
        text, number, chosen.choice, far, plain.pixels, steered.pixels, change, plain.heat, steered.heat,
        _limit(plain, steered), heat_of,
    )  # fmt: skip


def picture_strip(
    workbench: Workbench,
    prompt: str,
    method: str,
    edit: str,
    strengths: Sequence[float],
    seed: int = 0,
    job: Job | None = None,
) -> PictureStrip:
    """Draw `prompt` from `seed` at each of `strengths`; each picture is a turn of its own and is shown as it comes.

    Raises as `steer_picture` does. A job that is stopped keeps what it has shown.
    """
    job = job or Job()
    session = picture_session(workbench)
    text, number = checked_text(prompt, "prompt", LONGEST_PROMPT), checked_seed(seed)
    chosen = _chosen(session, method, edit)
    count = len(list(strengths))
    checked_number(count, "number of strengths", 1, MOST_STRENGTHS)
    far = [_strength(chosen.choice, one) for one in strengths]
    model = _model(workbench, job)
    with workbench.turn(SD, job.cancelled):
        plain = session.drawn((SD, text, number, None), lambda: draw_picture(model, text, number, job=job))
    found = PictureStrip(chosen.choice, (), (), ())
    for place, one in enumerate(far):
        span = (place / count, (place + 1) / count)
        with workbench.turn(SD, job.cancelled):
            edits = chosen.edits(model, one)
            what = f"Strength {one:g}"
            drawn = plain if one == 0 else draw_picture(model, text, number, edits, job=job, span=span, what=what)
        change = session.judge().compare(plain.pixels, drawn.pixels)
        found = PictureStrip(
            chosen.choice, (*found.strengths, one), (*found.pictures, drawn.pixels), (*found.changes, change)
        )
        job.show(found)
    return found


def _chosen(session: PictureSession, method: Any, edit: Any) -> PictureEdit:
    choices = session.choices(method)
    return choices[checked_choice(edit, choices, "edit")]


def _strength(choice: EditChoice, strength: Any) -> float:
    if strength is None:
        return choice.strength
    return checked_number(strength, "strength", choice.lowest, choice.highest)


def _model(workbench: Workbench, job: Job) -> LoadedModel:
    job.step(0.0, "Loading the picture model")
    return workbench.picture_model(SD)


def _heat(model: LoadedModel, chosen: PictureEdit, prompt: str, heat: Any) -> tuple[HeatSource, str, Any]:
    """What to look for, what its numbers mean, and what tells it from others."""
    concept = chosen.heat(model) if heat == CONCEPT else None
    value = chosen.choice.concept.rpartition(":")[2]
    if concept is not None:
        what = {
            "attention": f"ImageGates of {value} by its vectors: 0 as in prompts without it, 1 as in prompts with it",
            "latents": f"Activity of the latents of {value}: 1 is their mean in pictures with it",
        }[chosen.choice.method]
        return concept, what, (chosen.choice.method, chosen.choice.key)
    found = prompt_words(model.pipeline.tokenizer, prompt)
    if not found:
        raise UserError("The prompt's first word is longer than all that the text encoder reads; shorten it.")
    words = [one.word for one in found]
    word = words[-1] if heat == CONCEPT else checked_choice(heat, words, "word of the prompt")
    tokens = tuple(token for one in found if one.word == word for token in one.tokens)
    source = AttentionHeat(attention_blocks(model.pipeline), tokens)
    return source, f"Share of attention that goes to the word “{word}”", ("word", word)


def _limit(*pictures: Drawn) -> float:
    """Where heat is full: for the mean over steps of all pictures alike."""
    return heat_limit([one.heat.mean(0) for one in pictures if one.heat is not None])
