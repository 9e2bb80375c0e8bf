"""Answers to the test prompts under every condition, greedy and sampled."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.language import (
    LanguageTools,
    Removal,
    all_vectors,
    concept_vectors,
    conditions,
    plan_answers,
    write_answers_shard,
)
from steerwright.models.language.spec import read_language_model
from steerwright.scoring.language.fluency import Decoding
from steerwright.steering.language.generate import Sampling
from steerwright.steering.language.sweep import SteeringWay


def language_texts(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    removals: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    chosen_mixes: Annotated[Path, Dep()],
    sampling: Annotated[dict[str, Any], Param("/language.sampling")],
    steering: Annotated[dict[str, Any], Param("/language.steering")],
    decodings: Annotated[list[Decoding], Param()],
    seeds: Annotated[list[int], Param()],
    removal: Annotated[Removal, Param()],
    random_direction_seed: Annotated[int, Param()],
    work: Annotated[Path, Out("written", resume=True)],
    texts: Annotated[Path, Out("texts.parquet")],
) -> None:
    """Write texts unsteered, steered, by a random direction, asked in words, with the concept removed, and mixed."""
    spec, identity = read_language_model(model)
    tools = LanguageTools.here(spec, identity.digest)
    mixes = json.loads(chosen_mixes.read_text())
    instructions = {name: concept["instruction"] for name, concept in json.loads(pairs.read_text()).items()}
    planned = conditions(
        all_vectors(vectors, identity, list(mixes)), instructions, json.loads(chosen.read_text()), mixes,
        SteeringWay(**steering), removal, concept_vectors(removals, identity), random_direction_seed,
    )  # fmt: skip
    test = list(pl.read_parquet(prompts).filter(split="test").select("id", "prompt").iter_rows())
    shards = plan_answers(tools, work, planned, test, seeds, Sampling(**sampling), decodings)
    map_shards(write_answers_shard, shards, "batches", processes=tools.processes)
    pl.concat([pl.read_parquet(shard.file) for shard in shards]).write_parquet(texts)
