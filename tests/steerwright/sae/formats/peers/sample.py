"""What the peers' scripts share: rows, random weights, and how a reference is written.

The scripts run where the libraries are installed, which need not be where steerwright is: nothing here imports it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

N, D, K = 64, 16, 4


def make_rows(count: int) -> np.ndarray:
    """Rows [count, 16]: most are random, and one is repeated, one all ones, one small and one large."""
    rows = np.random.default_rng(0).standard_normal((count, D)).astype(np.float32)
    rows[1] = rows[0]
    rows[2] = 1
    rows[3] *= 1e-3
    rows[4] *= 2
    return rows


class Weights:
    """Random weights from a seed. Latents 8 and 9, and 20 to 23, are twins: they tie wherever they are active."""

    def __init__(self, seed: int, bias: float = 0.0, norms: bool = False) -> None:
        """`bias`: added to all pre-activations; so low that few, or none, are positive. `norms`: decoder rows' lengths
        between 0.5 and 2, not 1."""
        generator = torch.Generator().manual_seed(seed)
        self.encoder = torch.randn(N, D, generator=generator) / D**0.5 / 2
        self.encoder[9] = self.encoder[8]
        self.encoder[20:24] = self.encoder[20]
        self.encoder_bias = torch.randn(N, generator=generator) * 0.1 + bias
        self.encoder_bias[9] = self.encoder_bias[8]
        self.encoder_bias[20:24] = self.encoder_bias[20]
        self.decoder = torch.nn.functional.normalize(torch.randn(N, D, generator=generator), dim=1)
        if norms:
            self.decoder *= 0.5 + 1.5 * torch.rand(N, 1, generator=generator)
            self.decoder[9] = self.decoder[8]
        self.decoder_bias = torch.randn(D, generator=generator) * 0.3
        self.threshold = torch.rand(N, generator=generator) / 2
        self.threshold[9] = self.threshold[8]
        self.gate_bias = torch.randn(N, generator=generator) * 0.3
        self.mag_bias = torch.randn(N, generator=generator) * 0.3
        self.r_mag = torch.randn(N, generator=generator) * 0.3
        self.skip = torch.randn(D, D, generator=generator) * 0.1


def filled(module: torch.nn.Module, **tensors: Tensor) -> Any:
    """`module` with these tensors as the values of its parameters, in their own dtypes."""
    with torch.no_grad():
        parameters = dict(module.named_parameters())
        for name, tensor in tensors.items():
            parameters[name.replace("__", ".")].copy_(tensor)
    return module


def write_reference(path: Path, latents: Tensor, reconstruction: Tensor) -> None:
    """The library's latents [rows, n], dense, and reconstruction [rows, d] of the rows."""
    np.savez_compressed(
        path, latents=latents.detach().float().numpy(), reconstruction=reconstruction.detach().float().numpy()
    )


def run(
    cases: dict[str, Callable[[Path, Tensor], tuple[Tensor, Tensor]]],
    golden: set[str],
    use: Callable[[Path, Tensor], tuple[Tensor, Tensor]],
) -> None:
    """Every case into MADE/NAME, with its reference in MADE/NAME.npz; with --golden only those that the repository
    keeps. With --use, a reference beside each checkpoint in that folder, as the library loads and uses it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path, metavar="ROWS.npy")
    parser.add_argument("made", type=Path, metavar="MADE")
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--use", type=Path, metavar="GIVEN")
    given = parser.parse_args()
    rows = torch.from_numpy(np.load(given.rows))
    with torch.no_grad():
        for name in golden if given.golden else cases:
            folder = given.made / name
            folder.mkdir(parents=True, exist_ok=True)
            write_reference(given.made / f"{name}.npz", *cases[name](folder, rows))
        for folder in sorted(given.use.iterdir()) if given.use else []:
            if folder.is_dir():
                write_reference(folder.with_name(f"{folder.name}.npz"), *use(folder, rows))
