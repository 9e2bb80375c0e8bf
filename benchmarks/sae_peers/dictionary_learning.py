"""dictionary-learning 0.1.0: its TopKTrainer."""

from __future__ import annotations

from dictionary_learning.trainers.top_k import TopKTrainer
from torch import Tensor

from benchmarks.sae_peers.worker import Shape, serve


class DictionaryLearning:
    """Its defaults, but for sizes, the learning rate, and no decay in the last steps."""

    def __init__(self, shape: Shape, _first: Tensor) -> None:
        self._trainer = TopKTrainer(
            steps=shape.steps,
            activation_dim=shape.width,
            dict_size=shape.latents,
            k=shape.k,
            layer=0,
            lm_name="none",
            lr=shape.learning_rate,
            warmup_steps=0,
            decay_start=None,
            seed=0,
            device=shape.device,
        )
        self._done = 0

    def step(self, rows: Tensor) -> None:
        self._trainer.update(self._done, rows)
        self._done += 1

    def reconstruct(self, rows: Tensor) -> Tensor:
        return self._trainer.ae(rows)


if __name__ == "__main__":
    serve(DictionaryLearning)
