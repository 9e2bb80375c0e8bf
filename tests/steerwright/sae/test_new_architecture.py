"""A new architecture of autoencoders is two classes and two lines: it trains, is saved and loaded, and steers."""

from collections.abc import Iterator
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


@pytest.fixture
def known() -> Iterator[None]:
    ACTIVATIONS["shifted"], ARCHITECTURES["shifted"] = Shifted, ShiftedL1()
    yield
    del ACTIVATIONS["shifted"], ARCHITECTURES["shifted"]


def test_a_new_architecture_trains_is_kept_and_steers(known: None, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(512, 8, generator=generator).relu()
    trainer = Trainer(SaeConfig(architecture="shifted", latents=32, l1=0.01, learning_rate=0.01), 8)
    trainer.initialise(rows)
    losses = [float(trainer.step(rows, 0.01)["fvu"]) for _ in range(200)]
    assert losses[-1] < losses[0] / 2
    save_sae(trainer.finish(), tmp_path / "sae")
    sae = load_sae(tmp_path / "sae")
    assert isinstance(sae.activation, Shifted) and sae.activation.shift == 0.01
    assert torch.equal(sae.reconstruct(rows)[1], trainer.finish().reconstruct(rows)[1])
    latents = torch.tensor([int(sae.encode(rows).indices.flatten().clamp(min=0).mode().values)])
    double = EditLatents(sae, (LatentPart(latents, ScaleLatents(2.0)),))
    moved = edited(Edit(Hookpoint("any"), double, 1.0), rows[None]) - rows[None]
    # Only what the latent itself writes is added once more.
    value = (sae.encode(rows).values * (sae.encode(rows).indices == latents)).sum(1)
    expected = value[:, None] * sae.decoder[latents] / trainer.scale
    assert torch.allclose(moved[0], expected, atol=1e-5) and moved.abs().max() > 0
