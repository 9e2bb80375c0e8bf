"""Several concepts at once: their vectors mixed by weights, and how often each of them shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from steerwright.errors import UserError
from steerwright.lab.checks import checked_name, checked_seed, checked_strength, checked_temperature, checked_tokens
from steerwright.lab.concepts import ConceptEntry
from steerwright.lab.jobs import Job
from steerwright.lab.operations.blend import PRESENT, Blend, answered, blend, expression, requests
from steerwright.lab.operations.steer_text import chosen_layers, edits_for, perplexity
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, layer_number

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench

TOKENS = 40
"""Long enough for concepts that take turns to have had one each."""


@dataclass(frozen=True, slots=True)
class MixedPart:
    """One concept of a mix: its `weight`, the `cosine` of its vector to the mix's (not a number where concepts take
    turns), and in which share of the answers it shows, with Wilson's 95 % interval, beside the share without steering.
    """

    concept: str
    weight: float
    cosine: float
    rate: float
    low: float
    high: float
    unsteered: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mix on the lab's prompts. `all_shown` is the share of answers that show every concept with a positive weight;
    `ratio` their perplexity over that of the unsteered ones; `samples` some (prompt, unsteered, steered)."""

    mix: str
    layer: int
    strength: float
    parts: tuple[MixedPart, ...]
    all_shown: float
    ratio: float
    prompts: int
    samples: tuple[tuple[str, str, str], ...]


def mix_concepts(
    workbench: Workbench,
    mix: Any,
    layer: Any = None,
    strength: Any = None,
    *,
    prompt: Any = None,
    tokens: Any = TOKENS,
    temperature: Any = 0.7,
    seed: Any = 0,
    job: Job | None = None,
) -> Mixed:
    """Steer by a mix such as `happy:0.7,excited:0.3` on the lab's twelve prompts, or `prompt` with twelve seeds.

    With bars, `happy:0.7|excited:0.3`, the concepts take turns (`blend`).

    `layer` and `strength`: None takes those of the concept with the largest weight. Raises UserError for what cannot be
    asked, Cancelled when `job` is stopped.
    """
    from steerwright.features.truth import wilson_interval
    from steerwright.steering.language.generate import Sampling
    from steerwright.steering.language.log_probs import token_log_probs

    job = job or Job()
    chosen = blend(workbench, mix)
    model = workbench.language()
    (layer,) = chosen_layers(layer, chosen, model.layers)
    strength = checked_strength(chosen.leading.strength if strength is None else strength)
    sampling = Sampling(max_new_tokens=checked_tokens(tokens), temperature=checked_temperature(temperature))
    prompts, seeds = requests(workbench, prompt, checked_seed(seed), sampling.temperature)
    edits = edits_for(model, chosen, [layer], strength)
    job.step(0.0, "Answers without steering")
    with workbench.turn("language", job.cancelled):
        plain = answered(model, prompts, seeds, sampling, [], job)
    job.step(0.45, "Answers with the mix")
    with workbench.turn("language", job.cancelled):
        moved = answered(model, prompts, seeds, sampling, edits, job)
    job.step(0.9, "Reading the answers")
    with workbench.turn("language", job.cancelled):
        before = {name: expression(workbench, entry, plain).values for name, entry in chosen.entries.items()}
        after = {name: expression(workbench, entry, moved).values for name, entry in chosen.entries.items()}
        surprise = [perplexity(torch.cat(token_log_probs(model, texts))) for texts in (plain, moved)]
    parts = []
    for name, weight in chosen.weights.items():
        shown = sum(value >= PRESENT for value in after[name])
        low, high = wilson_interval(shown, len(moved))
        parts.append(
            MixedPart(
                concept=name,
                weight=weight,
                cosine=math.nan if chosen.turns else _cosine(chosen.entries[name].vectors, chosen.vectors, layer),
                rate=shown / len(moved),
                low=low,
                high=high,
                unsteered=sum(value >= PRESENT for value in before[name]) / len(plain),
            )
        )
    wanted = [name for name, weight in chosen.weights.items() if weight > 0]
    together = [all(after[name][row] >= PRESENT for name in wanted) for row in range(len(moved))]
    return Mixed(
        mix=chosen.name,
        layer=layer,
        strength=strength,
        parts=tuple(parts),
        all_shown=sum(together) / len(together),
        ratio=surprise[1] / surprise[0],
        prompts=len(prompts),
        samples=tuple(
            (request, first.text.strip(), second.text.strip())
            for request, first, second in list(zip(prompts, plain, moved, strict=True))[:3]
        ),
    )


def keep_mix(workbench: Workbench, name: Any, mix: Any, layer: Any = None, strength: Any = None) -> ConceptEntry:
    """Save a mix as a concept of one's own, under a name that is free; it is in every list at once.

    UserError also for concepts that take turns: only a sum is one vector.
    """
    chosen: Blend = blend(workbench, mix)
    if chosen.turns:
        raise UserError(
            f"{chosen.name} takes turns, which is no vector that could be kept; add the concepts up, with commas "
            "instead of bars, to keep the sum."
        )
    name = checked_name(name)
    if name in workbench.concepts():
        raise UserError(f"There is a concept {name!r} already; choose another name, or delete that one in the Library.")
    (layer,) = chosen_layers(layer, chosen, workbench.language().layers)
    strength = checked_strength(chosen.leading.strength if strength is None else strength)
    entry = ConceptEntry(name=name, factor=None, origin="yours", vectors=chosen.vectors, layer=layer, strength=strength)
    workbench.add_concept(entry, {"mix": chosen.name})
    return entry


def _cosine(first: SteeringVectors, second: SteeringVectors, layer: int) -> float:
    return float(_at(first, layer).unit.double() @ _at(second, layer).unit.double())


def _at(vectors: SteeringVectors, layer: int) -> Direction:
    return next(found for slot, found in vectors.directions.items() if layer_number(slot.hookpoint) == layer)
