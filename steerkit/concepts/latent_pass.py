"""One pass over a hookpoint's rows through an autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from steerkit.concepts.image_rows import ImageRows
from steerkit.concepts.token_means import TokenSums
from steerkit.sae.latents import SparseLatents
from steerkit.sae.sae import Sae

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
