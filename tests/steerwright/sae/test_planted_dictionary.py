"""Rows made of known atoms: what an autoencoder has to find is known."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from steerwright.sae.training.config import sae_config
from steerwright.sae.training.trainer import Trainer

WIDTH, ATOMS, ACTIVE, BATCH = 32, 64, 3, 512
PLANTED = functional.normalize(torch.randn(ATOMS, WIDTH, generator=torch.Generator().manual_seed(77)), dim=1)


def rows_of_atoms(seed: int, rows: int = BATCH) -> Tensor:
    """Each row: 3 of 64 atoms with strengths from 0.5 to 1.5, about a mean of 0.5 in every dimension."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(rows, ATOMS, generator=generator).topk(ACTIVE, dim=1).indices
    strength = 0.5 + torch.rand(rows, ACTIVE, generator=generator)
    return torch.zeros(rows, ATOMS).scatter(1, chosen, strength) @ PLANTED + 0.5


def train(trainer: Trainer, steps: int, learning_rate: float = 3e-3) -> None:
    for step in range(steps):
        trainer.step(rows_of_atoms(step), learning_rate * min(1.0, 2 * (1 - step / steps)))


@pytest.mark.parametrize(
    "architecture",
    [
        {"architecture": "topk", "k": 3},
        {"architecture": "batchtopk", "k": 3},
        {"architecture": "matryoshka", "k": 3, "groups": [0.5, 0.5]},
        {"architecture": "relu", "l1": 0.3},
        {"architecture": "jumprelu", "l0": 0.02},
    ],
    ids=lambda each: each["architecture"],
)
def test_the_planted_dictionary_is_recovered(architecture: dict[str, Any]) -> None:
    trainer = Trainer(sae_config(latents=96, dead_after_rows=10_000, auxk_latents=8, **architecture), WIDTH)
    trainer.initialise(rows_of_atoms(999, 4096))
    train(trainer, 600)
    sae = trainer.finish()
    nearest = (PLANTED @ sae.decoder.T).amax(1)
    assert nearest.mean() >= 0.95
    rows = rows_of_atoms(10_000)
    latents, reconstruction = sae.reconstruct(rows)
    unexplained = (rows - reconstruction).square().sum() / (rows - rows.mean(0)).square().sum()
    assert unexplained < 0.15
    assert latents.used.sum(1).float().mean() < 12  # of 96; the batch-wise choice of 3 is a threshold by now


def revived(auxk: float) -> float:
    """Share of 48 of 96 latents, planted dead, that fire on new rows after 400 steps with this weight of AuxK."""
    config = sae_config(
        architecture="topk",
        k=3,
        latents=96,
        dead_after_rows=2 * BATCH,
        auxk=auxk,
        auxk_latents=16 if auxk else None,
        seed=3,
    )
    trainer = Trainer(config, WIDTH)
    trainer.initialise(rows_of_atoms(999, 4096))
    state = trainer.state()
    # Too short to be ever among the 3 largest. The 48 others cannot hold all 64 atoms: 16 at least are to come back.
    state["encoder.parameter"][:48] *= 1e-3
    trainer.load(state)
    for step in range(400):
        trainer.step(rows_of_atoms(step), 3e-3)
    latents = trainer.finish().encode(rows_of_atoms(10_000, 4096))
    fired = torch.bincount(latents.indices[latents.used], minlength=96) > 0
    return float(fired[:48].float().mean())


def test_auxk_revives_planted_dead_latents() -> None:
    assert revived(auxk=0) == 0
    assert revived(auxk=1 / 32) >= 16 / 48
