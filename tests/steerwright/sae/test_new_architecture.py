"""A new architecture of autoencoders, with a setting of its own, trains, is saved and loaded, and steers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import ACTIVATIONS, Activation, all_active
from steerwright.sae.architectures import ARCHITECTURES
from steerwright.sae.architectures.relu import ReluConfig, ReluL1
from steerwright.sae.sae_file import load_sae, save_sae
from steerwright.sae.training.config import sae_config
from steerwright.sae.training.trainer import Trainer
from steerwright.steering.algebra import Edit, edited
from steerwright.steering.latents.operators import EditLatents, LatentPart, ScaleLatents


@dataclass(frozen=True, slots=True, eq=False)
class Shifted(Activation):
    kind = "shifted"
    shift: float

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:
        return all_active((pre - self.shift).relu())


class ShiftedConfig(ReluConfig):
    architecture: Literal["shifted"] = "shifted"
    shift: float


class ShiftedL1(ReluL1):
    config = ShiftedConfig

    def activation(self, config: ShiftedConfig, threshold: Tensor | None, least: Tensor) -> Shifted:
        return Shifted(config.shift)


def test_a_new_architecture_trains_is_kept_and_steers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "shifted", Shifted)
    monkeypatch.setitem(ARCHITECTURES, "shifted", ShiftedL1())
    rows = torch.randn(512, 8, generator=torch.Generator().manual_seed(0)).relu()
    trainer = Trainer(sae_config(architecture="shifted", latents=32, l1=0.01, shift=0.01, learning_rate=0.01), 8)
    trainer.initialise(rows)
    losses = [float(trainer.step(rows, 0.01)["fvu"]) for _ in range(200)]
    save_sae(trainer.finish(), tmp_path / "sae")
    sae = load_sae(tmp_path / "sae")
    assert losses[-1] < losses[0] / 2 and isinstance(sae.activation, Shifted) and sae.activation.shift == 0.01
    assert torch.equal(sae.reconstruct(rows)[1], trainer.finish().reconstruct(rows)[1])
    values = sae.encode(rows).dense()
    latent = values.sum(0).argmax()
    double = Edit(Hookpoint("any"), EditLatents(sae, (LatentPart(latent[None], ScaleLatents(2.0)),)), 1.0)
    # Only what the latent itself writes is added once more.
    expected = values[:, latent, None] * sae.decoder[latent] / trainer.scale
    assert torch.allclose(edited(double, rows[None])[0] - rows, expected, atol=1e-5) and expected.abs().max() > 0
