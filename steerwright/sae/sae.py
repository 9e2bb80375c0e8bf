"""A trained sparse autoencoder of any architecture: rows to latents and back."""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from steerwright.errors import UserError
from steerwright.sae.activations import Activation
from steerwright.sae.latents import SparseLatents
from steerwright.sae.products import weighted_rows
from steerwright.sae.site import Site

# What is done to rows before they are encoded, and undone after they are decoded.


@dataclass(frozen=True, slots=True, eq=False)
class NoNorm:
    """Rows as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class ScaleBy:
    """Rows times a constant, for instance so that their mean norm is sqrt(d)."""

    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class PerRow:
    """Each row less its mean, over its standard deviation + eps; `ddof` 1 is Bessel's correction (SAeUron), 0 not.

    Undone by the deviation alone, without eps, as OpenAI, SAELens and SAeUron undo it.
    """

    eps: float
    ddof: Literal[0, 1] = 0


@dataclass(frozen=True, slots=True, eq=False)
class ConstantNorm:
    """Each row scaled to norm sqrt(d). A row of zeros stays as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Standardise:
    """Rows less `mean` [d], over `std` [d] (statistics of the training rows)."""

    mean: Tensor
    std: Tensor


InputNorm = NoNorm | ScaleBy | PerRow | ConstantNorm | Standardise

