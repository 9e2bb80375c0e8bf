"""Concepts' moments with only the latents that edits use: a tenth of the file they are taken from, for shipping."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from steerwright.concepts.scores import ConceptMoments
from steerwright.errors import UserError
from steerwright.files import atomic_write
from steerwright.former_name import read_header

SCHEMA = "steerwright.part_moments"
VERSION = 1
_HEADER = "steerwright"


def save_part_moments(moments: ConceptMoments, latents: Collection[int], axes: Collection[str], path: Path) -> None:
    """Write of each concept of `axes`, at each step, the mean (float32) and deviation (float16) of these `latents`.

    Steps pooled, counts of tokens and of images in which a latent is active are left out: no edit asks for them. The
    same moments give the same bytes. Format: docs/formats.md.
    """
    names = [name for name in moments.concepts if name.partition(":")[0] in axes]
    places = [moments.index(name) for name in names]
    chosen = torch.tensor(sorted(latents), dtype=torch.int64)
    found = [[moments.mean_and_variance([place], step) for step in moments.steps] for place in places]
    header = {
        "schema_name": SCHEMA, "schema_version": VERSION, "concepts": names, "steps": list(moments.steps),
        "size": moments.size, "facts": dict(moments.facts),
    }  # fmt: skip
    tensors = {
        "latents": chosen.int(),
        "count": torch.tensor([[count for count, _, _ in row] for row in found], dtype=torch.int32),
        "mean": torch.stack([torch.stack([mean[chosen] for _, mean, _ in row]) for row in found]).float(),
        "deviation": torch.stack([torch.stack([var[chosen].sqrt() for _, _, var in row]) for row in found]).half(),
    }
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    content = to_safetensors(tensors, metadata={_HEADER: text})
    atomic_write(path, lambda partial: partial.write_bytes(content))


def load_part_moments(path: Path) -> ConceptMoments:
    """Moments as of `load_concept_moments`, in which all other latents are never active. UserError for other files."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = read_header(file.metadata())
            if (header.get("schema_name"), header.get("schema_version")) != (SCHEMA, VERSION):
                raise UserError(f"{path} holds no moments of this kind; restore it from the repository.")
            latents, count, mean, deviation = (
                file.get_tensor(name) for name in ("latents", "count", "mean", "deviation")
            )
        moments = ConceptMoments.empty(
            tuple(header["concepts"]), tuple(header["steps"]), int(header["size"]), header["facts"]
        )
        images, mean = count.double().unsqueeze(-1), mean.double()
        steps, places = len(moments.steps), latents.long()
        moments.count[:, :steps] = count.long()
        moments.sums[:, :steps, places] = mean * images
        squares = deviation.double().square() * (images - 1).clamp(min=0) + images * mean.square()
        moments.squares[:, :steps, places] = squares
        moments.active[:, :steps, places] = (mean > 0).int()
        return moments
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); restore it from the repository.") from error
