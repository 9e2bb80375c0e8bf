"""What is learned: the weights of an autoencoder under training, float32, with their optimiser's moments."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Adam in one pass over memory, with the decoder's unit norm kept inside it.
#
# Adam, arXiv:1412.6980, exactly as torch.optim.Adam does it (dense: a latent that was not used still moves by its
# momentum). A step of a large autoencoder reads and writes seven arrays as large as its weights, so they are taken in
# pieces of latents that stay in the processor's cache while a piece's gradient is made, projected, applied and normed.

BETAS = (0.9, 0.999)
EPS = 6.25e-10
"""Small, since the loss is a mean: gradients of a batch of 10^5 rows are near 1e-9 (arXiv:2406.04093)."""


@dataclass(slots=True)
class AdamMoments:
    """A parameter and the running means of its gradient and of its square, all of one shape."""

    parameter: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, parameter: Tensor) -> "AdamMoments":
        return cls(parameter, torch.zeros_like(parameter), torch.zeros_like(parameter))

    def piece(self, start: int, stop: int) -> "AdamMoments":
        """Views of the latents from `start` up to `stop`."""
        return AdamMoments(self.parameter[start:stop], self.mean[start:stop], self.square[start:stop])

    def step(self, gradient: Tensor, learning_rate: float, count: Tensor) -> None:
        """Moves the parameter, in place; `count` is the number of steps with this one, a 0-dimensional float32."""
        torch._fused_adam_(
            [self.parameter],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [count],
            lr=learning_rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def step_of_unit_rows(self, gradient: Tensor, learning_rate: float, count: Tensor) -> None:
        """The same for rows that stay of norm 1: the gradient loses what would only change norms, in place."""
        gradient.addcmul_(self.parameter, (gradient * self.parameter).sum(1, keepdim=True), value=-1)
        self.step(gradient, learning_rate, count)
        self.parameter /= torch.linalg.vector_norm(self.parameter, dim=1, keepdim=True)


WEIGHTS_AT_ONCE = 5 << 17
"""Weights whose gradients are made and applied at once on a CPU, rows of latents whole (512 latents for d = 1280): four
arrays of so many float32 numbers, 10 MB, stay in its last cache."""


class Gradients(Protocol):
    """Gradients of one step, the encoder's and the decoder's a piece of latents at a time."""

    @property
    def encoder_bias(self) -> Tensor:
        """Gradient [n] of the encoder's bias."""
        ...

    def piece(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Gradients [stop - start, d] of the encoder's and of the decoder's rows of latents start up to stop."""
        ...


@dataclass(slots=True)
class SaeWeights:
    """encoder, decoder [n, d], encoder_bias [n], decoder_bias [d]; `threshold` [n] for JumpReLU alone."""

    encoder: AdamMoments
    encoder_bias: AdamMoments
    decoder: AdamMoments
    decoder_bias: AdamMoments
    threshold: AdamMoments | None
    rounded: Tensor | None
    """The encoder in bfloat16, where products are made with it."""

    def step(
        self,
        gradients: Gradients,
        decoder_bias: Tensor,
        threshold: Tensor | None,
        *,
        learning_rate: float,
        count: Tensor,
    ) -> None:
        """One step of Adam. `decoder_bias` [d] is its gradient by the reconstruction; its part by the rows that the
        encoder is given, x - b, is added here."""
        size = len(self.encoder.parameter)
        by_rows = torch.zeros_like(decoder_bias)
        at_once = size if self.encoder.parameter.is_cuda else max(1, WEIGHTS_AT_ONCE // len(decoder_bias))
        for start in range(0, size, at_once):
            stop = min(start + at_once, size)
            encoder_gradient, decoder_gradient = gradients.piece(start, stop)
            encoder = self.encoder.piece(start, stop)
            by_rows.addmv_(encoder.parameter.T, gradients.encoder_bias[start:stop])
            encoder.step(encoder_gradient, learning_rate, count)
            if self.rounded is not None:
                self.rounded[start:stop].copy_(encoder.parameter)
            self.decoder.piece(start, stop).step_of_unit_rows(decoder_gradient, learning_rate, count)
        self.encoder_bias.step(gradients.encoder_bias, learning_rate, count)
        self.decoder_bias.step(decoder_bias - by_rows, learning_rate, count)
        if self.threshold is not None and threshold is not None:
            self.threshold.step(threshold, learning_rate, count)
            self.threshold.parameter.clamp_(min=0)

    def pre_activations(self, rows: Tensor) -> Tensor:
        """Of `rows` [rows, d] less the decoder's bias, float32 or (for a rounded encoder) bfloat16: [rows, n]."""
        if self.rounded is not None and rows.dtype == torch.bfloat16:
            return torch.addmm(self.encoder_bias.parameter.bfloat16(), rows, self.rounded.T)
        return torch.addmm(self.encoder_bias.parameter, rows, self.encoder.parameter.T)

    def named(self) -> dict[str, AdamMoments]:
        """Everything learned, by name."""
        learned = {name: getattr(self, name) for name in ("encoder", "encoder_bias", "decoder", "decoder_bias")}
        return learned if self.threshold is None else {**learned, "threshold": self.threshold}
