"""Steer a picture of the embedded FLUX along one feature, and see where the feature fires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from steerwright.lab.checks import checked_number, checked_seed, checked_text, checked_whole
from steerwright.lab.jobs import Job
from steerwright.lab.operations.steer_picture import LONGEST_PROMPT
from steerwright.lab.pictures.catalogue import PictureChange
from steerwright.lab.pictures.drawing import Heat, draw_picture
from steerwright.lab.pictures.features import LabFeature
from steerwright.lab.pictures.heat_sources import LatentHeat
from steerwright.lab.pictures.session import FLUX, picture_session
from steerwright.report.html.overlays import heat_limit
from steerwright.steering.latents.direction import latent_steering

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench

STRONGEST = 1.2
"""In mean norms of the layer's tokens; beyond it pictures fall apart."""
# Over the first half of the denoising the picture's content is decided; later steps only blur what is there.
STEPS = (0, 5)


@dataclass(frozen=True, slots=True, eq=False)
class FeaturePicture:
    """As `SteeredPicture`, of a feature: `heat` float32 [steps, h, w] is its activation on each token.

    `limit` is where heat is full: as in the feature's example pictures, or higher.
    """

    prompt: str
    seed: int
    feature: LabFeature
    strength: float
    unsteered: NDArray[np.uint8]
    steered: NDArray[np.uint8]
    change: PictureChange
    heat_unsteered: Heat
    heat: Heat
    limit: float


def layer_features(workbench: Workbench, layer: str) -> tuple[LabFeature, ...]:
    """The features of a layer (early, late), those that change pictures most first."""
    return picture_session(workbench).layer(layer).features


def steer_feature(
    workbench: Workbench,
    prompt: str,
    layer: str,
    latent: int,
    strength: float,
    seed: int = 0,
    job: Job | None = None,
) -> FeaturePicture:
    """Draw `prompt` from `seed`, unsteered and with every token moved by `strength` along a latent's direction.

    `strength` is in mean norms of the layer's tokens, negative away from the feature. Raises UserError for what is not
    there or not finite, Cancelled when the job is stopped.
    """
    job = job or Job()
    session = picture_session(workbench)
    text, number = checked_text(prompt, "prompt", LONGEST_PROMPT), checked_seed(seed)
    far = checked_number(strength, "strength", -STRONGEST, STRONGEST)
    place = session.layer(layer)
    feature = place.feature(checked_whole(latent, "feature", 0, place.sae.size - 1))
    job.step(0.0, "Loading the picture model")
    model = workbench.picture_model(FLUX)
    source = LatentHeat({layer: place.sae}, {layer: {0: torch.tensor([feature.latent])}}, {layer: {0: 1.0}})
    with workbench.turn(FLUX, job.cancelled):
        plain = session.drawn(
            (FLUX, text, number, layer, feature.latent),
            lambda: draw_picture(model, text, number, heat=source, job=job, span=(0.0, 0.5), what="Unsteered"),
        )
    job.show(plain.pixels)
    window = (STEPS[0], min(STEPS[1], model.spec.steps - 1))
    edits = latent_steering(place.sae, feature.latent, "add", far, place.norm, window)
    with workbench.turn(FLUX, job.cancelled):
        steered = draw_picture(
            model, text, number, edits, heat=source, job=job, span=(0.5, 1.0), what="Steered"
        )  # fmt: skip
    assert plain.heat is not None and steered.heat is not None, "a source of heat was given"
    change = session.judge().compare(plain.pixels, steered.pixels)
    limit = max(feature.limit, heat_limit([plain.heat[min(place.step, len(plain.heat) - 1)]]))
    return FeaturePicture(
        text, number, feature, far, plain.pixels, steered.pixels, change, plain.heat, steered.heat, limit
    )
