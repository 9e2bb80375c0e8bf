"""steerwright's TopK autoencoder; variant "bf16" multiplies by the encoder in bfloat16."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sae_peers.worker import Shape, serve
from steerwright.sae.training.config import sae_config
from steerwright.sae.training.trainer import Trainer


class Ours:
    """Trained as the library trains."""

    def __init__(self, shape: Shape, first: Tensor) -> None:
        config = sae_config(
            architecture="topk", latents=shape.latents, k=shape.k, bf16_encoder=shape.variant == "bf16", auxk=1 / 32
        )
        self._rate = shape.learning_rate
        self._trainee = Trainer(config, shape.width, shape.device)
        self._trainee.initialise(first)

    def step(self, rows: Tensor) -> None:
        self._trainee.step(rows, self._rate)

    def reconstruct(self, rows: Tensor) -> Tensor:
        return self._trainee.finish().reconstruct(rows)[1]


if __name__ == "__main__":
    serve(Ours)
