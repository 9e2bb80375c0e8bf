"""What pictures of the embedded Stable Diffusion can be steered by: vectors of two kinds, latents of autoencoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from steerwright.concepts.scores import moment_scores
from steerwright.errors import UserError
from steerwright.lab.pictures.drawing import HeatSource
from steerwright.lab.pictures.heat_sources import LatentHeat, PresenceHeat
from steerwright.models.attention_blocks import attention_blocks, chosen_blocks
from steerwright.models.fingerprint import same_digest
from steerwright.models.generate import model_timesteps
from steerwright.models.load import LoadedModel
from steerwright.steering.algebra import Edit, EditBranch
from steerwright.steering.attention import AttentionRecipe, attention_edits
from steerwright.steering.latents.edits import ConceptLatents, LatentRecipe, latent_edits
from steerwright.steering.operators import Units
from steerwright.steering.pictures import check_model
from steerwright.steering.text_encoder import text_edit
from steerwright.vectors.steering_vectors import SteeringVectors

Method = Literal["text", "attention", "latents"]
Action = Literal["add", "erase", "replace"]

METHODS: Mapping[str, str] = {
    "text": "Text encoder",
    "attention": "Cross-attention",
    "latents": "SAE latents",
}
# So many of the concept's own latents are shown as heat: those that tell it apart best.
HEAT_LATENTS = 8


@dataclass(frozen=True, slots=True)
class EditChoice:
    """What a visitor picks: a concept and what is done with it, and how strongly.

    `strength` is where it does what it should: as `searched`, what a search on tuning prompts took, else what was taken
    for a sibling. `lowest` and `highest` are the slider's ends.
    """

    method: Method
    action: Action
    concept: str
    strength: float
    lowest: float
    highest: float
    searched: bool
    target: str | None = None

    @property
    def key(self) -> str:
        """Its name in the API: `add-winter`, `erase-cat`, `cat-to-horse`."""
        value = self.concept.rpartition(":")[2]
        return f"{value}-to-{self.target}" if self.target else f"{self.action}-{value}"

    @property
    def title(self) -> str:
        value = self.concept.rpartition(":")[2]
        if self.target:
            return f"Replace {value} by {self.target}"
        return f"{'Add' if self.action == 'add' else 'Erase'} {value}"


class PictureEdit(Protocol):
    """One entry of the list: what it is, the edits that it makes, and how the concept is found in a picture."""

    @property
    def choice(self) -> EditChoice: ...

    def edits(self, model: LoadedModel, strength: float) -> list[Edit]:
        """The edits at `strength`; UserError for a model that its vectors or latents do not belong to."""

    def heat(self, model: LoadedModel) -> HeatSource | None:
        """What finds the concept in a picture; None for a method that knows no places in pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """Vectors of text-encoder layers, added to the prompt before any picture is drawn."""

    choice: EditChoice
    vectors: SteeringVectors
    layers: tuple[int, ...]
    shares: tuple[float, ...]
    branch: EditBranch
    units: Units

    def edits(self, model: LoadedModel, strength: float) -> list[Edit]:
        """Each layer gets its share of `strength`: that of the first is 1."""
        check_model(self.vectors, model)
        strengths = [strength * share for share in self.shares]
        return text_edit(self.vectors, self.layers, strengths, branch=self.branch, units=self.units)

    def heat(self, model: LoadedModel) -> HeatSource | None:  # noqa: ARG002
        return None


@dataclass(frozen=True, slots=True, eq=False)
class AttentionVectors:
    """Vectors of attention outputs, by which a concept is added, erased or replaced while the UNet denoises."""

    choice: EditChoice
    vectors: SteeringVectors
    recipe: AttentionRecipe
    target: SteeringVectors | None = None

    def edits(self, model: LoadedModel, strength: float) -> list[Edit]:
        for vectors in (self.vectors, self.target):
            if vectors is not None:
                check_model(vectors, model)
        return attention_edits(
            self.choice.action, self.vectors, strength, blocks=attention_blocks(model.pipeline, ("self", "cross")),
            timesteps=model_timesteps(model), recipe=self.recipe, target=self.target,
        )  # fmt: skip

    def heat(self, model: LoadedModel) -> HeatSource | None:
        # The up path, where the picture is worked out: the middle blocks are nearly the same all over the picture.
        blocks = attention_blocks(model.pipeline, ("self", "cross"))
        return PresenceHeat(self.vectors, chosen_blocks(blocks, ["up"], self.recipe.attention))


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Latents of autoencoders by which a concept is erased or added; `places` are autoencoders by name."""

    choice: EditChoice
    places: Mapping[str, ConceptLatents]
    recipe: LatentRecipe

    def edits(self, model: LoadedModel, strength: float) -> list[Edit]:
        for name in self.recipe.places:
            _check_place(name, self.places[name], model)
        action: Any = self.choice.action
        steps = len(model_timesteps(model))
        return latent_edits(action, self.places, self.choice.concept, self.recipe, strength, steps=steps)

    def heat(self, model: LoadedModel) -> HeatSource | None:  # noqa: ARG002
        """The concept's own latents; 1 is their mean in pictures with the concept."""
        here = {name: self.places[name] for name in self.recipe.places}
        latents: dict[str, dict[int, torch.Tensor]] = {}
        levels: dict[str, dict[int, float]] = {}
        for name, place in here.items():
            moments = place.moments
            for step in moments.steps:
                scores = torch.nan_to_num(moment_scores(moments, self.choice.concept, step, "cohens_d"), nan=0.0)
                own = scores.topk(min(HEAT_LATENTS, len(scores))).indices
                own = own[scores[own] > 0]
                latents.setdefault(name, {})[step] = own
                means = moments.concept_means(self.choice.concept, step)
                levels.setdefault(name, {})[step] = float(means[own].sum())
        return LatentHeat({name: place.sae for name, place in here.items()}, latents, levels)


def _check_place(name: str, place: ConceptLatents, model: LoadedModel) -> None:
    known = place.sae.site.model
    if known is None or not same_digest(known, model.fingerprint.digest):
        other = "a model that is not known" if known is None else f"another model ({known[:12]})"
        raise UserError(
            f"The autoencoder {name!r} was trained on {other} than {model.fingerprint.name} "
            f"({model.fingerprint.digest[:12]}); run the latents pipeline on this one."
        )


# The words of a prompt, and which tokens of the text encoder stand for each.


@dataclass(frozen=True, slots=True)
class PromptWord:
    """A word as it was written, and the places of its tokens among those of the prompt."""

    word: str
    tokens: tuple[int, ...]


def prompt_words(tokenizer: Any, prompt: str) -> list[PromptWord]:
    """The words of `prompt` in order, less those that do not fit into the text encoder's length.

    Words are what blanks separate, which is also how CLIP's tokenizer cuts first, so that tokens belong to one word.
    """
    found = []
    place = 1  # after the token that begins every prompt
    last = int(tokenizer.model_max_length) - 1
    for word in prompt.split():
        count = len(tokenizer(word, add_special_tokens=False).input_ids)
        if place + count > last:
            break
        if count:
            found.append(PromptWord(word, tuple(range(place, place + count))))
        place += count
    return found
