"""What the language pipeline found about the built-in concepts, where it has run on this model and these pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerkit.errors import UserError
from steerkit.lab.concepts import Pair
from steerkit.models.fingerprint import Fingerprint
from steerkit.vectors.steering_vectors import SteeringVectors
from steerkit.vectors.vectors_file import load_vectors


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and how far a concept is steered, and up to which strength its texts stayed coherent there."""

    layer: int
    strength: float
    safe: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Measured:
    """The pipeline's outputs under `folder` (artifacts/language); nothing of them for another model's digest."""

    folder: Path
    fingerprint: Fingerprint

    def vectors(self, name: str, pairs: Sequence[Pair]) -> SteeringVectors | None:
        """The concept's vectors, if they were fitted on this model from exactly these pairs."""
        known = _json(self.folder / "prompts" / "pairs.json").get(name, {}).get("pairs", [])
        theirs = [(pair.get("prompt"), pair.get("positive"), pair.get("negative")) for pair in known]
        if theirs != [(pair.prompt, pair.positive, pair.negative) for pair in pairs]:
            return None
        try:
            return load_vectors(self.folder / "vectors" / "vectors" / f"{name}.safetensors", self.fingerprint)
        except UserError:
            return None

    def choices(self) -> dict[str, Choice]:
        """The chosen point of every concept; none where the strengths are in other units than the lab's."""
        model = _json(self.folder / "model" / "model.json").get("fingerprint", {})
        if model.get("digest") != self.fingerprint.digest:
            return {}
        found = {}
        for name, choice in _json(self.folder / "choice" / "chosen.json").items():
            if choice.get("units") == "relative" and math.isfinite(choice["strength"]):
                low, high = choice.get("safe") or (0.0, 0.0)
                safe = (float(low), float(high)) if high > low else None
                found[name] = Choice(int(choice["layer"]), float(choice["strength"]), safe)
        return found


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none, or half of one while the pipeline runs."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
