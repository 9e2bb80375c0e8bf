"""Which language model a run steers: everything downstream depends on this small file instead of on the weights."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

from steerwright.dag import Dep, Out, Param
from steerwright.models.language.load import load_or_fall_back
from steerwright.models.language.spec import select_language_model

log = logging.getLogger(__name__)


def language_model(
    name: Annotated[str, Param("/language.model")],
    models: Annotated[dict[str, Any], Param("/models")],
    embedded: Annotated[Path, Dep()],  # noqa: ARG001  # not read by name, but a change of the shipped weights counts
    model: Annotated[Path, Out("model.json")],
) -> None:
    """Load the model to steer, or what its entry falls back to where memory does not suffice, and identify it."""
    # Loaded here, so that all stages after this one take the same: those that fell back and those that did not.
    found = load_or_fall_back(select_language_model(name, models), models, log.warning)
    content = {
        "spec": found.spec.model_dump(),
        "dtype": str(found.dtype).removeprefix("torch."),
        # Versions of libraries are told to each stage by the environment, and here they would count for all.
        "fingerprint": found.fingerprint.model_dump(exclude={"libraries"}),
    }
    model.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
