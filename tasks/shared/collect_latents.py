"""What UNet blocks compute while they denoise, row by row, for training autoencoders on."""

from pathlib import Path
from typing import Annotated, Literal

from steerwright.activations.denoiser import collect_shard, commit_collection
from steerwright.activations.estimate import refuse_what_does_not_fit
from steerwright.activations.shard_plan import collected_prompts, parse_collection, plan_collection
from steerwright.dag import Dep, Out, Param, code_digest, map_shards, previous_output
from steerwright.models.load import load_once
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts


def collect_latents(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    hookpoints: Annotated[list[str], Param()],
    branches: Annotated[list[Literal["cond", "uncond"]], Param()],
    steps: Annotated[list[int] | None, Param()],
    tokens: Annotated[int | None, Param()],
    token_seed: Annotated[int, Param()],
    splits: Annotated[list[str], Param()],
    guidance: Annotated[float | None, Param()],
    batch_size: Annotated[int, Param()],
    prompts_per_shard: Annotated[int, Param()],
    rows: Annotated[Path, Out("rows", resume=True)],
) -> None:
    """Run every prompt as far as its rows need, and keep them; only shards that are not there yet."""
    spec, identity = read_model(model)
    loaded = load_once(spec, identity.digest)
    collection = parse_collection({
        "hookpoints": hookpoints, "branches": branches, "steps": steps, "tokens": tokens, "token_seed": token_seed,
        "splits": splits, "guidance": guidance, "batch_size": batch_size, "prompts_per_shard": prompts_per_shard,
    })  # fmt: skip
    asked = collected_prompts(read_concept_prompts(prompts))
    jobs = plan_collection(loaded, asked, collection, rows, earlier=previous_output("rows"), code=code_digest())
    refuse_what_does_not_fit(loaded, jobs)
    map_shards(collect_shard, jobs, "shards")
    commit_collection(jobs)
