"""Steer by one latent of an autoencoder: along its decoder direction, or by its own value.

Strengths are in units of the site's mean token norm, so that one number means as much at every layer of every model:
at strength 0.5 each token moves by half the length that tokens have there on average.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.latents import SparseLatents
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import require_hookpoint
from steerwright.steering.algebra import Edit
from steerwright.steering.latents.operators import AddLatents, EditLatents, LatentPart
from steerwright.steering.operators import Add
from steerwright.vectors.direction import normalised

Mode = Literal["add", "encode_edit_decode"]
MODES: tuple[str, ...] = get_args(Mode)


def latent_steering(
    sae: Sae, latent: int, mode: Mode, strength: float, norm: float, steps: tuple[int, int] | None = None
) -> list[Edit]:
    """The edits that move every token of the autoencoder's site by `strength` times `norm` along a latent's direction.

    `add` adds the decoder direction, on either side. `encode_edit_decode` raises or lowers the latent's value as far as
    it takes to move the token by as much, but no value falls below zero: it takes out no more than there is. Only the
    change is decoded, so what the autoencoder does not reconstruct stays exactly as it is. `norm` is the mean norm of
    the site's tokens. No edit at all for strength 0. Raises UserError for a latent or mode that is not there, and for
    an autoencoder that does not say where it belongs.
    """
    if mode not in MODES:
        raise UserError(f"Latents cannot be steered by {mode!r}; choose one of {', '.join(MODES)}.")
    if not 0 <= latent < sae.size:
        raise UserError(f"The autoencoder has latents 0 to {sae.size - 1}; there is no {latent}.")
    hookpoint = require_hookpoint(sae.site, f"of latent {latent}")
    if strength == 0:
        return []
    moved = row_direction(sae, latent, norm)
    if mode == "add":
        return [
            Edit(hookpoint, Add(normalised(moved, torch.tensor(norm)), "raw"), strength, branch="both", steps=steps)
        ]
    change = AddLatents(torch.tensor([strength * norm / float(moved.norm())]), floor=0.0)
    part = LatentPart(torch.tensor([latent]), change)
    return [Edit(hookpoint, EditLatents(sae, (part,)), 1.0, branch="both", steps=steps)]


def row_direction(sae: Sae, latent: int, norm: float) -> Tensor:
    """How a row moves when the latent's value grows by one, [d] in the rows' own units, float32.

    Where each row is normed by itself, the row is taken to be of length `norm` with mean 0.
    """
    change = SparseLatents(torch.tensor([[latent]]), torch.ones(1, 1), sae.size)
    row = torch.full((1, sae.width), norm / sae.width**0.5)
    row[:, 1::2] *= -1
    return sae.to("cpu").delta(row, change)[0].float()
