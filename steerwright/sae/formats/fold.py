"""The same autoencoder in other numbers: what is done to rows, biases and norms, put into the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.activations import Gated, JumpRelu
from steerwright.sae.formats.files import Unfit
from steerwright.sae.sae import InputNorm, NoNorm, PerRow, Sae, ScaleBy, Standardise

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


# What is made of a checkpoint of another library, and what its tensors must be.


@dataclass(frozen=True, slots=True, eq=False)
class ImportedSae:
    """An autoencoder that gives the latents and reconstructions of the library that it was saved with."""

    sae: Sae
    library: str
    version: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The checkpoint's own configuration, as it was."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of its training."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that are not needed to use it, kept so that they can be exported again."""
    lossy: tuple[str, ...] = ()
    """What of the checkpoint could not be kept, though it says how it is to be used; one line each."""
    notes: tuple[str, ...] = ()
    """What a user who imports it should know; nothing is lost."""


class Tensors:
    """A checkpoint's tensors by name, each of which is to be taken once, with the shape that it must have."""

    def __init__(self, found: Mapping[str, Any], place: Path) -> None:
        self._found = dict(found)
        self._place = place

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def size(self, name: str) -> tuple[int, int]:
        """Shape of the matrix `name`, which is left to be taken."""
        tensor = self._tensor(name)
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise UserError(f"{self._place}: {name} is {list(tensor.shape)}, not a matrix. Is it of this format?")
        return tensor.shape[0], tensor.shape[1]

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name`: contiguous, of finite floats, of this shape. UserError where it is not."""
        tensor = self._tensor(name)
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{self._place}: {name} is {list(tensor.shape)}, but the others make it {list(shape)}. Is it damaged?"
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{self._place}: {name} holds what is not a finite number. Is it damaged?")
        del self._found[name]
        return tensor.contiguous()

    def number(self, name: str) -> float:
        """The tensor of one number `name`."""
        tensor = self._tensor(name)
        if tensor.numel() != 1:
            raise UserError(f"{self._place}: {name} is {list(tensor.shape)}, not one number. Is it of this format?")
        del self._found[name]
        return float(tensor)

    def kept(self, *names: str) -> dict[str, Tensor]:
        """Those of the tensors `names` that there are, whatever they are like."""
        kept = {name: self._tensor(name).contiguous() for name in names if name in self._found}
        for name in kept:
            del self._found[name]
        return kept

    def left(self) -> tuple[str, ...]:
        """A line for each thing that nobody took."""
        return tuple(f"{name}, which this format does not have, is left out" for name in sorted(self._found))

    def _tensor(self, name: str) -> Tensor:
        tensor = self._found.get(name)
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            there = ", ".join(sorted(self._found)[:12]) or "nothing"
            raise UserError(f"{self._place} has no tensor {name} (it has {there}). Is it of this format?")
        return tensor.detach()


# The norm of rows that SAELens, SAeUron and OpenAI share: (x - mean) / (std + 1e-5), std with Bessel's correction.

LAYER_NORM = PerRow(1e-5, 1)


def is_layer_norm(norm: InputNorm) -> bool:
    """Whether `norm` is that one."""
    return isinstance(norm, PerRow) and (norm.eps, norm.ddof) == (LAYER_NORM.eps, LAYER_NORM.ddof)
