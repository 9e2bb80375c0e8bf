"""Directions from activations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from seasons.label_set import SEASONS_WORLD
from steerwright.activations.store.reader import open_store
from steerwright.activations.token_policy import PromptActivations, TokenPolicy
from steerwright.dag import Dep, Out, Param
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.select import read_model
from steerwright.scoring.target import read_target
from steerwright.vectors.estimators.registry import EstimatorName
from steerwright.vectors.fit import fit_vectors
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.mixing import mix
from steerwright.vectors.steering_vectors import layer_number


def steering_vectors(
    model: Annotated[Path, Dep()],
    activations: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    target: Annotated[Path, Dep()],
    estimator: Annotated[EstimatorName, Param()],
    tokens: Annotated[TokenPolicy, Param()],
    vectors: Annotated[Path, Out("vectors.safetensors")],
    norms: Annotated[
        Path,
        Out("norms.json", kind="plots", template="lines", x="layer", y="norm", title="Activation difference by layer"),
    ],
) -> None:
    """Fit one steering vector for every hookpoint; of several concepts, their sum."""
    _, identity = read_model(model)
    store = open_store(activations)
    rows = json.loads(pairs.read_text())
    wanted = read_target(target, SEASONS_WORLD)

    def by_hookpoint(ids: list[Any]) -> Iterator[tuple[Hookpoint, PromptActivations, PromptActivations]]:
        for hookpoint in store.hookpoints:
            sides = [store.prompts(hookpoint, [f"{key}:{side}" for key in ids]) for side in ("positive", "negative")]
            positive, negative = (PromptActivations(side.values.float(), side.types) for side in sides)
            yield hookpoint, positive, negative

    each = {
        name: fit_vectors(
            by_hookpoint([row["id"] for row in rows if row.get("concept", name) == name]),
            concept=name, model=identity, estimator=estimator, token_policy=tokens,
        )
        for name in wanted.concepts
    }  # fmt: skip
    weights = {name: one.weight for name, one in wanted.concepts.items()}
    # Several at once: one vector, their weighted sum, each as long as its activations' difference is.
    found = mix(each, weights) if len(each) > 1 else each[wanted.name]
    save_vectors(found, vectors)
    lengths = [
        {"layer": layer_number(slot.hookpoint), "tokens": slot.tokens, "norm": direction.norm.double().mean().item(),
         "panel": slot.hookpoint.path.partition(".")[0], "series": slot.tokens}
        for slot, direction in found.directions.items()
    ]  # fmt: skip
    norms.write_text(json.dumps(lengths, indent=1) + "\n")
