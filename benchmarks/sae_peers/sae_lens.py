"""sae-lens 6.54.12: SAETrainer on a TopKTrainingSAE; variant "sparse" uses its sparse activations."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from torch import Tensor

from benchmarks.sae_peers.worker import Shape, serve


class SaeLens:
    """Its defaults, but for sizes and the learning rate."""

    def __init__(self, shape: Shape, _first: Tensor) -> None:
        torch.manual_seed(0)
        self._sae = TopKTrainingSAE(
            TopKTrainingSAEConfig(
                d_in=shape.width,
                d_sae=shape.latents,
                k=shape.k,
                use_sparse_activations=shape.variant == "sparse",
                device=shape.device,
            )
        )
        self._trainer = SAETrainer(
            SAETrainerConfig(
                total_training_samples=shape.steps * shape.batch,
                train_batch_size_samples=shape.batch,
                lr=shape.learning_rate,
                lr_end=shape.learning_rate,
                device=shape.device,
                logger=LoggingConfig(log_to_wandb=False),
            ),
            sae=self._sae,
            data_provider=_nothing(),
        )

    def step(self, rows: Tensor) -> None:
        self._trainer.step(rows)
        self._trainer.n_training_steps += 1

    def reconstruct(self, rows: Tensor) -> Tensor:
        return self._sae(rows)


def _nothing() -> Iterator[Tensor]:
    yield from ()


if __name__ == "__main__":
    serve(SaeLens)
