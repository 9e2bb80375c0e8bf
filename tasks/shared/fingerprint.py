"""Which model a run steers: everything downstream depends on this small file instead of on the weights."""

import json
from pathlib import Path
from typing import Annotated, Any

from steerwright.dag import Dep, Out, Param
from steerwright.models.identify import fingerprint
from steerwright.models.load import default_device, download_model, running_dtype
from steerwright.models.select import select_model


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
        download_model(spec)
        identity = fingerprint(spec)
    content = {
        "spec": spec.model_dump(),
        # What it runs in here: half precision turns to float32 on a CPU.
        "dtype": str(running_dtype(spec, default_device())).removeprefix("torch."),
        # Versions of libraries are told to each stage by the environment, and here they would count for all.
        "fingerprint": identity.model_dump(exclude={"libraries"}),
    }
    model.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
