"""Answers to the test prompts under every condition, greedy and sampled."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerkit.activations.whole_file import whole
from steerkit.dag import Dep, Out, Param, progress
from steerkit.models.language.generate import Sampling, complete
from steerkit.models.language.load import load_language_model
from steerkit.models.language.select import read_language_model
from steerkit.scoring.language.fluency import costs, under
from steerkit.scoring.language.text_conditions import UNDER_GIVEN, Removal, all_vectors, conditions
from steerkit.scoring.language.text_table import Decoding, text_table
from steerkit.steering.language_sweep import ROWS, SteeringWay, asked_with_seeds


def language_texts(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
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
    loaded = load_language_model(spec, identity.digest)
    mixes = json.loads(chosen_mixes.read_text())
    instructions = {name: concept["instruction"] for name, concept in json.loads(pairs.read_text()).items()}
    planned = conditions(
        all_vectors(vectors, identity, list(mixes)), instructions, json.loads(chosen.read_text()), mixes,
        SteeringWay(**steering), removal, random_direction_seed,
    )  # fmt: skip
    test = list(pl.read_parquet(prompts).filter(split="test").select("id", "prompt").iter_rows())
    work.mkdir(parents=True, exist_ok=True)
    files = []
    jobs = list(product(decodings, planned))
    for done, (decoding, condition) in enumerate(jobs):
        progress(done, len(jobs), "conditions")
        files.append(work / f"{done}.parquet")
        if files[-1].exists():
            continue
        drawn = Sampling(**sampling) if decoding == "sampled" else replace(Sampling(**sampling), temperature=0.0)
        # The likeliest tokens are the same for every seed.
        asked = asked_with_seeds(test, seeds if decoding == "sampled" else seeds[:1])
        rows = [row for row, _ in asked]
        written = complete(
            loaded, [condition.given(prompt) for _, prompt in rows], [seed for _, seed in asked], drawn,
            condition.edits, batch_size=ROWS,
        )  # fmt: skip
        tables = []
        for name in condition.as_:
            plain = None if name in UNDER_GIVEN else under(loaded, written, [prompt for _, prompt in rows])
            spent = costs(loaded, written, condition.edits, plain)
            common = {"condition": name, "concept": condition.concept, "layer": condition.layer,
                      "strength": condition.strength, "decoding": decoding}  # fmt: skip
            tables.append(text_table(written, rows, spent, common))
        whole(files[-1], pl.concat(tables).write_parquet)
    progress(len(jobs), len(jobs), "conditions")
    pl.concat([pl.read_parquet(file) for file in files]).write_parquet(texts)
