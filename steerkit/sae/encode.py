"""Pre-activations to sparse latents, for every activation."""

import torch
from torch import Tensor
from torch.nn import functional

from steerkit.sae.activation import AbsTopK, Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from steerkit.sae.latents import SparseLatents
from steerkit.sae.select import largest

PRE_ACTIVATIONS = 1 << 24
"""Pre-activations that are held at once: rows are encoded in pieces of at most so many numbers."""


def sparse_latents(
    rows: Tensor, encoder: Tensor, bias: Tensor, activation: Activation, decoder_norms: Tensor | None
) -> SparseLatents:
    """Latents of `rows` [rows, d], as they come to the encoder [n, d] with its bias [n]; all of one dtype.

    `decoder_norms` [n] are needed where the activation chooses by them.
    """
    size = len(encoder)
    if len(rows) == 0:
        return SparseLatents(torch.empty(0, 0, dtype=torch.int64, device=rows.device), rows.new_empty(0, 0), size)
    pieces = [
        _active(functional.linear(piece, encoder, bias), activation, decoder_norms)
        for piece in rows.split(max(1, PRE_ACTIVATIONS // size))
    ]
    places = max(indices.shape[1] for indices, _ in pieces)
    indices = [functional.pad(piece, (0, places - piece.shape[1]), value=-1) for piece, _ in pieces]
    values = [functional.pad(piece, (0, places - piece.shape[1])) for _, piece in pieces]
    return SparseLatents(torch.cat(indices), torch.cat(values), size)


def _active(pre: Tensor, activation: Activation, decoder_norms: Tensor | None) -> tuple[Tensor, Tensor]:
    """Indices and values [rows, places] of the active latents of pre-activations [rows, n], the most active first."""
    match activation:
        case Relu():
            return _all_active(pre.relu())
        case JumpRelu(threshold):
            return _all_active(torch.where(pre > threshold.to(pre), pre, 0.0).relu())
        case Gated(gate_bias, mag_bias, r_mag):
            magnitude = pre * r_mag.to(pre).exp() + mag_bias.to(pre)
            return _all_active(torch.where(pre + gate_bias.to(pre) > 0, magnitude, 0.0).relu())
        case TopK(k, relu, by_decoder_norm):
            if not by_decoder_norm:
                # Which of equal values torch.topk takes depends on the whole row, so that is as the libraries have it.
                values, indices = largest(pre.relu_() if relu == "before" else pre, k)
                return _used(indices, values.relu())
            assert decoder_norms is not None
            _, indices = largest(pre * decoder_norms, k)
            return _sorted(indices, pre.gather(1, indices).relu())
        case AbsTopK(k):
            _, indices = largest(pre.abs(), k)
            return _used(indices, pre.gather(1, indices))
        case GroupMax(k):
            values, within = pre.unflatten(1, (k, -1)).max(2)
            first = torch.arange(k, device=pre.device) * (pre.shape[1] // k)
            return _sorted(first + within, values.relu())


def _all_active(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The non-zero ones of dense, non-negative latents [rows, n]: as many places as the fullest row has."""
    # By their places rather than by a topk over the row: of a thousand latents some sixteen are active.
    rows, size = latents.shape
    at = (latents > 0).flatten().nonzero().squeeze(1)
    row = at // size
    count = torch.bincount(row, minlength=rows)
    places = int(count.max())
    slot = row * places + torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    values = latents.new_zeros(rows * places)
    values[slot] = latents.flatten()[at]
    indices = torch.full((rows * places,), -1, device=row.device)
    indices[slot] = at - row * size
    return _sorted(indices.reshape(rows, places), values.reshape(rows, places))


def _sorted(indices: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    values, order = values.sort(dim=1, descending=True, stable=True)
    return _used(indices.gather(1, order), values)


def _used(indices: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Latents of value 0 are not active, wherever a choice of k had to take them."""
    return torch.where(values != 0, indices, -1), values
