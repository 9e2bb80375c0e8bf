"""Answers to the test prompts under every condition, greedy and sampled."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerkit.activations.whole_file import whole
from steerkit.dag import Dep, Out, Param, progress
from steerkit.models.language.generate import Completion, Sampling, complete
from steerkit.models.language.load import LanguageModel, load_language_model
from steerkit.models.language.select import read_language_model
from steerkit.scoring.language.fluency import costs, under
from steerkit.scoring.language.text_conditions import (
    UNDER_GIVEN,
    Condition,
    Removal,
    all_vectors,
    conditions,
    joined,
)
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
    # Several conditions are one batch, since small ones take as long, and rows do not depend on each other.
    together = max(1, ROWS // len(test))
    jobs = [
        (decoding, planned[at : at + together]) for decoding in decodings for at in range(0, len(planned), together)
    ]
    files = []
    for done, (decoding, some) in enumerate(jobs):
        progress(done, len(jobs), "batches")
        files.append(work / f"{done}.parquet")
        if files[-1].exists():
            continue
        drawn = Sampling(**sampling) if decoding == "sampled" else replace(Sampling(**sampling), temperature=0.0)
        # The likeliest tokens are the same for every seed.
        asked = asked_with_seeds(test, seeds if decoding == "sampled" else seeds[:1])
        written = complete(
            loaded, [one.given(prompt) for one in some for (_, prompt), _ in asked],
            [seed for _ in some for _, seed in asked], drawn, joined(some, len(asked)), batch_size=ROWS,
        )  # fmt: skip
        whole(files[-1], _with_costs(loaded, some, written, [row for row, _ in asked], decoding).write_parquet)
    progress(len(jobs), len(jobs), "batches")
    pl.concat([pl.read_parquet(file) for file in files]).write_parquet(texts)


def _with_costs(
    model: LanguageModel,
    some: Sequence[Condition],
    written: Sequence[Completion],
    rows: Sequence[tuple[str, str]],
    decoding: Decoding,
) -> pl.DataFrame:
    """The table of what was `written` under `some` conditions, one after the other, with what it cost."""
    tables = []
    for place, condition in enumerate(some):
        own = written[place * len(rows) : (place + 1) * len(rows)]
        for name in condition.as_:
            plain = None if name in UNDER_GIVEN else under(model, own, [prompt for _, prompt in rows])
            spent = costs(model, own, condition.edits, plain)
            common = {"condition": name, "concept": condition.concept, "layer": condition.layer,
                      "strength": condition.strength, "decoding": decoding}  # fmt: skip
            tables.append(text_table(own, list(rows), spent, common))
    return pl.concat(tables)
