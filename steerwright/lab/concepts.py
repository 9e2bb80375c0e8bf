"""A concept as the lab lists it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from steerwright.errors import UserError
from steerwright.files import atomic_write
from steerwright.former_name import current
from steerwright.lab.checks import checked_name
from steerwright.models.fingerprint import Fingerprint, same_digest
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    from steerwright.prompts.concept_library import LibraryConcept

Origin = Literal["built-in", "yours"]
POLICY = "content"
"""Which tokens of an answer are looked at where nobody says: the mean over all of its own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one request: with the concept, and the same without it."""

    prompt: str
    positive: str
    negative: str


@dataclass(frozen=True, slots=True)
class RequestPair:
    """Two requests that differ in whether they ask for the concept."""

    asking: str
    plain: str


@dataclass(frozen=True, slots=True, eq=False)
class ConceptEntry:
    """A concept that can be steered with: its vectors at every layer, and where and how far they work well.

    `factor` is what it is a value of (emotion, style, ...), None for a visitor's own. `layer` and `strength` (in shares
    of a token's norm) are what the page sets first; `safe` is the range of strengths in which texts stay coherent at
    that layer, None where nobody measured it. `pairs` are answers with and without the concept, from which it can be
    read in texts, whatever the vectors were fitted from. `instruction` is how a prompt would ask for it, and `removal`
    are the vectors along which what it asks for is taken out (`removal_vectors`); None: its own take their place.
    """

    name: str
    factor: str | None
    origin: Origin
    vectors: SteeringVectors
    layer: int
    strength: float
    safe: tuple[float, float] | None = None
    pairs: tuple[Pair, ...] = ()
    instruction: str | None = None
    removal: SteeringVectors | None = None

    def along(self, action: str) -> SteeringVectors:
        """The vectors by which it is added ("add"), or along which it is removed ("erase")."""
        return self.vectors if action == "add" or self.removal is None else self.removal


# What the language pipeline found about the built-in concepts, where it has run on this model and these pairs.


@dataclass(frozen=True, slots=True)
class ConceptChoice:
    """Where and how far a concept is steered, and up to which strength its texts stayed coherent there."""

    layer: int
    strength: float
    safe: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class MeasuredConcept:
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

    def choices(self) -> dict[str, ConceptChoice]:
        """The chosen point of every concept; none where the strengths are in other units than the lab's."""
        model = _json(self.folder / "model" / "model.json").get("fingerprint", {})
        if not same_digest(str(model.get("digest")), self.fingerprint.digest):
            return {}
        found = {}
        for name, choice in _json(self.folder / "choice" / "chosen.json").items():
            if choice.get("units") == "relative" and math.isfinite(choice["strength"]):
                low, high = choice.get("safe") or (0.0, 0.0)
                safe = (float(low), float(high)) if high > low else None
                found[name] = ConceptChoice(int(choice["layer"]), float(choice["strength"]), safe)
        return found


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none, or half of one while the pipeline runs."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# A visitor's own concepts on disk: a vectors file and what it was made from, in a folder for each model.

SCHEMA = "steerwright.lab-concept"
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
        atomic_write(self._path(entry.name, "json"), lambda path: path.write_text(text, encoding="utf-8"))
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
        found = current(json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(found, dict) or found.get("schema") != SCHEMA or found.get("version") != VERSION:
            raise UserError(f"{path.name} is not a description that this lab wrote.")
        return found

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{checked_name(name)}.{ending}"
