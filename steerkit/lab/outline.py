"""What the page says of its language model, which for the embedded one is known before it is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steerkit.models.fingerprint import Fingerprint, fingerprint

if TYPE_CHECKING:
    from steerkit.models.language.load import LanguageModel
    from steerkit.models.language.spec import LanguageSpec


@dataclass(frozen=True, slots=True)
class Outline:
    """A language model's name, how many layers it has, values per token of its residual stream, and its identity."""

    name: str
    layers: int
    width: int
    fingerprint: Fingerprint

    @classmethod
    def of(cls, model: LanguageModel) -> Outline:
        """That of a model that is there."""
        return cls(model.spec.name, model.layers, model.width, model.fingerprint)

    @classmethod
    def of_embedded(cls, spec: LanguageSpec) -> Outline | None:
        """That of the project's own model by its files alone, in milliseconds; None where these do not say it."""
        try:
            config = json.loads(Path(spec.source, "config.json").read_text(encoding="utf-8"))
            return cls(spec.name, int(config["num_hidden_layers"]), int(config["hidden_size"]), fingerprint(spec))
        except (OSError, ValueError, KeyError, TypeError):
            return None
