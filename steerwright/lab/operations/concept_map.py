"""A map of concepts in two dimensions, with the path that answers take on it as they are steered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from steerwright.errors import UserError
from steerwright.lab.checks import checked_choice, checked_layer, checked_seed, checked_strength, checked_text
from steerwright.lab.concepts import POLICY
from steerwright.lab.jobs import Job
from steerwright.lab.operations.separability import pair_activations

if TYPE_CHECKING:
    from torch import Tensor

    from steerwright.lab.concepts import ConceptEntry
    from steerwright.lab.jobs import Job
    from steerwright.lab.workbench import Workbench


STEPS = 5
"""Strengths on the path after the unsteered one, equally far apart."""
ANSWERS = 8
"""Answers at each strength, one for each seed; the path is that of their means."""
ANSWER_TOKENS = 24


@dataclass(frozen=True, slots=True, eq=False)
class ConceptPlane:
    """Places at one layer, as displacements from neutral answers, projected on the two directions that tell most.

    `names` [n] and `places` float32 [n, 2]: each concept's mean difference of its pairs of answers. `origin` [2]: no
    displacement at all. `strengths` [s] (the first is 0), `path` [s, 2]: the mean displacement of the answers from the
    unsteered ones; `answers` [s, seeds, 2] each by itself (not a number for an empty one). `explained`: the share of
    the concepts' spread that either axis shows. `kept` [s]: the share of the true distance from the unsteered answers
    that the map shows; not a number where there is none. `texts` [s]: the first answer at each strength.
    """

    concept: str
    steered_layer: int
    layer: int
    names: tuple[str, ...]
    places: Tensor
    origin: Tensor
    strengths: tuple[float, ...]
    path: Tensor
    answers: Tensor
    explained: tuple[float, float]
    kept: tuple[float, ...]
    texts: tuple[str, ...]


def concept_map(
    workbench: Workbench,
    prompt: Any,
    concept: Any,
    layer: Any,
    strength: Any,
    *,
    at_layer: Any = None,
    seed: Any = 0,
    factor: Any = None,
    job: Job | None = None,
) -> ConceptPlane:
    """Lay concepts out on a plane, and steer answers to `prompt` towards one of them, step by step to `strength`.

    The answers are written while steering at `layer`, then read again without any steering, so that the path shows
    where what was written lies, and not the vector that was added. All is measured after block `at_layer` (default:
    `layer`), as the mean over each answer's tokens. `factor`: only concepts of this factor are laid out (and the
    steered one); None takes all. Raises UserError, also when fewer than two concepts have a place there.
    """
    import torch

    from steerwright.activations.residuals import pooled_residuals
    from steerwright.steering.language.apply import text_edits
    from steerwright.steering.language.generate import Sampling, complete

    job = job or Job()
    text = checked_text(prompt, "prompt")
    entry = workbench.concept(concept)
    model = workbench.language()
    layer, strength, seed = checked_layer(layer, model.layers), checked_strength(strength), checked_seed(seed)
    read = layer if at_layer is None else checked_layer(at_layer, model.layers)
    entries = workbench.concepts()
    if factor is not None:
        checked_choice(factor, {one.factor for one in entries.values() if one.factor}, "factor")
    laid_out = [one for one in entries.values() if factor in (None, one.factor) or one.name == entry.name]
    names, raw = concept_places(workbench, laid_out, read, job)
    strengths = tuple(strength * step / STEPS for step in range(STEPS + 1))
    seeds = [(seed + number) % 2**32 for number in range(ANSWERS)]
    sampling = Sampling(max_new_tokens=ANSWER_TOKENS)
    # All strengths in one batch, each row with its own.
    rows = torch.tensor(strengths).repeat_interleave(ANSWERS)
    job.step(0.5, f"Writing {len(rows)} answers at {len(strengths)} strengths")
    edits = text_edits(entry.vectors, [layer], rows)
    with workbench.turn("language", job.cancelled):
        completions = complete(
            model, [text] * len(rows), seeds * len(strengths), sampling, edits, should_stop=job.cancelled
        )
    job.step(0.9, "Reading the answers")
    flat = [completion.text for completion in completions]
    said = [place for place, answer in enumerate(flat) if answer.strip()]
    with workbench.turn("language", job.cancelled):
        found_there = pooled_residuals(
            model, [flat[place] for place in said], [text] * len(said), role="assistant", policy=POLICY
        )[read]
    pooled = torch.full((len(flat), model.width), float("nan"))
    pooled[said] = found_there.float().cpu()
    pooled = pooled.reshape(len(strengths), ANSWERS, -1)
    moved = pooled - pooled[0].nanmean(0)
    for one, answers in zip(strengths, moved, strict=True):
        if answers.isnan().all():
            raise UserError(f"At strength {one:g} every answer is empty, so none has a place; use a smaller strength.")
    axes, centre, explained = principal_plane(raw)
    middle = centre @ axes.T
    on_map, mean = moved @ axes.T, moved.nanmean(1)
    rounding = 1e-5 * float(pooled[0].norm(dim=-1).nanmean())
    lengths = zip((mean @ axes.T).norm(dim=-1).tolist(), mean.norm(dim=-1).tolist(), strict=True)
    return ConceptPlane(
        concept=entry.name,
        steered_layer=layer,
        layer=read,
        names=names,
        places=raw @ axes.T - middle,
        origin=-middle,
        strengths=strengths,
        path=on_map.nanmean(1) - middle,
        answers=on_map - middle,
        explained=explained,
        kept=tuple(seen / whole if whole > rounding else float("nan") for seen, whole in lengths),
        texts=tuple(flat[::ANSWERS]),
    )


def principal_plane(raw: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """The two principal axes [2, d] of `raw` [n, d], their centre [d], and the shares of the spread they explain.

    An axis's sign is chosen so that its largest place is positive: the same concepts give the same map.
    """
    import torch

    centre = raw.mean(0)
    _, sizes, rows = torch.linalg.svd((raw - centre).double(), full_matrices=False)
    axes = rows[:2].float()
    if len(axes) < 2:
        axes = torch.cat([axes, torch.zeros_like(axes)])
    places = (raw - centre) @ axes.T
    largest = places.abs().argmax(0)
    axes = axes * torch.where(places[largest, [0, 1]] < 0, -1.0, 1.0)[:, None]
    spread = sizes.square()
    total = float(spread.sum())
    shares = (spread / total).tolist() if total > 0 else [0.0, 0.0]
    return axes, centre, (shares[0], shares[1] if len(shares) > 1 else 0.0)


# Where each concept's answers lie, as seen from the same answers without the concept.

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
