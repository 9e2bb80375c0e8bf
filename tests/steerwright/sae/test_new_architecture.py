"""A new architecture of autoencoders is two classes and two lines: it trains, is saved and loaded, and steers."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import ACTIVATIONS, Activation, all_active
from steerwright.sae.architectures import ARCHITECTURES, Architecture
from steerwright.sae.sae_file import load_sae, save_sae
from steerwright.sae.training.config import SaeConfig
from steerwright.sae.training.selection import PreActivations, Selection, all_above
from steerwright.sae.training.trainer import Trainer
from steerwright.steering.algebra import Edit, edited
from steerwright.steering.latents.operators import EditLatents, LatentPart, ScaleLatents


@dataclass(frozen=True, slots=True, eq=False)
class Shifted(Activation):
    """What a positive pre-activation exceeds `shift` by."""

    kind = "shifted"
    shift: float

    def active(self, pre: Tensor, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:
        return all_active((pre - self.shift).relu())


class ShiftedL1(Architecture):
    name, sparse_by = "shifted", "l1"

    def select(self, config: SaeConfig, pre: PreActivations, floor: Tensor | float) -> Selection:
        return all_above(pre, floor)

    def activation(self, config: SaeConfig, threshold: Tensor | None, least: Tensor) -> Activation:
        return Shifted(0.01)


def test_a_new_architecture_trains_is_kept_and_steers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "shifted", Shifted)
    monkeypatch.setitem(ARCHITECTURES, "shifted", ShiftedL1())
    rows = torch.randn(512, 8, generator=torch.Generator().manual_seed(0)).relu()
    trainer = Trainer(SaeConfig(architecture="shifted", latents=32, l1=0.01, learning_rate=0.01), 8)
    trainer.initialise(rows)
    losses = [float(trainer.step(rows, 0.01)["fvu"]) for _ in range(200)]
    assert losses[-1] < losses[0] / 2
    save_sae(trainer.finish(), tmp_path / "sae")
    sae = load_sae(tmp_path / "sae")
    assert isinstance(sae.activation, Shifted) and sae.activation.shift == 0.01
    assert torch.equal(sae.reconstruct(rows)[1], trainer.finish().reconstruct(rows)[1])
    values = sae.encode(rows).dense()
    latent = values.sum(0).argmax()
    double = EditLatents(sae, (LatentPart(latent[None], ScaleLatents(2.0)),))
    moved = edited(Edit(Hookpoint("any"), double, 1.0), rows[None])[0] - rows
    # Only what the latent itself writes is added once more.
    assert torch.allclose(moved, values[:, latent, None] * sae.decoder[latent] / trainer.scale, atol=1e-5)
    assert moved.abs().max() > 0
