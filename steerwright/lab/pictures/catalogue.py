"""The list of what can be done with pictures, from the vectors, latents and choices that there are."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steerwright.lab.pictures.edits import AttentionVectors, EditChoice, Latents, PictureEdit, TextVectors
from steerwright.lab.pictures.sources import AttentionSource, LatentsSource, TextSource
from steerwright.scoring.labels import LabelScorer
from steerwright.scoring.perceptual import Perceptual
from steerwright.steering.attention import AttentionRecipe
from steerwright.steering.latents.edits import LatentRecipe

# How far the sliders go, in multiples of the strength that was searched.
REACH = 2.0


def text_choices(source: TextSource) -> list[PictureEdit]:
    """Adding the concept of the text encoder's vectors; below zero it is steered away from."""
    strengths = [float(value) for value in source.best["strengths"]]
    first = strengths[0]
    choice = EditChoice(
        "text", "add", source.vectors.concept, first, -REACH * first, 2 * REACH * first, searched=True
    )  # fmt: skip
    shares = tuple(value / first for value in strengths)
    best = source.best
    return [TextVectors(choice, source.vectors, tuple(best["layers"]), shares, best["branch"], best["units"])]


def attention_choices(source: AttentionSource) -> list[PictureEdit]:
    """The searched edits, and the same done with the other concepts that there are vectors for.

    An object is erased as another one is whose erasing was searched, and replaced the other way round.
    """
    searched: dict[str, PictureEdit] = {}
    siblings: dict[str, PictureEdit] = {}
    for entry in source.chosen.values():
        concept, target = entry["concept"], entry["target"]
        if concept not in source.vectors or (target is not None and target not in source.vectors):
            continue
        found = _attention(source, entry, concept, target, searched=True)
        searched[found.choice.key] = found
        if entry["action"] == "erase":
            others = {one["concept"] for one in source.chosen.values() if one["suite"] == entry["suite"]}
            others |= {one["target"] for one in source.chosen.values() if one["suite"] == entry["suite"]}
            pairs: list[tuple[str, str | None]] = [(other, None) for other in sorted(others - {None, concept})]
        elif entry["action"] == "replace":
            pairs = [(target, concept)]
        else:
            pairs = []
        for other, towards in pairs:
            if other in source.vectors:
                sibling = _attention(source, entry, other, towards, searched=False)
                siblings.setdefault(sibling.choice.key, sibling)
    return list((siblings | searched).values())


def _attention(
    source: AttentionSource, entry: Mapping[str, Any], concept: str, target: str | None, *, searched: bool
) -> AttentionVectors:
    known = {field.name for field in fields(AttentionRecipe)}
    given = {key: value for key, value in entry.items() if key in known}
    given["window"] = tuple(given["window"]) if given.get("window") else None
    strength = float(entry["strength"])
    lowest = -strength if entry["action"] == "add" else 0.0
    choice = EditChoice("attention", entry["action"], concept, strength, lowest, REACH * strength, searched, target)
    other = None if target is None else source.vectors[target]
    return AttentionVectors(choice, source.vectors[concept], AttentionRecipe(**given), other)


def latent_choices(source: LatentsSource) -> list[PictureEdit]:
    """Erasing every concept that was searched, and adding seasons by the recipe that adds winter."""
    found: list[PictureEdit] = []
    if source.added is not None:
        searched = str(source.added["concept"])
        axis = searched.partition(":")[0]
        recipe, strength = LatentRecipe(**source.added["recipe"]), float(source.added["strength"])
        known = source.places[recipe.places[0]].moments.concepts
        for concept in sorted(known, key=lambda name: (name != searched, name)):
            if concept.partition(":")[0] == axis:
                choice = EditChoice("latents", "add", concept, strength, 0.0, REACH * strength, concept == searched)
                found.append(Latents(choice, source.places, recipe))
    for concept, one in sorted(source.erased.items()):
        strength = float(one["strength"])
        choice = EditChoice("latents", "erase", concept, strength, 0.0, REACH * strength, searched=True)
        found.append(Latents(choice, source.places, LatentRecipe(**one["recipe"])))
    return found


# What a picture shows: the labels that the classifier reads off it, and how far it is from another one.


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One label of two pictures: what each shows most likely, and how sure the classifier is."""

    label: str
    before: str
    before_probability: float
    after: str
    after_probability: float

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class PictureChange:
    """The five labels, and the perceptual distance LPIPS: 0 for the same picture, 2 to 3 for two different scenes."""

    labels: tuple[LabelChange, ...]
    distance: float


class Judge:
    """The seasons world's label classifier and its LPIPS; one thread at a time."""

    def __init__(self, labels: LabelScorer, perceptual: Perceptual) -> None:
        self._labels, self._perceptual = labels, perceptual
        self._lock = threading.Lock()

    @classmethod
    def load(cls, root: Path) -> Judge:
        """The embedded ones of the project in `root`; UserError where they are missing."""
        models = root / "models"
        return cls(LabelScorer.load(models / "seasons-labels"), Perceptual(models / "seasons-lpips"))

    def compare(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> PictureChange:
        """Two pictures of one size, uint8 [height, width, 3]."""
        with self._lock:
            found = self._labels.predict(np.stack([before, after]))
            distance = float(self._perceptual.distances(before[None], after[None])[0])
        labels = []
        for label, (first, second) in found.names.items():
            sure = found.confidence(label).tolist()
            labels.append(LabelChange(label, first, sure[0], second, sure[1]))
        return PictureChange(tuple(labels), distance)
