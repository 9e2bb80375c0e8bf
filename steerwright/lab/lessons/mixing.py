"""Lesson 6: several concepts at once, against each other, and taking one away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.lessons.lesson import (
    Lesson,
    LessonOutcome,
    LessonStep,
    Number,
    OneOf,
    bars,
    percent,
    quotes,
    times,
)

if TYPE_CHECKING:
    from steerwright.lab.lessons.experiment import Experiment
    from steerwright.steering.algebra import Edit

_BOTH, _SOME, _COHERENT, _GONE, _LEFT = 0.5, 0.25, 2.5, 0.3, 0.2
_SUM, _TURNS = "added up", "in turns"


def _mix(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    from steerwright.lab.operations.blend import blend

    first, second = _two(given)
    layer, strength, turns = _shared_layer(experiment, first, second), float(given["strength"]), given["how"] == _TURNS
    ways = [
        blend(experiment.workbench, f"{first}:0.5{between}{second}:0.5").edits(
            experiment.model, [layer], strength, place="last", bound="none"
        )
        for between in ",|"
    ]
    base, *found = experiment.compare([[], *ways])
    mixed = found[turns]
    both, ratio = mixed.show(first, second), mixed.perplexity_ratio(base)
    passed = both.rate >= _SOME and ratio <= _COHERENT
    said = f"{mixed.show(first)} show {first}, {mixed.show(second)} show {second}, {both} show both, at "
    said += f"{times(ratio)} the perplexity. "
    if passed and turns:
        said += f"Added up, {found[0].show(first, second)} would. Each is pushed alone for a while, so that the answer "
        said += "can go on in a second manner although it began in a first."
    elif passed:
        said += "Two directions were added, and the answers carry both. Few pairs do that."
    elif ratio > _COHERENT:
        said += "Together they push too far: less."
    elif turns:
        said += "One of them hardly comes through yet: more, or another pair."
    else:
        said += "A sum is one direction more, and an answer goes on as its first words began. Try the other way."
    drawn = bars(
        f"Answers that show both, at layer {layer}",
        [(_SUM, found[0].show(first, second), "second"), (_TURNS, found[1].show(first, second), "first")],
        "Unsteered, both: " + str(base.show(first, second)),
    )  # fmt: skip
    return LessonOutcome(passed, said, (drawn, quotes("Mixed", mixed)), {"both": both.rate, "ratio": ratio})


def _tug(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    first, second = _two(given)
    layer, against = _shared_layer(experiment, first, second), float(given["against"])
    pull = experiment.entry(first).strength
    pulls = ({first: pull}, {first: pull, second: against})
    alone, both = experiment.compare([_push(experiment, weights, layer) for weights in pulls])
    before, after = alone.show(first), both.show(first)
    passed = before.rate >= _BOTH and after.rate <= _GONE
    said = f"{first} alone: {before}. With {against:g} of {second} against it: {after} still show {first}, "
    said += f"{both.show(second)} show {second}. "
    if before.rate < _BOTH:
        said += f"{first} does not come through even alone at layer {layer}; choose another."
    elif not passed:
        said += "It holds. Pull harder."
    elif both.show(second).rate >= _BOTH:
        said += "The stronger pull wins: a sum of vectors has no memory of its parts."
    else:
        said += (
            f"{first} is gone, but {second} has not taken its place: the sum is a direction of its own, and need not "
            "mean either."
        )
    drawn = bars(
        f"Pulling at layer {layer}: {first} with {pull:g}, {second} with {against:g}",
        [(f"{first}, alone", before, "plain"), (first, after, "first"), (second, both.show(second), "second")],
    )  # fmt: skip
    return LessonOutcome(passed, said, (drawn, quotes("Against each other", both)),
                   {"alone": before.rate, "left": after.rate, "other": both.show(second).rate})  # fmt: skip


def _remove(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, strength = given["concept"], float(given["strength"])
    entry = experiment.entry(concept)
    if entry.instruction is None:
        raise UserError(f"Nobody wrote how to ask for {concept!r}; choose a built-in concept.")
    layers = range(experiment.model.layers) if given["where"] == "every layer" else [entry.layer]
    instruction = entry.instruction

    def asking(prompt: str) -> str:
        return f"{prompt} {instruction}"

    edits = experiment.edits(concept, layers, strength, action="erase", tokens="all")
    asked, removed = experiment.compare([[], edits], asking=asking)
    before, after = asked.show(concept), removed.show(concept)
    passed = before.rate >= _BOTH and after.rate <= _LEFT
    said = f"Asked for it, {before} answers show {concept}; with the direction taken out at {given['where']}, {after}. "
    if before.rate < _BOTH:
        said += "The model hardly does it when asked, so there is nothing to take away. Choose another concept."
    elif passed:
        said += "The request is still in the prompt, but the model can no longer act on it."
    elif strength < 1:
        said += f"Only {percent(strength)} of what lies along the direction was taken. Take all of it."
    else:
        said += "It comes back: blocks after the edit write it again, or a part of it lies in other directions."
    drawn = bars(
        f"Asked for {concept}", [("as it is", before, "plain"), ("direction removed", after, "first")],
        "Strength 1 takes away the component along the direction, 2 turns it around",
    )  # fmt: skip
    return LessonOutcome(passed, said, (drawn, quotes("Asked, but removed", removed)),
                   {"asked": before.rate, "removed": after.rate})  # fmt: skip


def _push(experiment: Experiment, weights: Mapping[str, float], layer: int) -> list[Edit]:
    return [edit for name, weight in weights.items() if weight for edit in experiment.edits(name, [layer], weight)]


def _two(given: Mapping[str, Any]) -> tuple[str, str]:
    if given["first"] == given["second"]:
        raise UserError("Choose two different concepts.")
    return given["first"], given["second"]


def _shared_layer(experiment: Experiment, first: str, second: str) -> int:
    """One layer for both: between the two at which each works best."""
    return (experiment.entry(first).layer + experiment.entry(second).layer) // 2


LESSON = Lesson(
    "mixing",
    "Mixing, fighting, taking away",
    "What two directions do to one answer, added up, in turns or against each other, and how removal differs.",
    8,
    (
        LessonStep(
            "mix",
            "Two at once",
            (
                "If concepts are directions, two of them can be added up. Whether the model can make sense of the sum "
                "is another question.",
                "Or they take turns: the first concept steers the answer's first sentence, the second the next one, "
                "and so on.",
            ),
            f"Find a way and a strength with which at least {percent(_SOME)} of the answers show both, at no more than "
            f"{_COHERENT:g} times the perplexity.",
            "Mix both ways",
            (
                OneOf("first", "First concept", (), "happy"),
                OneOf("second", "Second concept", (), "formal"),
                OneOf("how", "The two are", (_SUM, _TURNS), _SUM),
                Number("strength", "Strength", 0, 2, 0.05, 0.6),
            ),
            _mix,
        ),
        LessonStep(
            "tug",
            "A tug of war",
            (
                "Some concepts exclude each other in what the model has read. Pull with one at its usual strength, and "
                "against it with the other.",
            ),
            f"Find a counter-pull under which at most {percent(_GONE)} of the answers still show the first.",
            "Pull",
            (
                OneOf("first", "Pulls with its usual strength", (), "happy"),
                OneOf("second", "Pulls against it", (), "sad"),
                Number("against", "With strength", 0, 2, 0.05, 0.1),
            ),
            _tug,
        ),
        LessonStep(
            "remove",
            "Taking away",
            (
                "Adding sad is not the same as taking happy away. To <b>remove</b> a concept, each token's component "
                "along a direction is taken out, that in which the words that ask for it move the tokens of a plain "
                "answer: tokens without it stay as they are.",
                "The test asks for the concept in the prompt, and removes it inside the model.",
            ),
            f"Find where and how strongly to remove, so that at most {percent(_LEFT)} of the answers show what was "
            "asked for.",
            "Ask, and remove",
            (
                OneOf("concept", "Concept", (), "happy"),
                OneOf("where", "Take it out at", ("one layer", "every layer"), "one layer"),
                Number("strength", "Strength", 0, 2, 0.1, 0.5),
            ),
            _remove,
        ),
    ),
)
