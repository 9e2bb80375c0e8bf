"""The same autoencoder in other numbers: what is done to rows, biases and norms, put into the weights."""

from dataclasses import replace

import torch
from torch import Tensor

from steerkit.sae.activation import Gated, JumpRelu
from steerkit.sae.formats.unfit import Unfit
from steerkit.sae.input_norm import NoNorm, ScaleBy, Standardise
from steerkit.sae.sae import Sae

# SAELens folds by norms of at least so much.
_SMALLEST_NORM = 1e-8


def fold_decoder_norms(sae: Sae) -> Sae:
    """Decoder rows of length 1, their latents as many times larger: the same reconstruction.

    For activations that choose by z_f * |decoder_f|: choosing is then by the latents themselves. In float32 at least.
    """
    encoder, bias, decoder = (_at_least_float32(t) for t in (sae.encoder, sae.encoder_bias, sae.decoder))
    norms = torch.linalg.vector_norm(decoder, dim=1).clamp(min=_SMALLEST_NORM)
    return replace(sae, encoder=encoder * norms[:, None], encoder_bias=bias * norms, decoder=decoder / norms[:, None])


def fold_scale(sae: Sae, factor: float) -> Sae:
    """Of an autoencoder of rows times `factor`: one of the rows themselves, with the same latents."""
    encoder, decoder, bias = (_at_least_float32(t) for t in (sae.encoder, sae.decoder, sae.decoder_bias))
    input_bias = None if sae.input_bias is None else _at_least_float32(sae.input_bias) / factor
    return replace(
        sae, encoder=encoder * factor, decoder=decoder / factor, decoder_bias=bias / factor, input_bias=input_bias
    )


def fold_affine(sae: Sae, mean: Tensor, matrix: Tensor, inverse: Tensor) -> Sae:
    """Of an autoencoder of (x - mean) @ matrix, whose outputs are y @ inverse + mean: one of x, with the same latents.

    mean [d]; matrix, inverse [d, d]. Computed in float64. Raises Unfit for one with a skip connection.
    """
    if sae.skip is not None:
        raise Unfit("it has a skip connection and norms its rows by dimension")
    mean, matrix, inverse = mean.double(), matrix.double(), inverse.double()
    encoder = sae.encoder.double() @ matrix.T
    folded = replace(
        sae,
        encoder=encoder.to(_at_least_float32(sae.encoder)),
        decoder=(sae.decoder.double() @ inverse).to(_at_least_float32(sae.decoder)),
        decoder_bias=(sae.decoder_bias.double() @ inverse + mean).to(_at_least_float32(sae.decoder_bias)),
        input_bias=None
        if sae.input_bias is None
        else (sae.input_bias.double() @ inverse + mean).to(_at_least_float32(sae.input_bias)),
    )
    # Where a bias is subtracted, the mean is in it now.
    return folded if sae.subtract_bias or sae.input_bias is not None else _shifted(folded, encoder @ mean)


def fold_input_norm(sae: Sae) -> Sae:
    """Without an input norm, where that is one for all rows: a scale, or a mean and a deviation of each dimension."""
    match sae.input_norm:
        case ScaleBy(factor):
            return fold_scale(replace(sae, input_norm=NoNorm()), factor)
        case Standardise(mean, std):
            bare = replace(sae, input_norm=NoNorm())
            return fold_affine(bare, mean, torch.diag(1 / std.double()), torch.diag(std.double()))
    return sae


def fold_subtraction(sae: Sae) -> Sae:
    """With nothing subtracted from the rows: what was is in the encoder's biases. The same to rounding."""
    subtracted = sae.input_bias if sae.input_bias is not None else sae.decoder_bias if sae.subtract_bias else None
    if subtracted is None:
        return sae
    bare = replace(sae, subtract_bias=False, input_bias=None)
    return _shifted(bare, sae.encoder.double() @ subtracted.double())


def add_subtraction(sae: Sae) -> Sae:
    """With the decoder's bias subtracted from the rows, and added again in the encoder's biases."""
    if sae.subtract_bias and sae.input_bias is None:
        return sae
    bare = fold_subtraction(sae)
    return replace(_shifted(bare, -(bare.encoder.double() @ bare.decoder_bias.double())), subtract_bias=True)


def one_dtype(sae: Sae) -> Sae:
    """All weights in the widest dtype of any tensor, thresholds and the like included."""
    tensors = [sae.encoder, sae.encoder_bias, sae.decoder, sae.decoder_bias]
    tensors += [tensor for tensor in (sae.input_bias, sae.skip) if tensor is not None]
    match sae.activation:
        case JumpRelu(threshold):
            tensors.append(threshold)
        case Gated(gate_bias, mag_bias, r_mag):
            tensors += [gate_bias, mag_bias, r_mag]
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return sae.to(dtype=dtype)


def unit_decoder(sae: Sae) -> bool:
    """Whether all decoder rows have length 1, as closely as torch.allclose asks."""
    norms = torch.linalg.vector_norm(sae.decoder.float(), dim=1)
    return bool(torch.allclose(norms, torch.ones_like(norms)))


def _shifted(sae: Sae, shift: Tensor) -> Sae:
    """The encoder's biases less `shift` [n], float64."""
    match sae.activation:
        case Gated(gate_bias, mag_bias, r_mag):
            scaled = shift * r_mag.double().exp()
            gated = Gated(_less(gate_bias, shift), _less(mag_bias, scaled), r_mag)
            return replace(sae, activation=gated)
        case _:
            return replace(sae, encoder_bias=_less(sae.encoder_bias, shift))


def _less(bias: Tensor, shift: Tensor) -> Tensor:
    return (bias.double() - shift).to(_at_least_float32(bias))


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def common_threshold(sae: Sae) -> float | None:
    """The threshold of a JumpRelu that has one for all latents; None for any other."""
    if not isinstance(sae.activation, JumpRelu):
        return None
    threshold = sae.activation.threshold
    return float(threshold[0]) if bool((threshold == threshold[0]).all()) else None
