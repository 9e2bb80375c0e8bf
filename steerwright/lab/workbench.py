"""What every visitor of the lab shares: the models, each loaded once, whose turn it is at them, and the concepts."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.lab.checks import MOST_OWN, checked_choice, checked_name
from steerwright.lab.concepts import ConceptChoice, ConceptEntry, MeasuredConcept, OwnConcepts, Pair
from steerwright.lab.fitting import Recipe, fit_library, library_sides
from steerwright.lab.jobs import FairQueue
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.identify import EMBEDDED_LANGUAGE, fingerprint
from steerwright.vectors.estimators.mean_difference import mean_difference

if TYPE_CHECKING:
    from steerwright.models.language.load import LanguageModel
    from steerwright.models.language.spec import LanguageSpec
    from steerwright.models.load import LoadedModel
    from steerwright.prompts.concept_library import LibraryConcept
    from steerwright.scoring.language.judges import TextLabels
    from steerwright.vectors.steering_vectors import SteeringVectors


log = logging.getLogger(__name__)


LABELS = Path("models", "seasons-text-labels")
LIBRARIES = {True: Path("data", "language", "concepts.yaml"), False: Path("data", "language", "concepts-general.yaml")}
MEASURED = (Path("artifacts", "language"), Path("models", "seasons-concepts"))
"""Where the language pipeline's outputs may lie: its own, and those that are shipped for the embedded model."""
USUAL = {True: (3 / 4, 0.85), False: (1 / 2, 0.5)}
"""Where nobody measured, the share of the depth, and of each token's norm: what turns most answers of the embedded
model while they stay fluent, and for another model a first guess."""


