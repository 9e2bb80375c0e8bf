"""Directions from activations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from steerkit.activations.store import open_store
from steerkit.dag import Dep, Out, Param
from steerkit.models.hookpoint import Hookpoint
from steerkit.models.select import read_model
from steerkit.vectors.estimator import EstimatorName
from steerkit.vectors.fit import PromptActivations, fit_vectors
from steerkit.vectors.steering_vectors import layer_number
from steerkit.vectors.token_policy import TokenPolicy
from steerkit.vectors.vectors_file import save_vectors


def steering_vectors(
    model: Annotated[Path, Dep()],
    activations: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    concept: Annotated[str, Param()],
    estimator: Annotated[EstimatorName, Param()],
    tokens: Annotated[TokenPolicy, Param()],
    vectors: Annotated[Path, Out("vectors.safetensors")],
    norms: Annotated[
        Path,
        Out("norms.json", kind="plots", template="lines", x="layer", y="norm", title="Activation difference by layer"),
    ],
) -> None:
    """Fit one steering vector for every hookpoint."""
    _, identity = read_model(model)
    store = open_store(activations)
    ids = [pair["id"] for pair in json.loads(pairs.read_text())]

    def by_hookpoint() -> Iterator[tuple[Hookpoint, PromptActivations, PromptActivations]]:
        for hookpoint in store.hookpoints:
            sides = [store.prompts(hookpoint, [f"{key}:{side}" for key in ids]) for side in ("positive", "negative")]
            positive, negative = (PromptActivations(side.values.float(), side.types) for side in sides)
            yield hookpoint, positive, negative

    found = fit_vectors(by_hookpoint(), concept=concept, model=identity, estimator=estimator, token_policy=tokens)
    save_vectors(found, vectors)
    rows = [
        {"layer": layer_number(slot.hookpoint), "tokens": slot.tokens, "norm": direction.norm.double().mean().item(),
         "panel": slot.hookpoint.path.partition(".")[0], "series": slot.tokens}
        for slot, direction in found.directions.items()
    ]  # fmt: skip
    norms.write_text(json.dumps(rows, indent=1) + "\n")
