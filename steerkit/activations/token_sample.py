"""Which tokens of a picture are kept at a denoising step, where not all are: the same ones however it is run.

The choice is made from the prompt's id and the step alone, by hashing, so that neither batching nor another prompt, a
process, a device or a release of a library changes it. All branches and all hookpoints with the same grid share it,
and of two sample sizes the smaller one's tokens are among the larger one's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TokenSample:
    """Keeps `count` tokens of each prompt at each step, chosen by `seed`."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self._seed = count, seed

    def positions(self, prompts: Sequence[str], step: int, tokens: int) -> npt.NDArray[np.int64] | None:
        """Positions [prompts, count], ascending, of the grid's `tokens`; None where it has no more than `count`."""
        import numpy as np

        if tokens <= self.count:
            return None
        keys = np.array([self._key(prompt, step) for prompt in prompts], np.uint64)
        ranks = _mixed(keys[:, None] + np.arange(tokens, dtype=np.uint64)[None] * np.uint64(_GOLDEN))
        # Stable, so that equal ranks, should there be any, fall alike everywhere.
        return np.sort(np.argsort(ranks, axis=1, kind="stable")[:, : self.count], axis=1)

    def _key(self, prompt: str, step: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed}/{step}/{prompt}".encode()).digest()[:8], "big")


# splitmix64 (Steele, Lea and Flood 2014): neighbouring numbers come out unlike one another.
_GOLDEN = 0x9E3779B97F4A7C15


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    import numpy as np

    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
