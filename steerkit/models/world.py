"""Whether a model is of the seasons world: only then do judges that learnt from that world know what it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from steerkit.models.language.spec import LanguageSpec
from steerkit.models.spec import ModelSpec

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
