"""How vectors lie over blocks and steps: lengths, and how alike neighbours in time are."""

from collections.abc import Sequence
from itertools import pairwise

import polars as pl
import torch

from steerkit.models.attention_blocks import AttentionBlock
from steerkit.vectors.steering_vectors import SteeringVectors

SCHEMA = {
    "block": pl.String, "place": pl.String, "attention": pl.String, "branch": pl.String, "step_first": pl.Int64,
    "step_last": pl.Int64, "norm": pl.Float64, "control": pl.Float64, "noise": pl.Boolean, "cosine_next": pl.Float64,
    "cosine_mean": pl.Float64,
}  # fmt: skip


def vectors_table(vectors: SteeringVectors, blocks: Sequence[AttentionBlock]) -> pl.DataFrame:
    """One row per vector of a block: its norm, its control's, and two cosines, to the next and to the mean over time.

    Columns as in `SCHEMA`; `cosine_next` is null for the last step, `control` and `noise` where that was not measured.
    Steps of a block are in order. Vectors at other hookpoints are left out.
    """
    rows = []
    for block in blocks:
        for branch in sorted({slot.branch or "" for slot in vectors.directions if slot.hookpoint == block.hookpoint}):
            slots = sorted(
                (s for s in vectors.directions if s.hookpoint == block.hookpoint and (s.branch or "") == branch),
                key=lambda slot: slot.steps or (0, 0),
            )
            units = torch.stack([vectors.directions[slot].unit.double() for slot in slots])
            mean = units.mean(0)
            to_mean = (units @ (mean / mean.norm().clamp(min=torch.finfo(mean.dtype).tiny))).tolist()
            to_next: list[float | None] = [float(a @ b) for a, b in pairwise(units)]
            to_next.append(None)
            for slot, along, following in zip(slots, to_mean, to_next, strict=True):
                first, last = slot.steps or (0, len(vectors.timesteps or (0,)) - 1)
                rows.append(
                    {
                        "block": block.name, "place": block.place, "attention": block.attention, "branch": branch,
                        "step_first": first, "step_last": last, "norm": float(vectors.directions[slot].norm),
                        "control": vectors.controls.get(slot), "noise": vectors.noise_mark(slot),
                        "cosine_next": following, "cosine_mean": along,
                    }
                )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)