class Workbench:
    """The lab's shared state. Cheap to make: models and concepts are loaded when they are first asked for.

    `root` is the project's folder, `models` the entries of params.yaml, `recipe` how the built-in concepts' vectors are
    fitted where the pipeline has not done it. Everything here may be used by several threads; a model is run
    inside `turn(name)`.
    """

    def __init__(
        self,
        root: Path,
        spec: LanguageSpec,
        models: Mapping[str, Mapping[str, Any]],
        recipe: Recipe | None = None,
    ) -> None:
        self.root = root
        self.recipe = recipe or Recipe()
        self.spec = spec.model_copy(update={"source": _from_here(root, spec.source)})
        self.models = {
            name: {**entry, "source": _from_here(root, str(entry.get("source", "")))} for name, entry in models.items()
        }
        self.notes: list[str] = []
        """What visitors should know, such as that a smaller model was taken; shown at the top of the page."""
        self.revision = 0
        """Counts the changes of the list of concepts."""
        self._turns = FairQueue()
        self._loading: dict[str, threading.RLock] = {}
        self._guard = threading.RLock()
        self._language: LanguageModel | None = None
        self._outline: Outline | None = None
        self._pictures: dict[str, LoadedModel] = {}
        self._concepts: dict[str, ConceptEntry] | None = None
        self._labels: TextLabels | None = None
        self._readings: dict[str, tuple[ConceptEntry, Reading | None]] = {}

    def turn(self, name: str, cancelled: Callable[[], bool] | None = None) -> AbstractContextManager[None]:
        """Be alone with the model `name` ("language", "seasons-sd", "seasons-flux") inside the block, in fair order."""
        return self._turns.turn(name, cancelled)

    def language(self) -> LanguageModel:
        """The language model, loaded at the first call; UserError where it cannot be."""
        with self._lock("language"):
            if self._language is None:
                from steerwright.models.language.load import load_or_fall_back

                self._language = load_or_fall_back(self.spec, self.models, self.note)
            return self._language

    def outline(self) -> Outline:
        """Name, layers and identity of the language model; loads it, but for the embedded one."""
        # A model that memory might not hold may turn out to be its fallback.
        if self._outline is None and self.spec.name == EMBEDDED_LANGUAGE and self.spec.fallback is None:
            self._outline = Outline.of_embedded(self.spec)
        if self._outline is None:
            self._outline = Outline.of(self.language())
        return self._outline

    def load_ahead(self) -> threading.Thread:
        """Load the language model and fit the concepts in a thread; a caller that asks for them waits."""
        thread = threading.Thread(target=self._load_ahead, name="lab-models", daemon=True)
        thread.start()
        return thread

    def picture_model(self, name: str) -> LoadedModel:
        """A model of pictures by its name in params.yaml, loaded at the first call."""
        with self._lock(name):
            if name not in self._pictures:
                from steerwright.models.load import load_model
                from steerwright.models.select import select_model

                self._pictures[name] = load_model(select_model(name, self.models))
            return self._pictures[name]

    def labels(self) -> TextLabels | None:
        """What reads the concepts out of texts; None for a model whose texts it does not know."""
        if not self.embedded:
            return None
        with self._lock("labels"):
            if self._labels is None and (self.root / LABELS).is_dir():
                from steerwright.scoring.language.judges import TextLabels

                self._labels = TextLabels.load(self.root / LABELS)
            return self._labels

    def reading(self, entry: ConceptEntry) -> Reading | None:
        """How the unsteered model reads the concept in texts, fitted once; the caller has the turn at the model."""
        with self._guard:
            known = self._readings.get(entry.name)
        if known is None or known[0].pairs != entry.pairs:
            known = (entry, reading_of(self.language(), entry))
            with self._guard:
                self._readings[entry.name] = known
        return known[1]

    @property
    def embedded(self) -> bool:
        """Whether this is the project's own model, whose concepts are known truths."""
        return self.outline().name == EMBEDDED_LANGUAGE

    @property
    def folder(self) -> Path:
        """Where the visitors' concepts for this model are."""
        home, identity = self.root / "lab" / "concepts", self.outline().fingerprint
        folder = home / identity.digest[:12]
        if home.is_dir() and not folder.is_dir():
            # Those of an earlier steerwright lie under the digest that it gave the same model.
            earlier = (home / digest[:12] for digest in sorted(identity.digests()))
            return next((found for found in earlier if found.is_dir()), folder)
        return folder

    @property
    def cache(self) -> Path:
        """Where files lie that the page hands out; removed when the lab ends."""
        return self.root / "lab" / ".cache"

    def note(self, text: str) -> None:
        """Tell every visitor something."""
        log.warning("%s", text)
        if text not in self.notes:
            self.notes.append(text)

    def concepts(self) -> dict[str, ConceptEntry]:
        """Every concept by name, the built-in ones first; a copy, so that it does not change under who reads it."""
        with self._lock("concepts"):
            if self._concepts is None:
                self._concepts = self._built_in() | self._own()
            return dict(self._concepts)

    def concept(self, name: Any) -> ConceptEntry:
        """One concept; UserError that names those there are."""
        known = self.concepts()
        return known[checked_choice(name, known, "concept")]

    def store(self) -> OwnConcepts:
        """The visitors' concepts on disk."""
        return OwnConcepts(self.folder, self.outline().fingerprint)

    def check_room(self) -> None:
        """Raise UserError where there is no room for another concept of the visitors."""
        own = sum(entry.origin == "yours" for entry in self.concepts().values())
        if own >= MOST_OWN:
            raise UserError(
                f"There are {own} concepts of your own already, and at most {MOST_OWN} are kept; delete some in the "
                "Library."
            )

    def add_concept(
        self, entry: ConceptEntry, about: Mapping[str, Any] | None = None, instead_of: str | None = None
    ) -> None:
        """Keep a visitor's concept: on disk, and at once in every list; `instead_of` one that goes then.

        UserError for the name of a built-in one, and when there are as many as are kept.
        """
        checked_name(entry.name)
        with self._lock("concepts"):
            known = self.concepts()
            if entry.name in known and known[entry.name].origin == "built-in":
                raise UserError(f"{entry.name!r} is the name of a built-in concept; choose another.")
            if entry.name not in known and instead_of is None:
                self.check_room()
            self.store().save(entry, about)
            self._set({**known, entry.name: entry})
            # The new one first: whatever happens between, the concept is there under one name at least.
            if instead_of is not None:
                self.remove_concept(instead_of)

    def remove_concept(self, name: str) -> None:
        """Delete a visitor's concept; UserError for one that is built in or not there."""
        with self._lock("concepts"):
            entry = self.concept(name)
            if entry.origin == "built-in":
                raise UserError(f"{name!r} is built in and stays; only concepts of your own can be deleted.")
            self.store().delete(name)
            with self._guard:
                self._readings.pop(name, None)
            self._set({key: value for key, value in self.concepts().items() if key != name})

    def usual(self) -> ConceptChoice:
        """Where and how far to steer when nothing was measured."""
        depth, strength = USUAL[self.embedded]
        return ConceptChoice(int(depth * self.outline().layers), strength, None)

    def _load_ahead(self) -> None:
        from steerwright.steering.language.generate import Sampling, complete

        try:
            model = self.language()
            self.concepts()
            self.labels()
            # What generating imports is then there, too.
            with self.turn("language"):
                complete(model, ["Hello."], [0], Sampling(max_new_tokens=1))
        except UserError as error:
            # The next caller gets it as its own.
            log.debug("The model and its concepts could not be had ahead: %s", error)

    def _set(self, concepts: dict[str, ConceptEntry]) -> None:
        with self._guard:
            self._concepts = concepts
            self.revision += 1

    def _own(self) -> dict[str, ConceptEntry]:
        store = self.store()
        found = {entry.name: entry for entry in store.read()}
        for problem in store.problems:
            self.note(problem)
        return found

    def _built_in(self) -> dict[str, ConceptEntry]:
        library = self._library()
        identity = self.outline().fingerprint
        vectors: dict[str, SteeringVectors] = {}
        removals: dict[str, SteeringVectors] = {}
        choices: dict[str, ConceptChoice] = {}
        for folder in reversed(MEASURED):
            measured = MeasuredConcept(self.root / folder, identity)
            added, taken_out = measured.vectors(library)
            vectors |= added
            removals |= taken_out
            choices |= measured.choices()
        if set(library) - set(vectors):
            model = self.language()
            # All of them, since each may be taken less what the others have in common.
            with self.turn("language"):
                sides = library_sides(model, library, self.recipe)
            vectors = fit_library(model, sides, self.recipe) | vectors
        usual = self.usual()
        entries = {}
        for name, concept in library.items():
            choice = choices.get(name, usual)
            entries[name] = ConceptEntry(
                name=name,
                factor=concept.factor,
                origin="built-in",
                vectors=vectors[name],
                layer=choice.layer,
                strength=choice.strength,
                safe=choice.safe,
                pairs=tuple(Pair(pair.prompt or "", pair.positive, pair.negative) for pair in concept.pairs),
                instruction=concept.instruction,
                removal=removals.get(name),
            )
        return entries

    def _library(self) -> dict[str, LibraryConcept]:
        from steerwright.prompts.concept_library import read_library

        return read_library(self.root / LIBRARIES[self.embedded])

    def _lock(self, name: str) -> threading.RLock:
        with self._guard:
            return self._loading.setdefault(name, threading.RLock())


