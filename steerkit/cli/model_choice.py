"""The model that `--model NAME|FOLDER` means, inside a project or outside of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from steerkit.errors import UserError

if TYPE_CHECKING:
    from steerkit.models.spec import ModelSpec


def choose_model(name: str | None) -> ModelSpec:
    """The spec of an entry of params.yaml, or of a folder; without a name the project's own model.

    Folders of params.yaml are relative to the project; here they come out relative to the working directory.
    Raises UserError for a name that is neither, and outside of a project for everything but a folder.
    """
    from steerkit.dag.params import load_params
    from steerkit.dag.project import find_root
    from steerkit.models.hub import EMBEDDED
    from steerkit.models.select import select_model

    try:
        root = find_root()
    except UserError:
        if name is None or not (Path(name) / "model_index.json").is_file():
            found = "no --model is given" if name is None else f"{name} is no folder with a model_index.json"
            raise UserError(
                f"This is outside of a steerkit project, and {found}. The installed package holds no models: give "
                "--model FOLDER, a pipeline that save_pretrained wrote, or work inside a checkout."
            ) from None
        return select_model(name, {})
    params = load_params(root)
    models = params.get("models", {})
    spec = select_model(name or params.get("model", EMBEDDED), models)
    inside = root / spec.source
    if spec.name in models and inside.is_dir():
        # Relative, because the source is written into files that others read.
        return spec.model_copy(update={"source": os.path.relpath(inside)})
    return spec
