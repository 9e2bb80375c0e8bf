"""Answers to the tuning prompts over layers and strengths, of every concept and mix."""

from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.language import LanguageTools, SweepShard, all_vectors, write_sweep_shard
from steerwright.models.language.spec import read_language_model
from steerwright.steering.language.generate import Sampling
from steerwright.steering.language.sweep import SteeringWay, sweep_layers


def language_sweep(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    sampling: Annotated[dict[str, Any], Param("/language.sampling")],
    steering: Annotated[dict[str, Any], Param("/language.steering")],
    mixes: Annotated[list[str], Param("/language.mixes")],
    layers: Annotated[list[int] | None, Param()],
    strengths: Annotated[list[float], Param()],
    mix_strengths: Annotated[list[float], Param()],
    seeds: Annotated[list[int], Param()],
    work: Annotated[Path, Out("tried", resume=True)],
    texts: Annotated[Path, Out("texts.parquet")],
) -> None:
    """Write texts at every layer and strength of every concept, each layer steered by its own vector."""
    spec, identity = read_language_model(model)
    tools = LanguageTools.here(spec, identity.digest)
    tuning = tuple(pl.read_parquet(prompts).filter(split="tuning").select("id", "prompt").iter_rows())
    plain = SweepShard(
        tools, work.absolute(), tuning, tuple(seeds), Sampling(**sampling), SteeringWay(**steering)
    )  # fmt: skip
    shards = [plain]
    for number, (name, own) in enumerate(all_vectors(vectors, identity, mixes).items()):
        swept = sweep_layers(own, layers)
        if name in mixes:
            shards.append(plain.steered(number, "mix", name, own, swept, mix_strengths))
        else:
            shards.append(plain.steered(number, "steered", name, own, swept, strengths))
    map_shards(write_sweep_shard, shards, "concepts", processes=tools.processes)
    pl.concat([pl.read_parquet(file) for shard in shards for file in shard.files]).write_parquet(texts)
