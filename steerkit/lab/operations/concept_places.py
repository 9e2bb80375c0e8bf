"""Where each concept's answers lie, as seen from the same answers without the concept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from steerkit.errors import UserError
from steerkit.lab.operations.separability import pair_activations

if TYPE_CHECKING:
    from torch import Tensor

    from steerkit.lab.concepts import ConceptEntry
    from steerkit.lab.jobs import Job
    from steerkit.lab.workbench import Workbench

_READ: WeakKeyDictionary[Workbench, dict[str, tuple[ConceptEntry, Tensor]]] = WeakKeyDictionary()
"""What was read already, by concept; good while the concept is the same entry."""


def concept_places(
    workbench: Workbench, entries: Sequence[ConceptEntry], layer: int, job: Job
) -> tuple[tuple[str, ...], Tensor]:
    """Names and mean displacements float32 [n, d] after `layer`: positive less negative answers of the pairs.

    Measured over all tokens of the answers, whatever a concept's vectors were fitted on, so that all can be compared
    with each other and with other answers. A concept without pairs (an import) lies where its vector says, and is left
    out where it has none. Each concept's answers are read once. Raises UserError for fewer than two concepts.
    """
    import torch

    read = _READ.setdefault(workbench, {})
    unread = [
        entry for entry in entries if entry.pairs and (entry.name not in read or read[entry.name][0] is not entry)
    ]
    for number, entry in enumerate(unread):
        job.step(0.5 * number / len(unread), f"Reading examples of {entry.name}")
        with workbench.turn("language", job.cancelled):
            above, below = pair_activations(workbench.language(), entry.pairs)
        read[entry.name] = (entry, (above - below).mean(1))
    found = {
        entry.name: read[entry.name][1][layer] if entry.pairs else _vector(workbench, entry, layer) for entry in entries
    }
    there = {name: place for name, place in found.items() if place is not None}
    if len(there) < 2:
        raise UserError(
            f"A map needs at least two concepts with a place after layer {layer}; found {len(there)}. Choose another "
            "layer, or all factors."
        )
    return tuple(there), torch.stack(list(there.values()))


def _vector(workbench: Workbench, entry: ConceptEntry, layer: int) -> Tensor | None:
    hookpoint = workbench.language().hookpoints[layer]
    for slot, direction in entry.vectors.directions.items():
        if slot.hookpoint == hookpoint and not direction.per_position:
            return direction.unit * direction.norm
    return None
