"""From the name of a model to its spec: an entry of params.yaml's `models`, or a local folder."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from steerkit.errors import UserError, UserErrors
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.spec import ModelSpec


def select_model(name: str, models: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    """The spec of `name`: its entry in `models`, else a folder that `save_pretrained` wrote.

    A folder runs with the usual settings of its family (50 steps, guidance 7.5); for others give it an entry in
    `models`. Raises UserError with near matches for a name that is neither, and UserErrors for a bad entry.
    """
    if name in models:
        try:
            return ModelSpec(name=name, **models[name])
        except ValidationError as error:
            problems = [f"models.{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise UserErrors("params.yaml: this model cannot be used:", problems) from None
    folder = Path(name)
    if (folder / "model_index.json").is_file():
        return ModelSpec(name=folder.resolve().name, source=str(folder), dtype="float32", steps=50, guidance=7.5)
    near = difflib.get_close_matches(name, models, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(models)}."
    raise UserError(f"params.yaml has no model {name!r}, and it is no folder with a model_index.json; {hint}")


def read_model(path: Path) -> tuple[ModelSpec, Fingerprint]:
    """Spec and identity that the fingerprint stage wrote."""
    content = json.loads(path.read_text())
    return ModelSpec(**content["spec"]), Fingerprint(**content["fingerprint"])
