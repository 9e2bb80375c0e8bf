"""The control: directions that mean nothing, as long as those that mean something."""

import hashlib
from dataclasses import replace

import torch
from torch import Tensor

from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey


def random_like(vectors: SteeringVectors, seed: int) -> SteeringVectors:
    """Random directions, uniform on the sphere, with the norms, hookpoints, token types and model of `vectors`.

    Each depends on `seed` and its slot alone, not on which other slots there are. Where `vectors` has no direction
    (norm 0) the control has none either.
    """
    drawn = {slot: _drawn(slot, direction, seed) for slot, direction in vectors.directions.items()}
    return replace(vectors, concept=f"random like {vectors.concept}", estimator=f"random-{seed}", directions=drawn)


def _drawn(slot: VectorKey, like: Direction, seed: int) -> Direction:
    text = f"{seed}|{slot.hookpoint}|{slot.tokens}|{slot.steps}|{slot.branch}"
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little"))
    raw = torch.randn(like.unit.shape, generator=generator, dtype=torch.float64)
    return Direction(_unit(raw, like.norm.cpu()), like.norm)


def _unit(raw: Tensor, norm: Tensor) -> Tensor:
    return torch.where(norm[..., None] > 0, raw / raw.norm(dim=-1, keepdim=True), 0.0).float()
