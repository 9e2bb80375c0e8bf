"""Rows of an activation store, with the number of the image that each belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerwright.activations.store.reader import Store
from steerwright.concepts.token_means import TokenSums
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.running import Branch
from steerwright.sae.latents import SparseLatents
from steerwright.sae.sae import Sae

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are handed on at once.
_PIECE = 2**14


@dataclass(frozen=True, slots=True, eq=False)
class ImageRows:
    """`rows` [rows, d], views into the store where possible, with `image` and `step`, int64 [rows]."""

    rows: Tensor
    image: Tensor
    step: Tensor


@dataclass(slots=True, eq=False)
class ImageReader:
    """Goes through one hookpoint and branch of a store and numbers the images, prompt by seed, as they come.

    Without guidance the only branch counts as cond. `prompts` gives the number of each prompt that is wanted; the rows
    of all others are passed over. What grows: `prompt_of`, the prompt's number of each image; `timesteps` of the
    denoising steps; `rows`, how many were passed so far, wanted or not.
    """

    store: Store
    hookpoint: Hookpoint
    branch: Branch
    prompts: Mapping[str, int]
    prompt_of: list[int] = field(default_factory=list)
    timesteps: dict[int, float] = field(default_factory=dict)
    rows: int = 0
    _images: dict[tuple[int, int], int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ImageRows]:
        """UserError when the store has no rows of the branch, or no step (a text encoder's rows)."""
        seen: set[str] = set()
        for values, index in self.store.blocks(self.hookpoint):
            self.rows += len(values)
            if index.column("step").null_count:
                raise UserError(f"{self.hookpoint} has no denoising steps; map concepts at a hookpoint of the UNet.")
            wanted = self._of_branch(index, seen)
            image = self._number(index)
            wanted &= image >= 0
            step = torch.from_dlpack(index.column("step")).long()
            self._note_timesteps(step, torch.from_dlpack(index.column("timestep")))
            if wanted.any():
                if not wanted.all():
                    values, image, step = values[wanted], image[wanted], step[wanted]
                pieces = zip(values.split(_PIECE), image.split(_PIECE), step.split(_PIECE), strict=True)
                yield from (ImageRows(*piece) for piece in pieces)
        if not any(self._wanted(branch) for branch in seen):
            raise UserError(
                f"The activation store {self.store.folder} has no rows of the branch {self.branch!r} at "
                f"{self.hookpoint}; it has {', '.join(sorted(seen)) or 'none'}. Collect it, or choose another branch."
            )

    def _wanted(self, branch: str) -> bool:
        return branch == self.branch or (branch == "none" and self.branch == "cond")

    def _of_branch(self, index: pa.RecordBatch, seen: set[str]) -> Tensor:
        """Bool [rows]: which rows are of the branch; the branches that occur are added to `seen`."""
        column: Any = index.column("branch")
        codes = torch.from_dlpack(column.indices)
        out = torch.zeros(len(codes), dtype=torch.bool)
        for code in codes.unique().tolist():
            branch = column.dictionary[code].as_py()
            seen.add(branch)
            if self._wanted(branch):
                out |= codes == code
        return out

    def _number(self, index: pa.RecordBatch) -> Tensor:
        """The image of each row, int64 [rows]; -1 where its prompt is not wanted."""
        column: Any = index.column("prompt")
        codes = torch.from_dlpack(column.indices).long()
        seeds = torch.from_dlpack(index.column("seed").fill_null(-1))
        changes = torch.ones(len(codes), dtype=torch.bool)
        changes[1:] = (codes[1:] != codes[:-1]) | (seeds[1:] != seeds[:-1])
        first = changes.nonzero().squeeze(1)
        runs = zip(codes[first].tolist(), seeds[first].tolist(), strict=True)
        numbers = torch.tensor([self._image(column.dictionary[code].as_py(), seed) for code, seed in runs])
        return numbers[changes.cumsum(0) - 1]

    def _image(self, prompt: str, seed: int) -> int:
        number = self.prompts.get(prompt, -1)
        if number < 0:
            return -1
        image = self._images.setdefault((number, seed), len(self._images))
        if image == len(self.prompt_of):
            self.prompt_of.append(number)
        return image

    def _note_timesteps(self, step: Tensor, timestep: Tensor) -> None:
        for number in step.unique().tolist():
            if number not in self.timesteps:
                self.timesteps[number] = float(timestep[(step == number).nonzero()[0, 0]])


# One pass over a hookpoint's rows through an autoencoder.

# Pre-activations of a batch of rows, 32 MiB in float32: enough for a product at full speed, and it fits any machine.
PRE_ACTIVATIONS = 2**23


class LatentPass:
    """Encodes rows in batches of its own size, whatever sizes they come in; sums their latents up by image and step.

    `fired` holds, by step, on how many tokens of counted images each latent is active (int64 [n]), `tokens` how many
    there were.
    """

    def __init__(self, sae: Sae, sums: TokenSums) -> None:
        self._sae, self._sums = sae, sums
        self._batch = max(256, min(PRE_ACTIVATIONS // sae.size, 2**15))
        self._waiting: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._count = 0
        self.fired: dict[int, Tensor] = {}
        self.tokens: dict[int, int] = {}

    def add(self, given: ImageRows, counted: Tensor) -> None:
        """Take in rows; bool `counted` [rows] says which count for the density."""
        parts = (given.rows, given.image, given.step, counted)
        steps = self._sae.site.steps
        if steps is not None:  # it was not trained on others
            kept = torch.isin(given.step, torch.tensor(steps))
            parts = parts if kept.all() else tuple(part[kept] for part in parts)  # type: ignore[assignment]
        start = 0
        if self._waiting:
            start = min(self._batch - self._count, len(parts[0]))
            self._wait(*(part[:start] for part in parts))
        while len(parts[0]) - start >= self._batch:
            self._encode(*(part[start : start + self._batch] for part in parts))
            start += self._batch
        if start < len(parts[0]):
            self._wait(*(part[start:] for part in parts))

    def finish(self) -> None:
        """Encode what still waits for its batch to be full."""
        if self._waiting:
            waiting, self._waiting, self._count = self._waiting, [], 0
            self._encode(*(torch.cat(parts) for parts in zip(*waiting, strict=True)))

    def _wait(self, rows: Tensor, image: Tensor, step: Tensor, counted: Tensor) -> None:
        self._waiting.append((rows, image, step, counted))
        self._count += len(rows)
        if self._count == self._batch:
            self.finish()

    def _encode(self, rows: Tensor, image: Tensor, step: Tensor, counted: Tensor) -> None:
        found = self._sae.encode(rows.to(self._sae.encoder.device))
        # Summed up on the CPU, where sums do not depend on the order of threads.
        latents = SparseLatents(found.indices.cpu(), found.values.cpu(), found.size)
        self._sums.add(image, step, latents)
        steps, which = step.unique(return_inverse=True)
        # Unused places have index -1; rows that do not count go where those do.
        places = torch.where(counted.unsqueeze(1), latents.indices, -1) + 1
        flat = (which.unsqueeze(1) * (latents.size + 1) + places).reshape(-1)
        fired = torch.bincount(flat, minlength=len(steps) * (latents.size + 1)).reshape(len(steps), -1)[:, 1:]
        tokens = torch.bincount(which[counted], minlength=len(steps))
        for place, number in enumerate(steps.tolist()):
            self.fired[number] = self.fired.get(number, 0) + fired[place]
            self.tokens[number] = self.tokens.get(number, 0) + int(tokens[place])
