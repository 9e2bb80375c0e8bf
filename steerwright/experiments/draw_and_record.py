"""Shards of a store together with the pictures that their rows were taken from, all of one run of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from steerwright.activations.denoiser import collect_pictures, collect_shard, shard_model
from steerwright.activations.shard_plan import CollectedPrompt, ShardJob
from steerwright.activations.store.rows import Rows
from steerwright.files import link_or_copy, save_picture
from steerwright.images import picture_name
from steerwright.models.load import LoadedModel, same_threads
from steerwright.prompts.concept_table import hash_bits


class PictureShard(BaseModel):
    """The rows of a shard, and the folder where the pictures of its prompts go; for any process.

    `held` says where pictures of an earlier version of the folder lie, by file name; they are linked if the earlier
    shard can be kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: ShardJob
    pictures: Path
    held: dict[str, Path] = {}

    @property
    def name(self) -> str:
        return self.rows.name

    @property
    def missing(self) -> list[CollectedPrompt]:
        """What has no picture yet."""
        return [one for one in self.rows.prompts if not (self.pictures / picture_name(one.id)).is_file()]

    def is_written(self) -> bool:
        """Whether rows and pictures were finished before."""
        return self.rows.is_written() and not self.missing


def repeated(prompts: Sequence[CollectedPrompt], repetitions: int) -> list[CollectedPrompt]:
    """Every prompt `repetitions` times, one after the other, with ids `ID-0`, `ID-1` ... and seeds that never collide.

    The first keeps the prompt's own seed; the others' are made from the seed and the number, 53 bits of a hash, and are
    the same however many there are. ValueError if two were equal.
    """
    made = [
        one.model_copy(
            update={
                "id": f"{one.id}-{number}",
                "seed": one.seed if number == 0 else hash_bits(f"{one.seed}/{number}", 53),
            }
        )
        for one in prompts
        for number in range(repetitions)
    ]
    if len({one.seed for one in made}) != len(made):
        raise ValueError("two pictures have the same seed; give the prompts another seed to begin with")
    return made


def plan_pictures(jobs: Sequence[ShardJob], pictures: Path, earlier: Mapping[str, Path]) -> list[PictureShard]:
    """The jobs of `plan_collection`, each with its pictures; `earlier`: files of an earlier version of the folder."""
    pictures.mkdir(parents=True, exist_ok=True)
    shards = []
    for job in jobs:
        names = [picture_name(one.id) for one in job.prompts]
        held = {name: earlier[name].absolute() for name in names if name in earlier} if job.held is not None else {}
        shards.append(PictureShard(rows=job, pictures=pictures.absolute(), held=held))
    return shards


def draw_shard(shard: PictureShard) -> Literal["kept", "collected"]:
    """Make what is missing of a shard's rows and pictures, in one run where both are. As `collect_shard`."""
    for name, source in shard.held.items():
        if source.is_file() and not (shard.pictures / name).is_file():
            link_or_copy(source, shard.pictures / name)
    job = shard.rows
    if not shard.missing:
        return collect_shard(job)
    if collect_shard(job, lambda model, job, take: _draw(model, job, take, shard.pictures)) == "kept":
        # Its rows were there without some of its pictures.
        with same_threads(job.threads):
            _draw(shard_model(job), job, lambda _: None, shard.pictures)
    return "collected"


def commit_pictures(shards: Sequence[PictureShard]) -> None:
    """Take away what is no picture of these shards, which are all of a folder's."""
    if not shards:
        raise ValueError("there is no shard to commit")
    wanted = {picture_name(one.id) for shard in shards for one in shard.rows.prompts}
    for path in shards[0].pictures.iterdir():
        if path.name not in wanted:
            path.unlink()


def _draw(model: LoadedModel, job: ShardJob, take: Callable[[Rows], None], folder: Path) -> None:
    for batch, images in collect_pictures(model, job.prompts, job.collection, take):
        for one, image in zip(job.prompts[batch.start : batch.stop], images, strict=True):
            save_picture(image, folder / picture_name(one.id))
