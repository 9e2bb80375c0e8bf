"""Judges must know the pictures or texts that they judge: those of the seasons world know no others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from steerwright.errors import UserErrors
from steerwright.models.language.spec import LanguageSpec, select_language_model
from steerwright.models.select import select_model
from steerwright.models.spec import ModelSpec

# By pipeline, the keys that name what judges, each with one that knows other pictures or texts.
_PICTURES = {"scorers.clip": "ViT-B-32/laion2b_s34b_b79k", "scorers.labels": "clip", "scorers.lpips": "alex"}
JUDGES: dict[str, dict[str, str]] = {
    "winter": _PICTURES,
    "attention": {**_PICTURES, "attention.scores.fid": "inception"},
    "latents": {**_PICTURES, "latents.scores.fid": "inception"},
    "flux": _PICTURES,
    "language": {"language.scorer": "facebook/bart-large-mnli"},
}
# What tuning counts as kept.
_KEPT = {"attention": ("attention.search.kept",), "latents": ("latents.winter.kept",)}
_SHIPPED = {"flux": "params/flux-dev.yaml or params/flux-schnell.yaml"}


def check_judges(pipeline: str, params: Mapping[str, Any], root: Path = Path()) -> None:
    """Refuse judges of the seasons world for a model that is not of it, before anything runs.

    `pipeline`: winter, attention, latents, flux, language; others have no judges of their own. `params` as in
    params.yaml, or as much of it as the pipeline's judges are named in. Raises UserErrors with the lines to set, and as
    `select_model` for a model that does not exist.
    """
    if pipeline not in JUDGES:
        return
    problems = list(_problems(pipeline, params, root))
    if not problems:
        return
    name = _model(pipeline, params)
    raise UserErrors(
        f"{name} is not a model of the seasons world, and these judges know no other {_made(pipeline)}. Set in "
        f"params.yaml (or take {_SHIPPED.get(pipeline, 'params/real-models.yaml')} by --params; for a model that was "
        f"trained on the seasons world write `world: seasons` into models.{name}):",
        problems,
    )


def _problems(pipeline: str, params: Mapping[str, Any], root: Path) -> Iterator[str]:
    name = _model(pipeline, params)
    if name is None:
        return  # nothing is steered
    models = params.get("models") or {}
    if pipeline == "language":
        found = select_language_model(str(name), models)
        entries = [found] if found.fallback is None else [found, select_language_model(found.fallback, models)]
        if all(of_seasons_world(entry, root) for entry in entries):
            return
    elif of_seasons_world(select_model(str(name), models), root):
        return
    for key, other in JUDGES[pipeline].items():
        value = _at(params, key)
        if isinstance(value, str) and is_embedded(value, root):
            yield f"{key}: {other}    # is {value}"
    if pipeline == "flux" and _at(params, "flux.truth.scenes"):
        yield f"flux.truth.scenes: 0    # is {_at(params, 'flux.truth.scenes')}: rendered scenes of the seasons world"
    for key in _KEPT.get(pipeline, ()):
        if _at(params, key) == "labels":
            yield f"{key}: prompt    # is labels, those of the seasons world; or directional"
    if pipeline == "winter":
        for section in ("winter.search", "winter.images.strategy"):
            floor = _at(params, f"{section}.fidelity_floor")
            if floor is not None:
                yield (
                    f"{section}.fidelity_floor: null    # is {floor}, of the labels of the seasons world; give "
                    "prompt_floor: 0.9 (similarity to the prompt) or directional_floor: 0.05 (directional CLIP "
                    "similarity), or both, beside it"
                )


def _model(pipeline: str, params: Mapping[str, Any]) -> Any:
    own = params.get(pipeline)
    return own["model"] if isinstance(own, Mapping) and "model" in own else params.get("model")


def _made(pipeline: str) -> str:
    return "texts" if pipeline == "language" else "pictures"


def _at(params: Mapping[str, Any], key: str) -> Any:
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


# Whether a model is of the seasons world: only then do judges that learnt from that world know what it makes.

World = Literal["seasons", "other"]
MODELS = "models"
EMBEDDED = {"sd": "seasons-sd", "flux": "seasons-flux", "language": "seasons-lm"}
_NETWORK = {"sd": "unet/config.json", "flux": "transformer/config.json", "language": "config.json"}
_VOCABULARY = {"sd": "tokenizer", "flux": "tokenizer", "language": "."}
# What a config says of files and precision, not of the network.
_ASIDE = ("transformers_version", "dtype", "torch_dtype")


def of_seasons_world(spec: ModelSpec | LanguageSpec, root: Path = Path()) -> bool:
    """What the model's entry says (`world: seasons` or `other`), else whether it is built as the embedded model is.

    That is: a folder whose network has the embedded one's configuration and whose tokenizer has its vocabulary, such
    as the embedded model itself, a copy of it, or what it was trained further into. `root` is the project's folder.
    """
    if spec.world is not None:
        return spec.world == "seasons"
    folder, embedded = root / spec.source, root / MODELS / EMBEDDED[spec.family]
    return _built(spec.family, folder) == _built(spec.family, embedded) != (None, None)


def is_embedded(source: str, root: Path = Path()) -> bool:
    """Whether a scorer is one of the embedded folders, `models/seasons-*`, by whatever path or link."""
    folder = (root / source).resolve()
    return any(folder == one.resolve() for one in (root / MODELS).glob("seasons-*"))


def _built(family: str, folder: Path) -> tuple[dict[str, Any] | None, Any]:
    """Configuration of the network and vocabulary; None where there is none."""
    config = _read(folder / _NETWORK[family])
    if config is not None:
        config = {key: value for key, value in config.items() if not key.startswith("_") and key not in _ASIDE}
    vocabulary = (_read(folder / _VOCABULARY[family] / "tokenizer.json") or {}).get("model", {}).get("vocab")
    return config, vocabulary


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
