"""Pictures steered by one latent at a time: which there are, and beside which unsteered ones they stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerwright.experiments.draw import Condition
from steerwright.images import Sample
from steerwright.models.load import LoadedModel
from steerwright.sae.sae_file import load_sae
from steerwright.steering.algebra import Edit
from steerwright.steering.latents.direction import Mode, latent_steering

if TYPE_CHECKING:
    import polars as pl

UNSTEERED = "unsteered"


@dataclass(frozen=True, slots=True)
class SeededPrompt:
    """What is drawn: a prompt from a seed. `id` says which prompt it is."""

    id: str
    prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class Steering:
    """How a picture is steered; strength 0 is the unsteered one."""

    latent: int
    mode: Mode
    strength: float


@dataclass(frozen=True, slots=True)
class SteeredSite:
    """The autoencoder whose latents steer, the mean norm of its site's tokens, and the first and last step."""

    sae: Path
    norm: float
    steps: tuple[int, int] | None = None

    @classmethod
    def read(cls, saes: Path, facts: Path, steps: Sequence[int] | None) -> SteeredSite:
        """From the folder of autoencoders and the facts of an S matrix, which say which of them it is."""
        said = json.loads(facts.read_text())
        window = None if steps is None else (steps[0], steps[1])
        return cls(sae=saes / said["sae"], norm=said["site_norm"], steps=window)


@dataclass(frozen=True, slots=True)
class LatentSteering:
    """One latent of the autoencoder of `site`, steered."""

    site: SteeredSite
    steering: Steering

    def edits(self, model: LoadedModel) -> list[Edit]:  # noqa: ARG002
        """The edits; the autoencoder is read from its file."""
        how, site = self.steering, self.site
        return latent_steering(load_sae(site.sae), how.latent, how.mode, how.strength, site.norm, site.steps)


def plan_steered(
    site: SteeredSite, plan: Sequence[tuple[Steering, Sequence[SeededPrompt]]]
) -> tuple[list[tuple[Condition, list[Sample]]], pl.DataFrame]:
    """The pictures of `plan` by condition, each once, the unsteered ones beside them first; and the table of all.

    The table has one row per steered picture, in the order of the plan: latent, mode, strength, prompt_id, prompt,
    seed, file, plain (the file of the unsteered picture of the same prompt and seed). A steering of strength 0 is a row
    whose file is the unsteered one.
    """
    import polars as pl

    site = replace(site, sae=site.sae.absolute())
    rows: list[dict[str, Any]] = []
    plain: dict[tuple[str, int], Sample] = {}
    steered: dict[Steering, dict[str, Sample]] = {}
    for how, prompts in plan:
        for one in prompts:
            unsteered = plain.setdefault(
                (one.id, one.seed), Sample(one.prompt, one.seed, f"{UNSTEERED}/{len(plain)}.png")
            )
            number = unsteered.path.removeprefix(f"{UNSTEERED}/")
            path = f"{how.latent}/{how.mode}/{how.strength:+g}/{number}" if how.strength else unsteered.path
            if how.strength:
                steered.setdefault(how, {})[path] = Sample(one.prompt, one.seed, path)
            rows.append({
                "latent": how.latent, "mode": how.mode, "strength": how.strength, "prompt_id": one.id,
                "prompt": one.prompt, "seed": one.seed, "file": path, "plain": unsteered.path,
            })  # fmt: skip
    groups = [(Condition(UNSTEERED), list(plain.values()))]
    groups += [
        (Condition(f"{how.latent}/{how.mode}/{how.strength:+g}", LatentSteering(site, how)), list(samples.values()))
        for how, samples in steered.items()
    ]
    schema = {
        "latent": pl.Int64, "mode": pl.String, "strength": pl.Float64, "prompt_id": pl.String, "prompt": pl.String,
        "seed": pl.Int64, "file": pl.String, "plain": pl.String,
    }  # fmt: skip
    return groups, pl.DataFrame(rows, schema=schema)
