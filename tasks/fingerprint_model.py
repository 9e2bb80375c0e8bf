"""Which model a run steers: everything downstream depends on this small file instead of on the weights."""

import json
from pathlib import Path
from typing import Annotated, Any

from steerkit.dag import Dep, Out, Param
from steerkit.models.fingerprint import fingerprint
from steerkit.models.select import select_model


def fingerprint_model(
    name: Annotated[str, Param("/model")],
    models: Annotated[dict[str, Any], Param("/models")],
    embedded: Annotated[Path, Dep()],  # noqa: ARG001  # not read by name, but a change of the shipped weights counts
    model: Annotated[Path, Out("model.json")],
) -> None:
    """Identify the model to steer: its settings, its source and the digest of its weights."""
    spec = select_model(name, models)
    identity = fingerprint(spec)
    if identity.version == 1:
        # All later stages load it; here, so that its files identify it from the first run on.
        from steerkit.models.load import download_model

        download_model(spec)
        identity = fingerprint(spec)
    content = {"spec": spec.model_dump(), "fingerprint": identity.model_dump()}
    model.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
