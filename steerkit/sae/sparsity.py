"""What keeps latents few, beside a choice of k: L1 of ReLU's latents, or JumpReLU's thresholds and its L0.

The losses are beside FVU: l1 * sum of z / sqrt(d), and l0 * number of latents above 0, both as means over rows.
JumpReLU, z = p where p > threshold, else 0, has no gradient by its threshold; a window of width e around it stands in
(arXiv:2407.14435, section 3): dz/dthreshold = -threshold/e, dL0/dthreshold = -1/e where |p - threshold| < e/2.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sparsity:
    """`threshold` [n] for JumpReLU alone; `l1` and `l0` as they are weighted at this step of training.

    `name`: of the penalty among the measures; None where a choice of k needs no penalty.
    """

    name: Literal["l1_penalty", "l0_penalty"] | None = None
    threshold: Tensor | None = None
    bandwidth: float = 1.0
    l1: float = 0.0
    l0: float = 0.0

    @property
    def floor(self) -> Tensor | float:
        """Below this [n] a pre-activation neither is a latent nor moves a threshold."""
        return 0.0 if self.threshold is None else (self.threshold - self.bandwidth / 2).clamp(min=0)

    def activate(self, pre: Tensor, latent: Tensor | None = None) -> Tensor:
        """Values of pre-activations: of the given latents [entries], or of all [rows, n]."""
        values = pre.relu()
        return values if self.threshold is None else values * (pre > self._thresholds(latent))

    def value_gradient(self, rows: int, width: int) -> float:
        """Gradient of the penalty by the value of an active latent."""
        return float(self.l1 / (rows * width**0.5))

    def penalty(self, values: Tensor, rows: int, width: int) -> Tensor:
        """The penalty, 0-dimensional, for values of all latents of `rows` rows of that width."""
        if self.threshold is not None:
            return (values > 0).sum() * (self.l0 / rows)
        return values.sum() * (self.l1 / (rows * width**0.5))

    def threshold_gradient(self, pre: Tensor, latent: Tensor | None, value_gradient: Tensor, rows: int) -> Tensor:
        """What each of `pre` gives to its threshold's gradient; `value_gradient`: of the other losses."""
        thresholds = self._thresholds(latent)
        inside = ((pre - thresholds).abs() < self.bandwidth / 2) & (pre > 0)
        return inside * (thresholds * value_gradient + self.l0 / rows) * (-1 / self.bandwidth)

    def named(self, penalty: Tensor) -> dict[str, Tensor]:
        """The penalty under its name, if it has one."""
        return {} if self.name is None else {self.name: penalty}

    def _thresholds(self, latent: Tensor | None) -> Tensor:
        assert self.threshold is not None
        return self.threshold if latent is None else self.threshold[latent]
