"""Pictures to look at latents in, and what the model computed at one step while it made them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steerwright.activations.denoiser import commit_collection
from steerwright.activations.estimate import refuse_what_does_not_fit
from steerwright.activations.shard_plan import CollectedPrompt, collected_prompts, parse_collection, plan_collection
from steerwright.dag import Dep, Out, Param, code_digest, map_shards, previous_output, progress
from steerwright.experiments.draw_and_record import commit_pictures, draw_shard, plan_pictures, repeated
from steerwright.features.labels import ASKED
from steerwright.images import load_images, picture_name
from steerwright.models.load import load_once
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import COLUMNS, read_concept_prompts
from steerwright.scoring.labels import LabelScorer

if TYPE_CHECKING:
    import polars as pl


def make_pictures(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    judge: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    labels: Annotated[str, Param("/scorers.labels")],
    hookpoints: Annotated[list[str], Param()],
    step: Annotated[int, Param()],
    split: Annotated[str, Param()],
    repetitions: Annotated[int, Param()],
    batch_size: Annotated[int, Param()],
    prompts_per_shard: Annotated[int, Param()],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    rows: Annotated[Path, Out("rows", resume=True)],
    images: Annotated[Path, Out("images.parquet")],
) -> None:
    """Make every picture once, keep the rows of all its tokens at one step, and read its labels off it."""
    spec, identity = read_model(model)
    loaded = load_once(spec, identity.digest)
    collection = parse_collection({
        "hookpoints": hookpoints, "steps": [step], "splits": [split], "batch_size": batch_size,
        "prompts_per_shard": prompts_per_shard * repetitions,
    }, "flux.images")  # fmt: skip
    table = read_concept_prompts(prompts).filter(split=split)
    asked = repeated(collected_prompts(table), repetitions)
    jobs = plan_collection(loaded, asked, collection, rows, earlier=previous_output("rows"), code=code_digest())
    refuse_what_does_not_fit(loaded, jobs)
    shards = plan_pictures(jobs, pictures, previous_output("pictures"))
    map_shards(draw_shard, shards, "shards")
    commit_collection(jobs)
    commit_pictures(shards)
    # The classifier knows the pictures of the seasons world alone; for others what prompts ask for is all there is.
    classifier = None if labels == "clip" else LabelScorer.load(labels)
    image_table(
        asked, table, repetitions, pictures, classifier, lambda done, total: progress(done, total, "labelled")
    ).write_parquet(images)


# The table of the images whose latents are looked at: what was asked for, and what a judge reads off each picture.

_AT_ONCE = 256


def image_table(
    images: Sequence[CollectedPrompt], prompts: pl.DataFrame, repetitions: int, pictures: Path,
    classifier: LabelScorer | None, progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """One row per image, in order: image (0 to I - 1), id, prompt_id, repetition, seed, prompt, file, height, width.

    `images` are every prompt `repetitions` times (`repeated`), with their files in `pictures`. Then `asked_LABEL`: what
    the prompt says, null where it leaves it unsaid, for each axis of the table of `prompts`; and, with a `classifier`,
    `season`, `object` ...: what the picture shows.
    """
    import polars as pl

    axes = [name for name in prompts.columns if name not in COLUMNS]
    asked = {row["id"]: row for row in prompts.to_dicts()}
    files = [picture_name(one.id) for one in images]
    sizes: list[tuple[int, int]] = []
    found: dict[str, list[str]] = {}
    for start in range(0, len(files), _AT_ONCE):
        pixels = load_images([pictures / name for name in files[start : start + _AT_ONCE]])
        sizes += [pixels.shape[1:3]] * len(pixels)
        if classifier is not None:
            for label, names in classifier.predict(pixels).names.items():
                found.setdefault(label, []).extend(names)
        if progress is not None:
            progress(len(sizes), len(files))
    prompt_ids = [one.id.rpartition("-")[0] for one in images]
    return pl.DataFrame(
        {
            "image": range(len(images)),
            "id": [one.id for one in images],
            "prompt_id": prompt_ids,
            "repetition": [number % repetitions for number in range(len(images))],
            "seed": [one.seed for one in images],
            "prompt": [one.prompt for one in images],
            "file": files,
            "height": [height for height, _ in sizes],
            "width": [width for _, width in sizes],
            **{
                ASKED + axis: pl.Series([asked[id_][axis] for id_ in prompt_ids], dtype=pl.String, strict=False)
                for axis in axes
            },
            **found,
        }
    )
