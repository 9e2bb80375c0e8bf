"""How much more a latent says of a concept's images than of the others', from means and variances."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from steerwright.errors import UserError
from steerwright.former_name import read_header

MomentScore = Literal["share_difference", "mean_difference", "cohens_d"]
MOMENT_SCORES: tuple[MomentScore, ...] = get_args(MomentScore)
_SHARE_GUARD = 1e-8


def share_difference(mean: Tensor, mean_others: Tensor) -> Tensor:
    """Difference of the shares of the total that each latent has in `mean` and in `mean_others`, all [..., n].

    mean / (sum(mean) + 1e-8) - mean_others / (sum(mean_others) + 1e-8), between -1 and 1. Source: SAeUron,
    arXiv:2501.18052, as its code has it.
    """
    own = mean / (mean.sum(-1, keepdim=True) + _SHARE_GUARD)
    return own - mean_others / (mean_others.sum(-1, keepdim=True) + _SHARE_GUARD)


def cohens_d(
    count: int, mean: Tensor, variance: Tensor, count_others: int, mean_others: Tensor, variance_others: Tensor
) -> Tensor:
    """Difference of means over the pooled sample standard deviation, [n].

    Where nothing varies it is 0 if the means agree too, else infinite with the difference's sign; 0 for fewer than
    three images, which have no spread to compare with.
    """
    freedom = count + count_others - 2
    if freedom < 1:
        return torch.zeros_like(mean)
    pooled = ((count - 1) * variance + (count_others - 1) * variance_others) / freedom
    difference = mean - mean_others
    return torch.where(difference == 0, 0.0, difference / pooled.sqrt())


def moment_scores(moments: ConceptMoments, concept: str, step: int | None, by: MomentScore) -> Tensor:
    """Score of every latent for `concept` at `step` (None: pooled) against the other concepts of its axis: float64 [n].

    With no other concept on the axis the share difference is the mean itself, as published, and so is the mean
    difference; Cohen's d is 0.
    """
    count, mean, variance = moments.mean_and_variance([moments.index(concept)], step)
    others = moments.others(concept)
    if not others:
        return torch.zeros_like(mean) if by == "cohens_d" else mean
    count_others, mean_others, variance_others = moments.mean_and_variance(others, step)
    if by == "share_difference":
        return share_difference(mean, mean_others)
    if by == "mean_difference":
        return mean - mean_others
    return cohens_d(count, mean, variance, count_others, mean_others, variance_others)


# What latents do in images with and without a concept, as running sums: all that mean-based scores and edits need.

SCHEMA = "steerwright.concept_moments"
VERSION = 1
HEADER = "steerwright"
_TENSORS = ("sums", "squares", "active", "count", "fired", "tokens")


@dataclass(slots=True, eq=False)
class ConceptMoments:
    """Sums over the images of each concept, for each denoising step and for all steps pooled.

    What is summed is an image's *token mean* of a latent: its mean over the tokens of one step; pooled, the mean of
    an image's token means over its steps, so that an image counts once. A concept is `axis:value`; an image has at
    most one value on an axis. The last place of the second dimension is the pooled one.

    sums, squares: float64 [concepts, steps + 1, n], of token means and of their squares. active: int32 of that shape,
    images in which the latent is active. count: int64 [concepts, steps + 1], images. fired: int64 [steps + 1, n],
    tokens on which the latent is active, and tokens: int64 [steps + 1], all there were, each image once, whatever its
    concepts. `facts`: where it comes from (autoencoder, hookpoint, branch, timesteps), for people.
    """

    concepts: tuple[str, ...]
    steps: tuple[int, ...]
    sums: Tensor
    squares: Tensor
    active: Tensor
    count: Tensor
    fired: Tensor
    tokens: Tensor
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def empty(
        cls, concepts: tuple[str, ...], steps: tuple[int, ...], size: int, facts: Mapping[str, Any] | None = None
    ) -> ConceptMoments:
        """No image yet, of an autoencoder with `size` latents."""
        shape = (len(concepts), len(steps) + 1, size)
        return cls(
            concepts,
            steps,
            sums=torch.zeros(shape, dtype=torch.float64),
            squares=torch.zeros(shape, dtype=torch.float64),
            active=torch.zeros(shape, dtype=torch.int32),
            count=torch.zeros(shape[:2], dtype=torch.int64),
            fired=torch.zeros(shape[1:], dtype=torch.int64),
            tokens=torch.zeros(shape[1], dtype=torch.int64),
            facts=facts or {},
        )

    def add(self, concept: Tensor, means: Tensor, present: Tensor) -> None:
        """Take in images: int64 `concept` [images] (-1: none), `means` [images, steps + 1, n], bool `present`
        [images, steps + 1] (where false the image has no tokens there, and its means are zero)."""
        held = concept >= 0
        concept, means, present = concept[held], means[held].double(), present[held]
        self.sums.index_add_(0, concept, means)
        self.squares.index_add_(0, concept, means.square())
        self.active.index_add_(0, concept, (means != 0).int())
        self.count.index_add_(0, concept, present.long())

    @property
    def size(self) -> int:
        """Number of latents, n."""
        return int(self.sums.shape[2])

    @property
    def density(self) -> Tensor:
        """Share of tokens on which each latent is active: float64 [steps + 1, n]."""
        return self.fired.double() / self.tokens.clamp(min=1).unsqueeze(1)

    def slot(self, step: int | None) -> int:
        """Place of `step` in the second dimension (None: all steps pooled); UserError for a step that is not there."""
        if step is None:
            return len(self.steps)
        if step not in self.steps:
            raise UserError(
                f"There are no concept means at step {step}; there are steps {', '.join(map(str, self.steps))}. "
                "Collect activations at it, or choose another step."
            )
        return self.steps.index(step)

    def index(self, concept: str) -> int:
        """Place of `concept` in the first dimension; UserError that names what there is."""
        if concept not in self.concepts:
            near = get_close_matches(concept, self.concepts, 1)
            guess = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(f"There is no concept {concept!r}{guess}; there are {', '.join(self.concepts)}.")
        return self.concepts.index(concept)

    def axis(self, concept: str) -> list[int]:
        """Places of all concepts on the axis of `concept`, itself among them."""
        axis = self.concepts[self.index(concept)].partition(":")[0]
        return [place for place, name in enumerate(self.concepts) if name.partition(":")[0] == axis]

    def others(self, concept: str) -> list[int]:
        """Places of the other concepts on its axis: their images are what its own are compared with."""
        return [place for place in self.axis(concept) if place != self.index(concept)]

    def concept_means(self, concept: str, step: int | None) -> Tensor:
        """Mean over the images of `concept` of each latent's token mean: float32 [n]; zeros if there are no images."""
        return self._mean([self.index(concept)], step).float()

    def others_means(self, concept: str, step: int | None) -> Tensor:
        """The same over all images of the other concepts on its axis together: float32 [n]."""
        return self._mean(self.others(concept), step).float()

    def axis_means(self, concept: str, step: int | None) -> Tensor:
        """Mean of `concept_means` over all concepts on its axis, itself included: float32 [n].

        What SAeUron compares a latent with before it edits it (arXiv:2501.18052); each concept counts once, whatever
        its number of images.
        """
        return torch.stack([self._mean([place], step) for place in self.axis(concept)]).mean(0).float()

    def mean_and_variance(self, places: list[int], step: int | None) -> tuple[int, Tensor, Tensor]:
        """Images, mean and sample variance (over images - 1; zero for one image) of the concepts at `places`, together.

        float64 [n] each.
        """
        slot = self.slot(step)
        count = int(self.count[places, slot].sum())
        mean = self._mean(places, step)
        deviations = self.squares[places, slot].sum(0) - count * mean.square()
        return count, mean, deviations.clamp(min=0) / max(count - 1, 1)

    def _mean(self, places: list[int], step: int | None) -> Tensor:
        slot = self.slot(step)
        return self.sums[places, slot].sum(0) / self.count[places, slot].sum().clamp(min=1)


def save_concept_moments(moments: ConceptMoments, path: Path) -> None:
    """Write through a temporary file beside `path`; the same sums give the same bytes. Format: docs/formats.md."""
    header = {
        "schema_name": SCHEMA,
        "schema_version": VERSION,
        "concepts": list(moments.concepts),
        "steps": list(moments.steps),
        "facts": dict(moments.facts),
    }
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    tensors = {name: getattr(moments, name).contiguous() for name in _TENSORS}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(to_safetensors(tensors, metadata={HEADER: text}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_concept_moments(path: Path) -> ConceptMoments:
    """Read what `save_concept_moments` wrote. UserError for a file that is missing, damaged, or of another version."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = read_header(file.metadata())
            if (header.get("schema_name"), header.get("schema_version")) != (SCHEMA, VERSION):
                raise UserError(f"{path} holds no concept moments of version {VERSION}; map the concepts again.")
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
            return ConceptMoments(tuple(header["concepts"]), tuple(header["steps"]), **tensors, facts=header["facts"])
    except FileNotFoundError:
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.safetensors"))) or "none"
        raise UserError(f"There are no concept moments {path}; there are {known}. Map the concepts again.") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"The concept moments in {path} are damaged ({error}); map the concepts again.") from error
