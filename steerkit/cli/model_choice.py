"""The model that `--model NAME|FOLDER` means, inside a project or outside of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerkit.errors import UserError

if TYPE_CHECKING:
    from steerkit.models.language.spec import LanguageSpec
    from steerkit.models.spec import ModelSpec


def choose_model(name: str | None) -> ModelSpec:
    """The spec of an entry of params.yaml, or of a folder; without a name the project's own model.

    Folders of params.yaml are relative to the project; here they come out relative to the working directory.
    Raises UserError for a name that is neither, and outside of a project for everything but a folder.
    """
    from steerkit.models.hub import EMBEDDED
    from steerkit.models.select import select_model

    project = _project()
    if project is None:
        if name is None or not (Path(name) / "model_index.json").is_file():
            raise _outside(name, "model_index.json", "a pipeline")
        return select_model(name, {})
    root, params = project
    models = params.get("models", {})
    spec = select_model(name or params.get("model", EMBEDDED), models)
    return spec.model_copy(update=_from_here(root, spec.source, named=spec.name in models))


def choose_language_model(name: str | None) -> tuple[LanguageSpec, Mapping[str, Mapping[str, Any]]]:
    """As `choose_model`, of a language model, without a name the embedded one; with what it may fall back to."""
    from steerkit.models.hub import EMBEDDED_LANGUAGE
    from steerkit.models.language.select import is_language_folder, select_language_model

    project = _project()
    if project is None:
        if name is None or not is_language_folder(Path(name)):
            raise _outside(name, "config.json of a language model", "a model")
        return select_language_model(name, {}), {}
    root, params = project
    entries = params.get("models", {})
    models = {
        known: {**entry, **_from_here(root, str(entry.get("source", "")), named=True)}
        for known, entry in entries.items()
    }
    return select_language_model(name or EMBEDDED_LANGUAGE, models), models


def is_language(name: str | None) -> bool:
    """Whether the model of this name, or the project's own, writes texts rather than makes pictures.

    UserError, as of `choose_model`, for a name that is no model.
    """
    from steerkit.models.language.select import is_language_folder

    project = _project()
    params = {} if project is None else project[1]
    entry = params.get("models", {}).get(name or params.get("model"))
    if entry is not None:
        return bool(entry.get("family") == "language")
    if name is not None and is_language_folder(Path(name)):
        return True
    choose_model(name)
    return False


def _project() -> tuple[Path, dict[str, Any]] | None:
    """Root and params.yaml of the project around the working directory; None outside of one."""
    from steerkit.dag.params import load_params
    from steerkit.dag.project import find_root

    try:
        root = find_root()
    except UserError:
        return None
    return root, load_params(root)


def _from_here(root: Path, source: str, *, named: bool) -> dict[str, str]:
    inside = root / source
    if source and named and inside.is_dir():
        # Relative, because the source is written into files that others read.
        return {"source": os.path.relpath(inside)}
    return {}


def _outside(name: str | None, index: str, kind: str) -> UserError:
    found = "no --model is given" if name is None else f"{name} is no folder with a {index}"
    return UserError(
        f"This is outside of a steerkit project, and {found}. The installed package holds no models: give "
        f"--model FOLDER, {kind} that save_pretrained wrote, or work inside a checkout."
    )
