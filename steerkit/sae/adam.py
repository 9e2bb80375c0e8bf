"""Adam in one pass over memory, with the decoder's unit norm kept inside it.

Adam, arXiv:1412.6980, exactly as torch.optim.Adam does it (dense: a latent that was not used still moves by its
momentum). A step of a large autoencoder reads and writes seven arrays as large as its weights, so they are taken in
pieces of latents that stay in the processor's cache while a piece's gradient is made, projected, applied and normed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPS = 6.25e-10
"""Small, since the loss is a mean: gradients of a batch of 10^5 rows are near 1e-9 (arXiv:2406.04093)."""


@dataclass(slots=True)
class Moments:
    """A parameter and the running means of its gradient and of its square, all of one shape."""

    parameter: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, parameter: Tensor) -> "Moments":
        return cls(parameter, torch.zeros_like(parameter), torch.zeros_like(parameter))

    def piece(self, start: int, stop: int) -> "Moments":
        """Views of the latents from `start` up to `stop`."""
        return Moments(self.parameter[start:stop], self.mean[start:stop], self.square[start:stop])

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