PER_ROW = (PerRow, ConstantNorm)
"""Norms that only the row itself can undo."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The way back from what was encoded to the rows' own units: times `scale`, plus `shift`.

    Each is a number, a row [d], or one number for each row [rows, 1].
    """

    scale: Tensor | float
    shift: Tensor | float

    def undo(self, rows: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """`rows` [rows, d] in their own units."""
        return self.difference(rows) if isinstance(self.shift, float) else self.difference(rows) + self.shift

    def difference(self, rows: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """What a difference of two encoded rows [rows, d] is in the rows' own units: the shift cancels."""
        return rows if isinstance(self.scale, float) and self.scale == 1.0 else rows * self.scale


def units(norm: InputNorm, rows: Float[Tensor, "rows d"]) -> Units:
    """How `norm` is undone for these `rows` [rows, d]; in their dtype and on their device."""
    match norm:
        case NoNorm():
            return Units(1.0, 0.0)
        case ScaleBy(factor):
            return Units(1 / factor, 0.0)
        case PerRow(_, ddof):
            return Units(rows.std(1, correction=ddof, keepdim=True), rows.mean(1, keepdim=True))
        case ConstantNorm():
            norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True) / rows.shape[1] ** 0.5
            return Units(torch.where(norms > 0, norms, 1.0), 0.0)
        case Standardise(mean, std):
            return Units(std.to(rows), mean.to(rows))


def normalised(norm: InputNorm, rows: Float[Tensor, "rows d"]) -> tuple[Float[Tensor, "rows d"], Units]:
    """`rows` [rows, d] as they are encoded, and how that is undone."""
    back = units(norm, rows)
    if isinstance(norm, NoNorm):
        return rows, back
    if isinstance(norm, ScaleBy):
        return rows * norm.factor, back
    centred = rows if isinstance(back.shift, float) else rows - back.shift
    divisor = back.scale + norm.eps if isinstance(norm, PerRow) else back.scale
    return centred / divisor, back


WEIGHTS = ("encoder", "encoder_bias", "decoder", "decoder_bias", "input_bias", "skip")


@dataclass(frozen=True, slots=True, eq=False)
class Sae:
    """x^ = b_dec + sum over active f of z_f * decoder[f], with z = activation(encoder (x - b_dec) + encoder_bias).

    encoder, decoder: [n, d], one row per latent; encoder_bias [n] (zeros where a format has none; for Gated zeros);
    decoder_bias [d]. `subtract_bias`: whether the decoder's bias is taken off before encoding (`input_bias` [d], if
    given, is taken off instead). `skip` [d, d]: x^ gains x @ skip.T. Weights may be float32, float16 or bfloat16; rows
    are encoded in the weights' dtype unless that is narrower than the rows'.
    """

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    activation: Activation
    input_norm: InputNorm = field(default_factory=NoNorm)
    subtract_bias: bool = True
    input_bias: Tensor | None = None
    skip: Tensor | None = None
    site: Site = field(default_factory=Site)

    @property
    def size(self) -> int:
        """Number of latents, n."""
        return len(self.encoder)

    @property
    def width(self) -> int:
        """Width of the rows, d."""
        return int(self.encoder.shape[1])

    def encode(self, rows: Float[Tensor, "rows d"]) -> SparseLatents:
        """Latents of `rows` [rows, d]; a row's latents depend on that row alone, never on its batch."""
        return self._encode(normalised(self.input_norm, self._cast(rows))[0])

    def decode(self, latents: SparseLatents) -> Float[Tensor, "rows d"]:
        """Reconstruction [rows, d]. Where a norm was taken per row it cannot be undone here: use `reconstruct`."""
        if isinstance(self.input_norm, PER_ROW) or self.skip is not None:
            raise ValueError("What this autoencoder reconstructs depends on the rows themselves: use reconstruct(rows)")
        decoded = self._decode(latents)
        return units(self.input_norm, decoded).undo(decoded)

    def reconstruct(self, rows: Float[Tensor, "rows d"]) -> tuple[SparseLatents, Float[Tensor, "rows d"]]:
        """Latents and reconstruction [rows, d] of `rows`, the input's norm undone."""
        encoded, back = normalised(self.input_norm, self._cast(rows))
        latents = self._encode(encoded)
        decoded = self._decode(latents)
        if self.skip is not None:
            decoded = decoded + encoded @ self.skip.to(encoded.dtype).T
        return latents, back.undo(decoded)

    def delta(self, rows: Float[Tensor, "rows d"], change: SparseLatents) -> Float[Tensor, "rows d"]:
        """What it does to `rows` [rows, d], in their own units, when latents change by `change`: nothing else changes.

        The sum over changed f of change_f * decoder[f], times what the input's norm divided by: x + delta is the edited
        row, and an empty change is exactly zero. In the rows' dtype.
        """
        cast = self._cast(rows)
        moved = weighted_rows(change.indices, change.values, self.decoder.to(cast.dtype))
        return units(self.input_norm, cast).difference(moved).to(rows.dtype)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same autoencoder with all its tensors on `device`, its weights in `dtype`."""

        def moved(name: str, value: Any) -> Any:
            if is_dataclass(value) and not isinstance(value, type):
                return replace(value, **{f.name: moved(f.name, getattr(value, f.name)) for f in fields(value)})
            if isinstance(value, Tensor):
                return value.to(device=device, dtype=dtype if name in WEIGHTS else None)
            return value

        sae: Self = moved("", self)
        return sae

    def _cast(self, rows: Tensor) -> Tensor:
        if rows.shape[-1] != self.width:
            raise UserError(
                f"The autoencoder is for rows of {self.width} numbers, but these have {rows.shape[-1]}: they are of "
                "another model or hookpoint."
            )
        return rows.to(torch.promote_types(rows.dtype, self.encoder.dtype))

    def _encode(self, rows: Tensor) -> SparseLatents:
        if self.input_bias is not None:
            rows = rows - self.input_bias.to(rows.dtype)
        elif self.subtract_bias:
            rows = rows - self.decoder_bias.to(rows.dtype)
        return sparse_latents(
            rows,
            self.encoder.to(rows.dtype),
            self.encoder_bias.to(rows.dtype),
            self.activation,
            torch.linalg.vector_norm(self.decoder.to(rows.dtype), dim=1) if self.activation.by_decoder_norm else None,
        )

    def _decode(self, latents: SparseLatents) -> Tensor:
        dtype = torch.promote_types(latents.values.dtype, self.decoder.dtype)
        decoded = weighted_rows(latents.indices, latents.values, self.decoder.to(dtype))
        return decoded + self.decoder_bias.to(dtype)


# Pre-activations to sparse latents, for every activation.

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
        activation.active(functional.linear(piece, encoder, bias), decoder_norms)
        for piece in rows.split(max(1, PRE_ACTIVATIONS // size))
    ]
    places = max(indices.shape[1] for indices, _ in pieces)
    indices = [functional.pad(piece, (0, places - piece.shape[1]), value=-1) for piece, _ in pieces]
    values = [functional.pad(piece, (0, places - piece.shape[1])) for _, piece in pieces]
    return SparseLatents(torch.cat(indices), torch.cat(values), size)
