"""The images in which each latent is most active, at most one of each prompt where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TopImages:
    """Of each latent its best images, the best first: `image` int64 and `score` float32, both [latents, top].

    Only images in which it is active count: places that are left over hold -1 and 0, and are last.
    """

    image: NDArray[np.int64]
    score: NDArray[np.float32]

    @property
    def count(self) -> NDArray[np.int64]:
        """How many images each latent has, int64 [latents]."""
        count: NDArray[np.int64] = (self.image >= 0).sum(1)
        return count


def top_images(block: Tensor, top: int, alive_above: float, prompt: NDArray[np.int64] | None = None) -> TopImages:
    """The `top` images with the largest activations above `alive_above` of float32 `block` [latents, images].

    Of equal ones the image with the lower number. `prompt` int64 [images]: the prompt's number of each image; then only
    the best image of each prompt counts.
    """
    if alive_above < 0:
        raise ValueError(f"an activation of {alive_above} is none")
    images = block.shape[1]
    # The best of `top` prompts are among the best top * (images of a prompt) images.
    repeats = 1 if prompt is None else int(np.unique(prompt, return_counts=True)[1].max())
    places = min(images, top * repeats)
    image, score = _largest(block, places)
    silent = score <= alive_above
    image, score = image.masked_fill(silent, -1), score.masked_fill(silent, 0.0)
    if repeats > 1:
        assert prompt is not None
        image, score = _first_of_prompts(image, score, torch.from_numpy(np.asarray(prompt)), top)
    short = top - image.shape[1]
    image = torch.nn.functional.pad(image, (0, max(0, short)), value=-1)
    score = torch.nn.functional.pad(score, (0, max(0, short)))
    return TopImages(image.numpy(), score.numpy())


def _largest(block: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """Numbers and activations of the `places` largest of each row, largest first; of equal ones the lower number."""
    more = min(places + 1, block.shape[1])
    score, image = block.topk(more, dim=1)
    # Which of equal ones topk takes, and in what order, is not defined: rows that have some are done again by integers
    # that order by activation, then by number (bits of positive floats are in their order). Zeros need not be.
    tied = ((score[:, 1:] == score[:, :-1]) & (score[:, 1:] > 0)).any(1).nonzero().squeeze(1)
    if len(tied):
        last = block.shape[1] - 1
        key = block[tied].clamp(min=0).view(torch.int32).long()
        key <<= 32
        key += last - torch.arange(block.shape[1])
        best = key.topk(more, dim=1).values
        score[tied] = (best >> 32).int().view(torch.float32)
        image[tied] = last - (best & 0xFFFFFFFF)
    return image[:, :places], score[:, :places]


def _first_of_prompts(image: Tensor, score: Tensor, prompt: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Of each row's images, the best first, the first of each prompt; the others' places are filled up."""
    # Places that hold no image count as one prompt each, so that none is taken for another's repetition.
    at = torch.arange(image.shape[1])
    code = torch.where(image >= 0, prompt[image.clamp(min=0)], -1 - at)
    ordered, order = code.sort(dim=1, stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_first = torch.zeros_like(first).scatter_(1, order, first)
    kept = is_first & (image >= 0)
    front = torch.sort((~kept).int(), dim=1, stable=True).indices[:, :top]
    kept = kept.gather(1, front)
    return torch.where(kept, image.gather(1, front), -1), torch.where(kept, score.gather(1, front), 0.0)
