"""From the name of a model to its spec: an entry of params.yaml's `models`, or a local folder."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from steerwright.errors import UserError, UserErrors, problems_at
from steerwright.models.fingerprint import Fingerprint, library_versions
from steerwright.models.spec import ModelSpec

# Steps and guidance that a folder of this pipeline class is run with.
_USUAL = {"StableDiffusionXLPipeline": (30, 5.0), "FluxPipeline": (20, 3.5)}
_SCHNELL = (4, 0.0)


def select_model(name: str, models: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    """The spec of `name`: its entry in `models`, else a folder that `save_pretrained` wrote.

    A folder runs in float32 with the usual settings of its pipeline class: 50 steps and guidance 7.5, for Stable
    Diffusion XL 30 and 5, for FLUX 20 and 3.5, and 4 and none if it takes no guidance (schnell). Others, such as the
    distilled Turbo models, need an entry in `models`. Raises
    UserError with near matches for a name that is neither, for a language model, and UserErrors for a bad entry.
    """
    if name in models:
        if models[name].get("family") == "language":
            raise UserError(f"{name!r} is a language model, but pictures are asked for; name a model that makes them.")
        try:
            return ModelSpec(name=name, **models[name])
        except ValidationError as error:
            raise UserErrors("params.yaml: this model cannot be used:", problems_at(error, "models", name)) from None
    folder = Path(name)
    if (folder / "model_index.json").is_file():
        found = _class_name(folder)
        steps, guidance = _USUAL.get(found, (50, 7.5))
        flux = found == "FluxPipeline"
        if flux and not _read_json(folder / "transformer" / "config.json").get("guidance_embeds", False):
            steps, guidance = _SCHNELL
        return ModelSpec(
            name=folder.resolve().name, family="flux" if flux else "sd", source=str(folder), dtype="float32",
            steps=steps, guidance=guidance,
        )  # fmt: skip
    near = difflib.get_close_matches(name, models, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(models) or 'none'}."
    raise UserError(f"params.yaml has no model {name!r}, and it is no folder with a model_index.json; {hint}")


def _class_name(folder: Path) -> str:
    """What model_index.json calls the pipeline; "" where it does not say so, which loading complains about."""
    return str(_read_json(folder / "model_index.json").get("_class_name", ""))


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_model(path: Path) -> tuple[ModelSpec, Fingerprint]:
    """Spec and identity that the fingerprint stage wrote."""
    content = json.loads(path.read_text())
    return ModelSpec(**content["spec"]), Fingerprint(**{"libraries": library_versions(), **content["fingerprint"]})
