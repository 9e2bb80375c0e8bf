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

_USUAL = {"StableDiffusionXLPipeline": (30, 5.0)}


def select_model(name: str, models: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    """The spec of `name`: its entry in `models`, else a folder that `save_pretrained` wrote.

    A folder runs in float32 with the usual settings of its pipeline class: 50 steps and guidance 7.5, or for
    Stable Diffusion XL 30 and 5. Others, such as the distilled Turbo models, need an entry in `models`. Raises
    UserError with near matches for a name that is neither, and UserErrors for a bad entry.
    """
    if name in models:
        try:
            return ModelSpec(name=name, **models[name])
        except ValidationError as error:
            problems = [f"models.{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise UserErrors("params.yaml: this model cannot be used:", problems) from None
    folder = Path(name)
    if (folder / "model_index.json").is_file():
        steps, guidance = _USUAL.get(_class_name(folder), (50, 7.5))
        return ModelSpec(
            name=folder.resolve().name, source=str(folder), dtype="float32", steps=steps, guidance=guidance
        )
    near = difflib.get_close_matches(name, models, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(models) or 'none'}."
    raise UserError(f"params.yaml has no model {name!r}, and it is no folder with a model_index.json; {hint}")


def _class_name(folder: Path) -> str:
    """What model_index.json calls the pipeline; "" where it does not say so, which loading complains about."""
    try:
        content = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except ValueError:
        return ""
    return str(content.get("_class_name", "")) if isinstance(content, dict) else ""


def read_model(path: Path) -> tuple[ModelSpec, Fingerprint]:
    """Spec and identity that the fingerprint stage wrote."""
    content = json.loads(path.read_text())
    return ModelSpec(**content["spec"]), Fingerprint(**content["fingerprint"])
