"""Lesson 1: what an activation is, and how an answer forms layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steerwright.lab.charts.charts import lens_chart
from steerwright.lab.charts.line_chart import Line, line_chart
from steerwright.lab.lessons.lesson import LayerSlider, Lesson, LessonOutcome, LessonStep, Number, percent, times

if TYPE_CHECKING:
    from steerwright.lab.lessons.experiment import Experiment

_WITHIN = 1.25
_MOST = 0.9


def _growth(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    from steerwright.lab.operations.explore_layers import explore_layers

    found = explore_layers(experiment.workbench, experiment.prompts(1)[0], job=experiment.job)
    first, last = found.norms[0], found.norms[-1]
    ratio, guess = last / first, float(given["guess"])
    passed = ratio / _WITHIN <= guess <= ratio * _WITHIN
    drawn = line_chart(
        [Line("length", list(range(len(found.norms))), found.norms)],
        title="Length of the residual stream",
        x_label="after block",
        y_label="mean length",
        caption=f"Mean over the tokens of the answer “{found.answer.strip()}”",
        y_range=(0, max(found.norms)),
    )
    said = f"It goes from {first:.3g} to {last:.3g}, {times(ratio)} as long. Your guess was {guess:g}. "
    said += (
        "Close enough. So the same push is a large change early and a small one late: that is why the lab "
        "gives strengths as a share of the length."
        if passed
        else "Look at the curve and set the guess to what it shows."
    )
    return LessonOutcome(passed, said, (drawn,), {"ratio": ratio, "guess": guess})


def _settling(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    from steerwright.lab.operations.explore_layers import explore_layers, settled_by

    layer = experiment.layer(given["layer"])
    found = explore_layers(experiment.workbench, experiment.prompts(2)[-1], job=experiment.job)
    shares = settled_by(found)
    right = next(place for place, share in enumerate(shares) if share >= _MOST)
    passed = layer == right
    before = f" (after block {layer - 1}: {percent(shares[layer - 1])})" if layer else ""
    said = f"After block {layer}, {percent(shares[layer])} of the words are settled{before}. "
    if passed:
        said += f"That is the first at {percent(_MOST)} or more. What comes after it mostly makes the model surer."
    elif layer > right:
        said += "So many were settled earlier already. Go up the table."
    else:
        said += f"That is less than {percent(_MOST)}. Go further down the table."
    measured = {"layer": layer, "settled": shares[layer], "first": right}
    return LessonOutcome(passed, said, (lens_chart(found),), measured)


LESSON = Lesson(
    "activations",
    "What goes on between two words",
    "What an activation is, how long it is, and when the next word is decided.",
    4,
    (
        LessonStep(
            "length",
            "A vector for every token",
            (
                "A language model holds one vector for each token it reads. Every block looks at those vectors and "
                "adds something to each. This running sum is the <b>residual stream</b>, and its values after a block "
                "are the <b>activations</b> of that layer. Everything that the model knows about a token at that "
                "depth is in there; there is no other place.",
                "To steer is to add a vector of our own to that sum. How far that pushes depends on how long the "
                "residual stream is at that depth.",
            ),
            "Guess how many times longer the stream is after the last block than after the first, then measure. "
            f"The step is done when your guess is within a factor of {_WITHIN:g}.",
            "Measure the lengths",
            (Number("guess", "My guess: times longer", 0.5, 20, 0.25, 8),),
            _growth,
        ),
        LessonStep(
            "settling",
            "When the next word is decided",
            (
                "The model turns the vector after its last block into a next word. Nothing forbids doing the same "
                "after an earlier block. This is called the <b>logit lens</b>: it shows what the model would have "
                "said, had it stopped there.",
                "Early guesses are often odd, since those layers were never trained to speak. Further down a guess "
                "stays the same until the end. From there on, that word is <b>settled</b>.",
            ),
            f"Find the first block after which at least {percent(_MOST)} of the answer's words are settled.",
            "Read every layer",
            (LayerSlider("layer", "After block", 0.0),),
            _settling,
        ),
    ),
)
