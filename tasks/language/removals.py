"""Directions along which a concept is taken out where the prompt asks for it."""

import json
from pathlib import Path
from typing import Annotated

from steerwright.dag import Dep, Out, Param
from steerwright.models.language.load import load_language_model
from steerwright.models.language.spec import read_language_model
from steerwright.vectors.estimators.registry import EstimatorName
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.language import removal_vectors


def language_removals(
    model: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    batch_size: Annotated[int, Param("/language.activations.batch_size")],
    estimator: Annotated[EstimatorName, Param("/language.vectors.estimator")],
    shuffles: Annotated[int, Param("/language.vectors.shuffles")],
    tokens: Annotated[str, Param()],
    vectors: Annotated[Path, Out("vectors")],
) -> None:
    """Fit one removal vector for every concept and layer, on plain answers with and without the words that ask."""
    spec, identity = read_language_model(model)
    loaded = load_language_model(spec, identity.digest)
    content = json.loads(pairs.read_text())
    vectors.mkdir(parents=True)
    fitted = removal_vectors(
        loaded, content, tokens=tokens, estimator=estimator, shuffles=shuffles, batch_size=batch_size
    )
    for name, own in fitted.items():
        save_vectors(own, vectors / f"{name}.safetensors")
