"""eai-sparsify 1.3.3: its SparseCoder with the steps of its Trainer, which itself only trains on a language model.

On a CPU its decoder is torch's embedding_bag (its Triton kernel needs a GPU); the encoder's gradient is its own.
"""

from __future__ import annotations

import os

if "cuda" not in os.environ.get("STEERWRIGHT_BENCHMARK_DEVICE", "cpu"):
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor

from benchmarks.sae_peers.worker import Shape, serve

AUXK = 1 / 32
DEAD_AFTER = 10_000_000


class Sparsify:
    """As Trainer.fit does it with Adam: mean as bias, norm, forward, backward, projection, step, dead latents."""

    def __init__(self, shape: Shape, first: Tensor) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")
        self._sae = SparseCoder(
            shape.width, SparseCoderConfig(num_latents=shape.latents, k=shape.k), shape.device, dtype=torch.float32
        )
        self._sae.b_dec.data = first.mean(0)
        self._optimiser = torch.optim.Adam(self._sae.parameters(), lr=shape.learning_rate)
        self._unfired = torch.zeros(shape.latents, dtype=torch.long, device=shape.device)

    def step(self, rows: Tensor) -> None:
        self._sae.set_decoder_norm_to_unit_norm()
        out = self._sae(rows, dead_mask=self._unfired > DEAD_AFTER)
        (out.fvu + AUXK * out.auxk_loss).backward()
        self._sae.remove_gradient_parallel_to_decoder_directions()
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._unfired += len(rows)
        self._unfired[out.latent_indices.flatten()] = 0

    def reconstruct(self, rows: Tensor) -> Tensor:
        self._sae.set_decoder_norm_to_unit_norm()
        return self._sae(rows).sae_out


if __name__ == "__main__":
    serve(Sparsify)