def _from_here(root: Path, source: str) -> str:
    """A folder of the project as the working directory sees it; a hub id, or a folder elsewhere, as it is.

    Relative, because the source is written into files that others read.
    """
    inside = root / source
    return os.path.relpath(inside) if source and inside.is_dir() else source


# What the page says of its language model, which for the embedded one is known before it is loaded.


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


# How an unsteered model reads a concept out of texts: along its own direction between the concept's two sides.


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A line through the residual stream after `layer`: at `start` lie answers without the concept, `length` further
    along `unit` [d] those with it."""

    layer: int
    unit: Tensor
    start: float
    length: float

    def shares(self, rows: Tensor) -> list[float]:
        """Where `rows` [n, d] lie between the two, from 0 to 1."""
        found = (rows @ self.unit - self.start) / self.length
        return [float(value) for value in found.clamp(0, 1)]


def reading_of(model: LanguageModel, entry: ConceptEntry) -> Reading | None:
    """Fit it from the entry's answers; None where it has none. Late in the model, where what is said is settled."""
    if not entry.pairs:
        return None
    layer = 3 * model.layers // 4
    prompts = [pair.prompt for pair in entry.pairs]
    above = read_answers(model, [pair.positive for pair in entry.pairs], prompts)[layer]
    below = read_answers(model, [pair.negative for pair in entry.pairs], prompts)[layer]
    try:
        direction = mean_difference(above, below)
    except ValueError:  # both sides read the same
        return None
    return Reading(layer, direction.unit, float(below.mean(0) @ direction.unit), float(direction.norm))


def read_answers(model: LanguageModel, texts: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """The mean residual stream over each answer's own tokens: float32 [layers, n, d], unsteered."""
    from steerwright.activations.residuals import pooled_residuals

    with torch.inference_mode():
        return pooled_residuals(model, texts, prompts, role="assistant", policy="content").float().cpu()
