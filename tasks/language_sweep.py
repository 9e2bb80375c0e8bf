"""Answers to the tuning prompts over layers and strengths, of every concept and mix."""

from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch

from steerkit.activations.whole_file import whole
from steerkit.dag import Dep, Out, Param, progress
from steerkit.models.language.generate import Sampling, complete
from steerkit.models.language.load import load_language_model
from steerkit.models.language.select import read_language_model
from steerkit.scoring.language.fluency import costs
from steerkit.scoring.language.text_conditions import all_vectors
from steerkit.scoring.language.text_table import text_table
from steerkit.steering.language_sweep import SteeringWay, asked_with_seeds, sweep_layer, sweep_layers


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
    loaded = load_language_model(spec, identity.digest)
    way, drawn = SteeringWay(**steering), Sampling(**sampling)
    tuning = list(pl.read_parquet(prompts).filter(split="tuning").select("id", "prompt").iter_rows())
    seeded = asked_with_seeds(tuning, seeds)
    asked = [row for row, _ in seeded]
    given, noise = [prompt for _, prompt in asked], [seed for _, seed in seeded]
    known = all_vectors(vectors, identity, mixes)
    jobs = [(name, layer) for name, own in known.items() for layer in sweep_layers(own, layers)]
    work.mkdir(parents=True, exist_ok=True)
    files = [work / "unsteered.parquet"]
    if not files[0].exists():
        plain = complete(loaded, given, noise, drawn, batch_size=len(given))
        common: dict[str, object] = {"condition": "unsteered", "decoding": "sampled"}
        whole(files[0], text_table(plain, asked, costs(loaded, plain), common).write_parquet)
    for done, (name, layer) in enumerate(jobs):
        progress(done, len(jobs), "layers")
        files.append(work / f"{done}.parquet")
        if files[-1].exists():
            continue
        tried = mix_strengths if name in mixes else strengths
        by_strength = sweep_layer(loaded, known[name], layer, tried, given, noise, drawn, way)
        written = [one for some in by_strength.values() for one in some]
        each = torch.tensor([strength for strength, some in by_strength.items() for _ in some])
        spent = costs(loaded, written, way.add(known[name], [layer], each))
        common = {"condition": "mix" if name in mixes else "steered", "concept": name, "layer": layer,
                  "decoding": "sampled"}  # fmt: skip
        table = text_table(written, asked * len(tried), spent, common)
        # Double precision: a strength is found again by its number.
        exact = [strength for strength, some in by_strength.items() for _ in some]
        whole(files[-1], table.with_columns(strength=pl.Series(exact, dtype=pl.Float64)).write_parquet)
    progress(len(jobs), len(jobs), "layers")
    pl.concat([pl.read_parquet(file) for file in files]).write_parquet(texts)
