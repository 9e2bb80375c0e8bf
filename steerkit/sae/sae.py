"""A trained sparse autoencoder of any architecture: rows to latents and back."""

from dataclasses import dataclass, field

from torch import Tensor

from steerkit.sae.activation import Activation
from steerkit.sae.input_norm import InputNorm, NoNorm
from steerkit.sae.latents import SparseLatents
from steerkit.sae.site import Site


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
        return self.encoder.shape[1]

    def encode(self, rows: Tensor) -> SparseLatents:
        """Latents of `rows` [rows, d]; a row's latents depend on that row alone, never on its batch."""
        raise NotImplementedError

    def decode(self, latents: SparseLatents) -> Tensor:
        """Reconstruction [rows, d]. Where a norm was taken per row it cannot be undone here: use `reconstruct`."""
        raise NotImplementedError

    def reconstruct(self, rows: Tensor) -> tuple[SparseLatents, Tensor]:
        """Latents and reconstruction [rows, d] of `rows`, the input's norm undone."""
        raise NotImplementedError

    def delta(self, rows: Tensor, change: SparseLatents) -> Tensor:
        """What it does to `rows` [rows, d], in their own units, when latents change by `change`: nothing else changes.

        The sum over changed f of change_f * decoder[f], times what the input's norm divided by: x + delta is the edited
        row, and an empty change is exactly zero.
        """
        raise NotImplementedError
