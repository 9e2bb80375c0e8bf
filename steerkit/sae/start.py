"""Where the training of an autoencoder starts from."""

import torch
from torch import Tensor

from steerkit.sae.config import CHOOSES_K, SaeConfig
from steerkit.sae.geometric_median import geometric_median
from steerkit.sae.select import largest
from steerkit.sae.weights import Weights

MEDIAN_ROWS = 1 << 15
"""Rows whose geometric median the decoder's bias starts from (fewer if fewer are given)."""
FITTED_ROWS = 1024


def start(config: SaeConfig, rows: Tensor, weights: Weights) -> float:
    """Fills `weights` from `rows` [rows, d], a mixed sample: of many prompts, steps and places, not of a few pictures.

    Returns the rows' scale, which makes their mean norm sqrt(d); the weights are for scaled rows. The decoder's bias is
    their geometric median. Decoder rows are random unit directions, the same on every device for a seed; the encoder
    has the same directions (tied), and one length that fits the first reconstruction to the rows (arXiv:2406.04093,
    appendix A.1).
    """
    rows = rows.float()
    norm = float(torch.linalg.vector_norm(rows, dim=1).mean(dtype=torch.float64))
    width = rows.shape[1]
    scale = width**0.5 / norm if config.normalise and norm > 0 else 1.0
    sample = rows[:: max(1, len(rows) // MEDIAN_ROWS)][:MEDIAN_ROWS] * scale
    bias, decoder = weights.decoder_bias.parameter, weights.decoder.parameter
    bias.copy_(geometric_median(sample))
    generator = torch.Generator().manual_seed(config.seed)
    decoder.copy_(torch.randn(config.latents, width, generator=generator))
    decoder /= torch.linalg.vector_norm(decoder, dim=1, keepdim=True)
    fitted = sample[:: max(1, len(sample) // FITTED_ROWS)][:FITTED_ROWS] - bias
    torch.mul(decoder, _length(config, fitted, decoder), out=weights.encoder.parameter)
    weights.encoder_bias.parameter.zero_()
    if weights.threshold is not None:
        weights.threshold.parameter.fill_(config.threshold)
    return scale


def _length(config: SaeConfig, rows: Tensor, decoder: Tensor) -> float:
    """The a for which a times what the tied encoder's latents decode to is nearest to `rows`; 1 if that is not > 0."""
    latents = rows @ decoder.T
    if config.architecture in CHOOSES_K and config.k is not None:
        values, indices = largest(latents, config.k)
        latents = latents.zero_().scatter_(1, indices, values)
    decoded = latents.relu_() @ decoder
    energy = float(decoded.square().sum())
    length = float((decoded * rows).sum()) / energy if energy > 0 else 1.0
    return length if length > 0 else 1.0
