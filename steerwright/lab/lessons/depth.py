"""Lesson 4: at which layer to push, and with which layer's vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.charts.charts import heatmap
from steerwright.lab.charts.line_chart import Line, line_chart
from steerwright.lab.lessons.lesson import (
    LayerSlider,
    Lesson,
    LessonOutcome,
    LessonStep,
    Number,
    OneOf,
    bars,
    percent,
    times,
)

if TYPE_CHECKING:
    from steerwright.lab.lessons.experiment import Experiment
    from steerwright.steering.algebra import Edit

_OFTEN, _NEAR, _LOST = 0.8, 1.05, 0.5
_KEPT, _LOSES = "at least half of the effect is kept", "more than half of it is lost"


def _where(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, strength, layer = given["concept"], float(given["strength"]), experiment.layer(given["layer"])
    layers = range(experiment.model.layers)
    pushes = [experiment.edits(concept, [number], strength) for number in layers]
    base, *found = experiment.compare([[], *pushes], count=12)
    shares = [one.show(concept) for one in found]
    rates = [share.rate for share in shares]
    ratios = [one.perplexity_ratio(base) for one in found]
    often = [number for number in layers if rates[number] >= _OFTEN]
    cheapest = min((ratios[number] for number in often), default=float("nan"))
    passed = layer in often and ratios[layer] <= _NEAR * cheapest
    said = f"At layer {layer}, {shares[layer]} answers show {concept}, at {times(ratios[layer])} the perplexity. "
    if passed:
        dearest = max(ratios[number] for number in often)
        said += "No layer that shows it as often is clearly cheaper"
        said += f"; the dearest of those that do costs {times(dearest)}." if len(often) > 1 else "."
    elif not often:
        said += f"At this strength no layer reaches {percent(_OFTEN)}. Push harder."
    elif layer not in often:
        said += f"That is less than {percent(_OFTEN)}; the curve shows which layers reach it."
    else:
        said += f"Another layer shows it as reliably at {times(cheapest)}. The second curve shows which."
    drawn = line_chart(
        [
            Line("answers that show it", list(layers), rates, [s.interval[0] for s in shares],
                 [s.interval[1] for s in shares]),
            Line("unsteered", [0, layers[-1]], [base.show(concept).rate] * 2, colour="plain", dashed=True, dots=False),
        ],
        title=f"{concept} at every layer, strength {strength:g}", x_label="layer", y_label="share of answers",
        y_range=(0, 1), limits=[(_OFTEN, "often enough")], marked=layer,
        caption="12 answers at each layer; the band is the 95 % interval",
    )  # fmt: skip
    cost = line_chart(
        [Line("perplexity", list(layers), ratios, colour="second")],
        title="What it costs", x_label="layer", y_label="times the perplexity", y_range=(0, 2), marked=layer,
    )  # fmt: skip
    return LessonOutcome(
        passed, said, (drawn, cost), {"rate": rates[layer], "ratio": ratios[layer], "cheapest": cheapest}
    )


def _borrowed(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, strength = given["concept"], float(given["strength"])
    source = experiment.layer(given["source"])
    layer = experiment.entry(concept).layer
    if source == layer:
        raise UserError(f"Layer {layer} is where {concept} is added; borrow another layer's vector.")
    own = experiment.edits(concept, [layer], strength)
    base, mine, foreign = experiment.compare([[], own, borrowed_edits(experiment, concept, source, layer, strength)])
    before, right, wrong = (answers.show(concept) for answers in (base, mine, foreign))
    gained, kept = right.rate - before.rate, wrong.rate - before.rate
    alike = _cosines(experiment, concept)
    cosine = alike[layer][source]
    said = f"With layer {layer}'s own vector {right} answers show {concept}; with layer {source}'s, {wrong}. "
    if gained <= 0:
        said += "Its own vector does nothing at this strength, so nothing can be kept or lost. Push harder."
        truth = ""
    else:
        truth = _KEPT if kept >= _LOST * gained else _LOSES
        said += f"The two vectors have cosine {cosine:.2f}; {truth}. "
        said += (
            "Here a borrowed vector still means much the same, since blocks add to the stream and seldom turn what is "
            "in it. Never take that for granted: a sweep over layers that uses one layer's vector everywhere compares "
            "vectors, and not layers."
            if truth == _KEPT
            else "Layers write in different directions, even for one idea. A sweep over layers that uses one layer's "
            "vector everywhere measures that, and not the layers."
        )
    drawn = bars(
        f"Steering at layer {layer}, strength {strength:g}",
        [("unsteered", before, "plain"), (f"layer {layer}'s vector", right, "first"),
         (f"layer {source}'s vector", wrong, "second")],
    )  # fmt: skip
    names = [f"layer {number}" for number in range(len(alike))]
    table = heatmap(
        alike, names, [str(number) for number in range(len(alike))], title=f"How alike the vectors for {concept} are",
        unit="cosine", top=1.0, signed=True, here=layer,
    )  # fmt: skip
    measured = {"own": right.rate, "borrowed": wrong.rate, "unsteered": before.rate, "cosine": cosine}
    return LessonOutcome(given["guess"] == truth, said, (drawn, table), measured)


def borrowed_edits(experiment: Experiment, concept: str, source: int, layer: int, strength: float) -> list[Edit]:
    """The edit at `layer` with the direction that `source` has: the mistake that the step is about."""
    hookpoints = experiment.model.hookpoints
    return [replace(edit, hookpoint=hookpoints[layer]) for edit in experiment.edits(concept, [source], strength)]


def _cosines(experiment: Experiment, concept: str) -> list[list[float]]:
    """Cosine between a concept's vectors at every two layers."""
    import torch

    directions = experiment.entry(concept).vectors.directions
    by_hookpoint = {slot.hookpoint: direction.unit for slot, direction in directions.items()}
    units = torch.stack([by_hookpoint[hookpoint] for hookpoint in experiment.model.hookpoints])
    found: list[list[float]] = (units @ units.T).tolist()
    return found


LESSON = Lesson(
    "depth",
    "Where to push",
    "Why layers differ, how to compare them fairly, and a mistake that spoils the comparison.",
    7,
    (
        LessonStep(
            "where",
            "Too early, too late",
            (
                "Early layers deal with words, late ones with the very next token. In between, the manner of the "
                "answer is decided. A push has to come before that, and late enough to mean something.",
                "That is a rule of thumb from large models. In this small one layers may differ little: measure it.",
            ),
            f"Push until some layers reach {percent(_OFTEN)} of the answers, then choose the one that does so for the "
            "least perplexity.",
            "Try every layer",
            (
                OneOf("concept", "Concept", (), "pirate"),
                Number("strength", "Strength", 0.1, 3, 0.05, 0.3),
                LayerSlider("layer", "My layer", 0.0),
            ),
            _where,
        ),
        LessonStep(
            "borrowed",
            "Each layer its own vector",
            (
                "It is tempting to fit one vector and try it at every layer. But a direction that means pirate after "
                "one block need not mean anything after another.",
            ),
            "Predict whether a vector borrowed from a layer of your choice keeps at least half of the effect.",
            "Steer with a borrowed vector",
            (
                OneOf("concept", "Concept", (), "pirate"),
                Number("strength", "Strength", 0.1, 3, 0.05, 0.8),
                LayerSlider("source", "Take the vector of layer", 1.0),
                OneOf("guess", "My prediction", (_KEPT, _LOSES)),
            ),
            _borrowed,
        ),
    ),
)
