"""How well each layer tells a concept's examples from their neutral counterparts, measured on pairs held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.concepts import POLICY, Pair
from steerwright.lab.jobs import Job

if TYPE_CHECKING:
    from torch import Tensor

    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel


@dataclass(frozen=True, slots=True)
class Separability:
    """For each layer: `auroc`, the chance that a held-out positive text lies further along the direction than a
    held-out negative one (0.5 is guessing), and `gap`, how far apart the two kinds lie in standard deviations.

    Each pair is measured along the mean difference of the other `pairs - 1`.
    """

    concept: str
    pairs: int
    auroc: tuple[float, ...]
    gap: tuple[float, ...]

    @property
    def best(self) -> int:
        """The layer with the widest gap."""
        return max(range(len(self.gap)), key=lambda layer: self.gap[layer])


def concept_separability(workbench: Workbench, concept: Any, job: Job | None = None) -> Separability:
    """Measure a concept's contrast pairs; UserError when it has fewer than three (an imported one has none)."""
    job = job or Job()
    entry = workbench.concept(concept)
    if len(entry.pairs) < 3:
        raise UserError(
            f"{entry.name!r} has {len(entry.pairs)} contrast pairs here; at least 3 are needed to hold one out. "
            "Choose a concept that was made from pairs."
        )
    with workbench.turn("language", job.cancelled):
        above, below = pair_activations(workbench.language(), entry.pairs)
    auroc, gap = separability(above, below)
    return Separability(entry.name, len(entry.pairs), tuple(auroc.tolist()), tuple(gap.tolist()))


def pair_activations(model: LanguageModel, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Mean residual streams of the pairs' positive and negative answers, each float32 [layers, pairs, d].

    Whatever the concept's vectors were fitted on: what is measured are answers, over all of their tokens.
    """
    from steerwright.activations.residuals import pooled_residuals

    prompts = [pair.prompt for pair in pairs]
    texts = [pair.positive for pair in pairs] + [pair.negative for pair in pairs]
    pooled = pooled_residuals(model, texts, prompts + prompts, role="assistant", policy=POLICY).cpu()
    return pooled[:, : len(pairs)], pooled[:, len(pairs) :]


def separability(above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """AUROC and gap [layers] of `above` and `below` [layers, n, d], both measured along directions without the pair.

    A text's score is its distance along the unit mean difference of the other pairs from the middle of those. The gap
    is the difference of the two kinds' mean scores over the square root of their mean variance. Needs n >= 3.
    """
    import torch

    above, below = above.double(), below.double()
    count = above.shape[1]
    others_above = (above.sum(1, keepdim=True) - above) / (count - 1)
    others_below = (below.sum(1, keepdim=True) - below) / (count - 1)
    direction = torch.nn.functional.normalize(others_above - others_below, dim=-1)
    middle = (others_above + others_below) / 2
    high = ((above - middle) * direction).sum(-1)
    low = ((below - middle) * direction).sum(-1)
    further = (high[:, :, None] > low[:, None, :]).double() + 0.5 * (high[:, :, None] == low[:, None, :]).double()
    spread = ((high.var(dim=1) + low.var(dim=1)) / 2).sqrt().clamp(min=torch.finfo(high.dtype).tiny)
    return further.mean(dim=(1, 2)), (high.mean(1) - low.mean(1)) / spread
