"""Activations that are known, as latents of images and as an S matrix in memory."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.features.s_matrix import SMatrix, SMatrixSource
from steerwright.sae.latents import SparseLatents
from steerwright.sae.site import Site


def sparse(dense: Tensor) -> SparseLatents:
    """Dense activations [rows, n] as an autoencoder gives them: the most active first, unused places -1 and 0."""
    order = dense.abs().argsort(dim=1, descending=True, stable=True)
    values = dense.gather(1, order)
    places = int((values != 0).sum(1).max())
    order, values = order[:, :places], values[:, :places]
    return SparseLatents(torch.where(values != 0, order, -1), values, dense.shape[1])


def activations(images: int, tokens: int, size: int, *, seed: int = 0, signed: bool = False) -> Tensor:
    """Dense activations [images, tokens, n], most of them 0; latent n - 1 is never active."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(images, tokens, size, generator=generator)
    values = values if signed else values.abs()
    values = values * (torch.rand(images, tokens, size, generator=generator) < 0.2)
    values[..., 0] = torch.rand(images, tokens, generator=generator) + 0.5  # active on every token
    values[..., -1] = 0
    return values


def s_matrix(values: NDArray[np.floating]) -> SMatrix:
    """The same pooled activations [images, n] for all three statistics."""
    held = np.asarray(values, dtype=np.float32)
    images = tuple(f"image{number}" for number in range(len(held)))
    source = SMatrixSource(
        sae="toy", key="k", size=held.shape[1], site=Site(), step=3, grid=(1, 1), images=images, top_share=1.0
    )
    return SMatrix(source, held, held, held)


@pytest.fixture
def sparse_of() -> Callable[[Tensor], SparseLatents]:
    return sparse


@pytest.fixture
def activations_of() -> Callable[..., Tensor]:
    return activations


@pytest.fixture
def s_matrix_of() -> Callable[[NDArray[np.floating]], SMatrix]:
    return s_matrix
