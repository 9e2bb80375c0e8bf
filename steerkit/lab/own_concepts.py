"""A visitor's own concepts on disk: a vectors file and what it was made from, in a folder for each model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steerkit.activations.whole_file import whole
from steerkit.errors import UserError
from steerkit.lab.checks import checked_name
from steerkit.lab.concepts import ConceptEntry, Pair
from steerkit.models.fingerprint import Fingerprint
from steerkit.vectors.vectors_file import load_vectors, save_vectors

SCHEMA = "steerkit.lab-concept"
VERSION = 1


@dataclass(frozen=True, slots=True)
class OwnConcepts:
    """The files NAME.safetensors and NAME.json under `folder`, which belong to the model of `fingerprint`.

    `about` of a concept is what its JSON keeps beside pairs, layer and strength: statistics, or where it came from.
    """

    folder: Path
    fingerprint: Fingerprint
    problems: list[str] = field(default_factory=list)

    def read(self) -> Iterator[ConceptEntry]:
        """Every concept that can be read, by name; what cannot is told in `problems` and left as it is."""
        for path in sorted(self.folder.glob("*.safetensors")) if self.folder.is_dir() else ():
            try:
                yield self._entry(path)
            except (UserError, OSError, ValueError, KeyError, TypeError) as error:
                self.problems.append(f"{path.name} is left out: {error}")

    def save(self, entry: ConceptEntry, about: Mapping[str, Any] | None = None) -> None:
        """Write one concept, whole or not at all; replaces one of the same name."""
        checked_name(entry.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": SCHEMA,
            "version": VERSION,
            "layer": entry.layer,
            "strength": entry.strength,
            "pairs": [asdict(pair) for pair in entry.pairs],
            "about": dict(about or {}),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        # The vectors last: a concept is there when they are.
        whole(self._path(entry.name, "json"), lambda path: path.write_text(text, encoding="utf-8"))
        save_vectors(entry.vectors, self._path(entry.name, "safetensors"))

    def about(self, name: str) -> dict[str, Any]:
        """What was kept beside the concept; empty where there is nothing."""
        return dict(self._notes(name).get("about", {}))

    def delete(self, name: str) -> None:
        """Remove both files; none of them there is no mistake."""
        checked_name(name)
        self._path(name, "safetensors").unlink(missing_ok=True)
        self._path(name, "json").unlink(missing_ok=True)

    def _entry(self, path: Path) -> ConceptEntry:
        name = checked_name(path.stem)
        vectors = load_vectors(path, self.fingerprint)
        notes = self._notes(name)
        return ConceptEntry(
            name=name,
            factor=None,
            origin="yours",
            vectors=vectors,
            layer=int(notes.get("layer", len(vectors.hookpoints) // 2)),
            strength=float(notes.get("strength", 1.0)),
            pairs=tuple(Pair(**pair) for pair in notes.get("pairs", ())),
        )

    def _notes(self, name: str) -> dict[str, Any]:
        path = self._path(name, "json")
        if not path.is_file():
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("schema") != SCHEMA or found.get("version") != VERSION:
            raise UserError(f"{path.name} is not a description that this lab wrote.")
        return found

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{checked_name(name)}.{ending}"
