"""Steering over layers and strengths: how often the concept comes through, and what it costs in coherence.

Every layer is steered with its own vector. The texts of all strengths at one layer are written together, as rows of one
batch; between two batches a waiting job has its turn at the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from steerwright.errors import UserError
from steerwright.lab.checks import checked_layer, checked_seed, checked_strength, checked_temperature, checked_tokens
from steerwright.lab.jobs import Job
from steerwright.lab.operations.blend import PRESENT, Blend, answered, blend, expression, requests
from steerwright.lab.operations.steer_text import edits_for, perplexity

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.language.generate import Completion

MOST_POINTS = 400
ROWS = 48
"""Texts that are written in one batch, and so between two turns at the model."""
COHERENT = 2.0
"""A text counts as coherent up to this multiple of the unsteered texts' perplexity."""
STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One layer at one strength, over all prompts.

    `rate` is the share of answers that show the concept, with Wilson's 95 % interval; `mean` how far they show it on
    average. `perplexity` is theirs under the unsteered model, and `ratio` that over the perplexity of the unsteered
    answers; `distinct` the share of their word pairs that differ. `sample` is the answer to the first prompt.
    """

    layer: int
    strength: float
    rate: float
    low: float
    high: float
    mean: float
    perplexity: float
    ratio: float
    distinct: float
    sample: str

    @property
    def coherent(self) -> bool:
        return self.ratio <= COHERENT


@dataclass(frozen=True, slots=True)
class Sweep:
    """All points, layer by layer, beside what the unsteered answers are; `prompts` is how many there were."""

    concept: str
    points: tuple[SweepPoint, ...]
    unsteered: SweepPoint
    prompts: int
    reader: str

    @property
    def best(self) -> SweepPoint | None:
        """The coherent point at which the concept shows most often; of equals the one that costs least."""
        coherent = [point for point in self.points if point.coherent]
        return max(coherent, key=lambda point: (point.rate, point.mean, -point.ratio), default=None)


def layer_analysis(
    workbench: Workbench,
    concept: Any,
    strength: Any = None,
    *,
    prompt: Any = None,
    tokens: Any = 24,
    temperature: Any = 0.7,
    seed: Any = 0,
    job: Job | None = None,
) -> Sweep:
    """Steer at every layer in turn, with that layer's own vector, at one strength (None: the concept's own)."""
    chosen = blend(workbench, concept)
    layers = range(workbench.language().layers)
    strength = chosen.leading.strength if strength is None else strength
    return sweep(
        workbench, concept, layers, [strength], prompt=prompt, tokens=tokens, temperature=temperature, seed=seed,
        job=job,
    )  # fmt: skip


def strength_sweep(
    workbench: Workbench,
    concept: Any,
    layer: Any = None,
    strengths: Sequence[Any] = STRENGTHS,
    *,
    prompt: Any = None,
    tokens: Any = 24,
    temperature: Any = 0.7,
    seed: Any = 0,
    job: Job | None = None,
) -> Sweep:
    """Steer at one layer (None: the concept's own) with every one of `strengths`."""
    chosen = blend(workbench, concept)
    layer = chosen.leading.layer if layer is None else layer
    return sweep(
        workbench, concept, [layer], strengths, prompt=prompt, tokens=tokens, temperature=temperature, seed=seed,
        job=job,
    )  # fmt: skip


def sweep(
    workbench: Workbench,
    concept: Any,
    layers: Sequence[Any],
    strengths: Sequence[Any],
    *,
    prompt: Any = None,
    tokens: Any = 24,
    temperature: Any = 0.7,
    seed: Any = 0,
    job: Job | None = None,
) -> Sweep:
    """Every layer with every strength, on the lab's twelve prompts, or on one `prompt` with twelve seeds.

    Answers of one prompt share their random numbers over all points, and with the unsteered answer. Raises UserError
    for what cannot be asked, Cancelled when `job` is stopped.
    """
    from steerwright.steering.language.generate import Sampling

    job = job or Job()
    chosen = blend(workbench, concept)
    model = workbench.language()
    places = list(dict.fromkeys(checked_layer(layer, model.layers) for layer in layers))
    steps = list(dict.fromkeys(checked_strength(strength) for strength in strengths))
    if not places or not steps or len(places) * len(steps) > MOST_POINTS:
        raise UserError(f"{len(places)} layers x {len(steps)} strengths cannot be swept; ask for 1 to {MOST_POINTS}.")
    chosen.check_layers(places)  # a layer without a vector is said now, not in the middle
    sampling = Sampling(max_new_tokens=checked_tokens(tokens), temperature=checked_temperature(temperature))
    prompts, seeds = requests(workbench, prompt, checked_seed(seed), sampling.temperature)
    job.step(0.0, "Answers without steering")
    with workbench.turn("language", job.cancelled):
        texts = answered(model, prompts, seeds, sampling, [], job)
        base = _point(workbench, model, chosen, texts, None, -1, 0.0)
    points = []
    for index, layer in enumerate(places):
        for group in _groups(steps, max(1, ROWS // len(prompts))):
            share = (index + steps.index(group[0]) / len(steps)) / len(places)
            job.step(share, f"Layer {layer}, strength {group[0]:g}" + (f" to {group[-1]:g}" if len(group) > 1 else ""))
            rows = torch.tensor([strength for strength in group for _ in prompts])
            with workbench.turn("language", job.cancelled):
                edits = edits_for(model, chosen, [layer], rows)
                texts = answered(model, prompts * len(group), seeds * len(group), sampling, edits, job)
                for place, strength in enumerate(group):
                    mine = texts[place * len(prompts) : (place + 1) * len(prompts)]
                    points.append(_point(workbench, model, chosen, mine, base[0], layer, strength))
            job.show(tuple(point for point, _ in points))
    return Sweep(chosen.name, tuple(point for point, _ in points), base[0], len(prompts), base[1])


def _groups(strengths: Sequence[float], size: int) -> list[list[float]]:
    return [list(strengths[start : start + size]) for start in range(0, len(strengths), size)]


def _point(
    workbench: Workbench,
    model: LanguageModel,
    chosen: Blend,
    texts: Sequence[Completion],
    base: SweepPoint | None,
    layer: int,
    strength: float,
) -> tuple[SweepPoint, str]:
    """The point, measured against the unsteered `base`, and who read the concept."""
    from steerwright.features.truth import wilson_interval
    from steerwright.scoring.language.fluency import distinct
    from steerwright.steering.language.log_probs import token_log_probs

    read = [expression(workbench, entry, texts) for entry in chosen.entries.values()]
    # Of a mix every part must show.
    least = [min(values) for values in zip(*(one.values for one in read), strict=True)]
    shown = sum(value >= PRESENT for value in least)
    low, high = wilson_interval(shown, len(texts))
    surprise = perplexity(torch.cat(token_log_probs(model, texts)))
    point = SweepPoint(
        layer=layer,
        strength=strength,
        rate=shown / len(texts),
        low=low,
        high=high,
        mean=sum(least) / len(least),
        perplexity=surprise,
        ratio=1.0 if base is None else surprise / base.perplexity,
        distinct=distinct([answer.text for answer in texts], 2),
        sample=texts[0].text.strip(),
    )
    return point, " and ".join(sorted({one.reader for one in read}))
