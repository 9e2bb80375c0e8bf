"""Which latents have not fired for long."""

import torch
from torch import Tensor

LIST_EVERY = 16
"""Steps after which the dead are listed anew. How many they are must be known on the host, so a list costs a
synchronisation; the counts themselves never do."""


class DeadLatents:
    """Counts, for each of `size` latents, the rows since it last fired (was above 0)."""

    def __init__(self, size: int, after_rows: int, device: torch.device) -> None:
        self.after_rows = after_rows
        self.rows_since_fired = torch.zeros(size, dtype=torch.int64, device=device)
        self.listed = torch.empty(0, dtype=torch.int64, device=device)
        """Indices of the dead, in order, as of the last listing."""

    @property
    def share(self) -> Tensor:
        """Dead latents as a share of all, 0-dimensional, as of now."""
        return (self.rows_since_fired >= self.after_rows).float().mean()

    def count(self, fired: Tensor, rows: int, step: int) -> None:
        """After step number `step` of `rows` rows, in which the latents where bool [n] `fired` is set were above 0."""
        self.rows_since_fired.add_(rows).masked_fill_(fired, 0)
        if step % LIST_EVERY == 0:
            self.listed = (self.rows_since_fired >= self.after_rows).nonzero().squeeze(1)
