"""What the language model computes on both answers of every contrast pair."""

import json
from pathlib import Path
from typing import Annotated

from steerkit.activations.collect_residuals import AnsweredText
from steerkit.activations.collect_residuals import collect_residuals as collect
from steerkit.activations.text import Engine
from steerkit.dag import Dep, Out, Param, code_digest, previous_output, progress
from steerkit.models.language.encode import Padding, Role
from steerkit.models.language.load import load_language_model
from steerkit.models.language.select import read_language_model


def collect_residuals(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    engine: Annotated[Engine, Param()],
    role: Annotated[Role, Param()],
    padding: Annotated[Padding, Param()],
    batch_size: Annotated[int, Param()],
    shards: Annotated[int, Param()],
    activations: Annotated[Path, Out("activations", resume=True)],
) -> None:
    """Record the residual stream after every block for the positive and negative answers of all concepts."""
    spec, identity = read_language_model(model)
    loaded = load_language_model(spec, identity.digest)
    texts = {
        f"{pair['id']}:{side}": AnsweredText(pair[side], pair["prompt"])
        for concept in json.loads(pairs.read_text()).values()
        for pair in concept["pairs"]
        for side in ("positive", "negative")
    }
    collect(
        loaded,
        texts,
        activations,
        shards=shards,
        engine=engine,
        role=role,
        padding=padding,
        batch_size=batch_size,
        earlier=previous_output("activations"),
        code=code_digest(),
        progress=lambda done, total: progress(done, total, "shards"),
    )
