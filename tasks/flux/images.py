"""Pictures to look at latents in, and what the model computed at one step while it made them."""

from pathlib import Path
from typing import Annotated

from steerwright.activations.denoiser import commit_collection, plan_collection
from steerwright.activations.estimate import refuse_what_does_not_fit
from steerwright.activations.shard_plan import collected_prompts, parse_collection
from steerwright.dag import Dep, Out, Param, code_digest, map_shards, previous_output, progress
from steerwright.experiments.draw_and_record import commit_pictures, draw_shard, plan_pictures, repeated
from steerwright.features.image_table import image_table
from steerwright.models.load import load_once
from steerwright.models.select import read_model
from steerwright.prompts.concept_suite import read_concept_prompts
from steerwright.scoring.labels import LabelScorer


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
