"""What the attention pipeline does, from its prompts and parameters: concepts, suites, edits, and their pictures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerkit.prompts.concept import Concept
from steerkit.scoring.shots import Shot, parse_seeds, shots
from steerkit.steering.edit_spec import EditSpec, parse_edits


@dataclass(frozen=True, slots=True)
class EditPlan:
    """Concepts by name; suites with their `scored` and `tuning` prompts (id, prompt); edits by name."""

    concepts: dict[str, Concept]
    suites: dict[str, Any]
    edits: dict[str, EditSpec]

    @classmethod
    def read(cls, prompts: Path, edits: Mapping[str, Any]) -> "EditPlan":
        """From the prompts that stage attention-prompts wrote, and `attention.edits`. Raises as `parse_edits`."""
        content = json.loads(prompts.read_text())
        concepts = {name: Concept.model_validate(found["concept"]) for name, found in content["concepts"].items()}
        suites = content["suites"]
        return cls(concepts, suites, parse_edits(edits, set(concepts), set(suites), "attention.edits"))

    def shots(self, name: str, strength: float, seeds: Mapping[str, Any]) -> list[Shot]:
        """The pictures of the edit `name` operating at `strength`; `seeds` by suite. Raises as `parse_seeds`."""
        edit = self.edits[name]
        return shots(
            name,
            edit,
            self.concepts,
            self.suites[edit.suite]["scored"],
            strength=strength,
            seeds=parse_seeds(seeds, edit.suite),
        )
