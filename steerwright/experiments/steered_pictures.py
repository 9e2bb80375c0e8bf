"""Pictures steered by one latent at a time, in shards that any process can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from steerwright.experiments.draw import Frame, ModelTools, draw, in_shards
from steerwright.files import save_picture
from steerwright.models.threads import same_threads
from steerwright.sae.sae_file import load_sae
from steerwright.steering.latents.direction import Mode, latent_steering

if TYPE_CHECKING:
    import polars as pl

UNSTEERED = "unsteered"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ask(_Frozen):
    """What is drawn: a prompt from a seed. `id` says which prompt it is."""

    id: str
    prompt: str
    seed: int


class Steering(_Frozen):
    """How a picture is steered; strength 0 is the unsteered one."""

    latent: int
    mode: Mode
    strength: float


class SteeredSite(_Frozen):
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


class SteeredJob(_Frozen):
    """Frames that are steered alike; `steering` None draws them unsteered."""

    tools: ModelTools
    site: SteeredSite
    steering: Steering | None
    folder: Path
    frames: tuple[Frame, ...]


def draw_steered(job: SteeredJob) -> Literal["kept", "drawn"]:
    """Draw the frames that are not there yet; files come whole or not at all."""
    missing = [frame for frame in job.frames if not (job.folder / frame.path).is_file()]
    if not missing:
        return "kept"
    edits = []
    if (how := job.steering) is not None:
        sae = load_sae(job.site.sae)
        edits = latent_steering(sae, how.latent, how.mode, how.strength, job.site.norm, job.site.steps)
    with same_threads(job.tools.threads):
        # All of the job's, so that a picture's batch, and so its last bit, does not depend on where a run was stopped.
        images = draw(job.tools.load(), job.frames, edits)
    for frame, image in zip(job.frames, images, strict=True):
        save_picture(image, job.folder / frame.path)
    return "drawn"


def plan_steered(
    tools: ModelTools, site: SteeredSite, plan: Sequence[tuple[Steering, Sequence[Ask]]], folder: Path
) -> tuple[list[SteeredJob], pl.DataFrame]:
    """Jobs for the pictures of `plan`, each once, and for the unsteered ones beside them; and the table of all.

    The table has one row per steered picture, in the order of the plan: latent, mode, strength, prompt_id, prompt,
    seed, file, plain (the file of the unsteered picture of the same prompt and seed). Files are relative to `folder`. A
    steering of strength 0 is a row whose file is the unsteered one.
    """
    import polars as pl

    site = site.model_copy(update={"sae": site.sae.absolute()})
    folder = folder.absolute()
    rows: list[dict[str, Any]] = []
    plain: dict[tuple[str, int], Frame] = {}
    steered: dict[Steering, dict[str, Frame]] = {}
    for how, asks in plan:
        for ask in asks:
            unsteered = plain.setdefault(
                (ask.id, ask.seed), Frame(prompt=ask.prompt, seed=ask.seed, path=f"{UNSTEERED}/{len(plain)}.png")
            )
            number = unsteered.path.removeprefix(f"{UNSTEERED}/")
            path = f"{how.latent}/{how.mode}/{how.strength:+g}/{number}" if how.strength else unsteered.path
            if how.strength:
                steered.setdefault(how, {})[path] = Frame(prompt=ask.prompt, seed=ask.seed, path=path)
            rows.append({
                "latent": how.latent, "mode": how.mode, "strength": how.strength, "prompt_id": ask.id,
                "prompt": ask.prompt, "seed": ask.seed, "file": path, "plain": unsteered.path,
            })  # fmt: skip
    groups: list[tuple[Steering | None, list[Frame]]] = [(None, list(plain.values()))]
    groups += [(how, list(frames.values())) for how, frames in steered.items()]
    jobs = [
        SteeredJob(tools=tools, site=site, steering=how, folder=folder, frames=part)
        for how, frames in groups
        for part in in_shards(frames)
    ]
    schema = {
        "latent": pl.Int64, "mode": pl.String, "strength": pl.Float64, "prompt_id": pl.String, "prompt": pl.String,
        "seed": pl.Int64, "file": pl.String, "plain": pl.String,
    }  # fmt: skip
    return jobs, pl.DataFrame(rows, schema=schema)
