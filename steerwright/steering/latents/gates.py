"""Where and in which images a concept's latents fire: conditions for edits, by token and by image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.latents import SparseLatents
from steerwright.sae.sae import Sae
from steerwright.steering.gates import Gate, ImageGate


@dataclass(frozen=True, slots=True, eq=False)
class WhereLatents(Gate):
    """On the tokens where any of `latents` [n] of `sae` exceeds `threshold`, in the latents' own units."""

    sae: Sae
    latents: Tensor
    threshold: float = 0.0

    pictures_only = True

    def mask(self, acts: Tensor) -> Tensor:
        return (token_values(self.sae, acts, self.latents) > self.threshold).any(-1)


@dataclass(frozen=True, slots=True, eq=False)
class LatentsInImage(ImageGate):
    """On all tokens of the images in which a concept's latents are active at `hookpoint`.

    ImageGates is the weighted sum of the latents' means over the image's tokens, less `origin`; it exceeds `threshold`
    where the image holds the concept. `weights` float32 [n] and `origin` are such that presence is 0 at the mean of the
    images without the concept and 1 at the mean of those with it, see `edits.presence_gate`. An image that
    an edit changes shows less and less of the concept; without `held_from` it would be let go before the edit is done.
    """

    hookpoint: Hookpoint
    sae: Sae
    latents: Tensor
    weights: Tensor
    origin: float
    threshold: float = 0.5
    held_from: int | None = None

    def presence(self, acts: Tensor, means: Tensor | None = None) -> Tensor:
        """ImageGates [images] in `acts` [images, tokens, d] at the gate's hookpoint; `means` if they are known."""
        known = image_means(self.sae, acts) if means is None else means
        return known[:, self.latents] @ self.weights - self.origin

    def present(self, acts: Tensor, shared: dict[int, Tensor]) -> Tensor:
        if id(self.sae) not in shared:
            shared[id(self.sae)] = image_means(self.sae, acts)
        return self.presence(acts, shared[id(self.sae)]) > self.threshold

    @property
    def device(self) -> torch.device:
        return self.weights.device


def image_means(sae: Sae, acts: Tensor) -> Tensor:
    """Mean of every latent over the tokens of each image: [images, n], from `acts` [images, tokens, d]."""
    images, tokens, width = acts.shape
    found = sae.encode(acts.reshape(-1, width))
    sums = found.values.new_zeros(images, found.size + 1)
    # The last column takes the places that are not used.
    places = torch.where(found.used, found.indices, found.size).view(images, -1)
    sums.scatter_add_(1, places, found.values.reshape(images, -1))
    return sums[:, :-1] / tokens


def token_values(sae: Sae, acts: Tensor, latents: Tensor) -> Tensor:
    """Values [images, tokens, n] of the chosen `latents` [n] on the tokens of `acts` [images, tokens, d]."""
    found = sae.encode(acts.reshape(-1, acts.shape[-1]))
    return chosen(found, latents).view(*acts.shape[:-1], len(latents))


def chosen(found: SparseLatents, latents: Tensor) -> Tensor:
    """Values [rows, n] of `latents` int64 [n], each named once; 0 where they are not active."""
    # Through a table of places instead of the dense latents, which no memory holds for a large dictionary.
    places = latents.new_full((found.size + 1,), len(latents))
    places[latents] = torch.arange(len(latents), device=latents.device)
    out = found.values.new_zeros(len(found), len(latents) + 1)
    # Index -1, an unused place, finds the table's last entry, and so the column that is cut off.
    out.scatter_(1, places[found.indices], found.values)
    return out[:, :-1]
