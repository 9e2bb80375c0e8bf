"""What the language pipeline found about the built-in concepts, where it has run on this model and these pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint, same_digest
from steerkit.vectors.steering_vectors import SteeringVectors
from steerkit.vectors.vectors_file import load_vectors

if TYPE_CHECKING:
    from steerkit.prompts.concept_library import LibraryConcept


@dataclass(frozen=True, slots=True)
class Choice:
    """Where and how far a concept is steered, and up to which strength its texts stayed coherent there."""

    layer: int
    strength: float
    safe: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Measured:
    """The pipeline's outputs under `folder`, as in artifacts/language; nothing of them for another model's digest."""

    folder: Path
    fingerprint: Fingerprint

    def vectors(self, library: Mapping[str, LibraryConcept]) -> tuple[dict[str, SteeringVectors], ...]:
        """The vectors of those concepts that were fitted on this model from exactly these pairs and instructions.

        First those by which concepts are added, then those along which they are taken out.
        """
        known = _json(self.folder / "prompts" / "pairs.json")
        found: tuple[dict[str, SteeringVectors], ...] = ({}, {})
        for name, concept in library.items():
            theirs = known.get(name, {})
            pairs = [
                {key: one.get(key) for key in ("prompt", "positive", "negative")} for one in theirs.get("pairs", [])
            ]
            ours = [pair.model_dump() for pair in concept.pairs]
            if (theirs.get("instruction"), pairs) != (concept.instruction, ours):
                continue
            for fitted, stage in zip(found, ("vectors", "removals"), strict=True):
                with suppress(UserError):  # another model's, or not there
                    path = self.folder / stage / "vectors" / f"{name}.safetensors"
                    fitted[name] = load_vectors(path, self.fingerprint)
        return found

    def choices(self) -> dict[str, Choice]:
        """The chosen point of every concept; none where the strengths are in other units than the lab's."""
        model = _json(self.folder / "model" / "model.json").get("fingerprint", {})
        if not same_digest(str(model.get("digest")), self.fingerprint.digest):
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
