"""Lesson 5: controls. Would any push have done it, would asking have done it, and how sure is a count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.lessons.lesson import Lesson, LessonOutcome, LessonStep, Number, OneOf, bars, percent, quotes

if TYPE_CHECKING:
    from steerwright.lab.lessons.experiment import AnswerShare, Experiment

_WITHIN = 0.1
_RANDOM = 4
_HALF_WIDTH = 0.15
_WEAKER = 0.75
_STEERING, _ASKING, _EQUAL = "steering, clearly", "asking, clearly", "too close to call"


def _random(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    from steerwright.lab.lessons.experiment import AnswerShare
    from steerwright.steering.language.apply import text_edits
    from steerwright.vectors.estimators.random_direction import random_like

    concept, guess = given["concept"], float(given["guess"]) / 100
    entry = experiment.entry(concept)
    pushes = [text_edits(random_like(entry.vectors, seed), [entry.layer], entry.strength) for seed in range(_RANDOM)]
    own = experiment.edits(concept, [entry.layer], entry.strength)
    base, steered, *others = experiment.compare([[], own, *pushes])
    hits = sum(one.show(concept).hits for one in others)
    random = AnswerShare(hits, sum(len(one.completions) for one in others))
    before, after = base.show(concept), steered.show(concept)
    passed = abs(random.rate - guess) <= _WITHIN
    said = f"Random directions of the same length: {random} answers show {concept}, {percent(random.rate)}. You said "
    said += f"{percent(guess)}. "
    if passed:
        lower, upper = after.interval[0], random.interval[1]
        said += f"The {concept} vector reaches {percent(after.rate)}: "
        said += "it is the direction, not the push." if lower > upper else "hardly more; this effect would not count."
    else:
        said += "Adjust your guess and run it again."
    drawn = bars(
        f"Answers that show {concept}, layer {entry.layer}, strength {entry.strength:g}",
        [("unsteered", before, "plain"), ("random", random, "third"), (concept, after, "first")],
    )  # fmt: skip
    measured = {"random": random.rate, "steered": after.rate, "unsteered": before.rate}
    return LessonOutcome(passed, said, (drawn, quotes("Pushed in a random direction", others[0])), measured)


def _asking(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept = given["concept"]
    entry = experiment.entry(concept)
    if entry.instruction is None:
        raise UserError(f"Nobody wrote how to ask for {concept!r}; choose a built-in concept.")
    instruction = entry.instruction
    steered = experiment.answers(experiment.edits(concept, [entry.layer], entry.strength), count=24)
    asked = experiment.answers(count=24, asking=lambda prompt: f"{prompt} {instruction}")
    one, other = steered.show(concept), asked.show(concept)
    truth = _clearer(one, other)
    passed = given["answer"] == truth
    said = f"Steered: {one}. Asked with “{instruction}”: {other}. The answer is: {truth}. "
    if not passed:
        said += "Not what you expected; choose what the intervals say, or another concept."
    elif truth == _EQUAL:
        said += "The intervals overlap, so 24 answers each cannot tell. That is a result, too."
    else:
        said += "The intervals do not overlap. Asking is the control to beat: it costs nothing."
    drawn = bars(
        f"Answers that show {concept}", [("steered", one, "first"), ("asked", other, "second")],
        f"24 answers each; steered at layer {entry.layer}, strength {entry.strength:g}",
    )  # fmt: skip
    return LessonOutcome(passed, said, (drawn, quotes("Asked", asked), quotes("Steered", steered)),
                   {"steered": one.rate, "asked": other.rate})  # fmt: skip


def _how_sure(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, count = given["concept"], int(given["answers"])
    entry = experiment.entry(concept)
    # Weaker than its best, so that some answers show it and some do not: there a count is least sure.
    share = experiment.answers(experiment.edits(concept, [entry.layer], _WEAKER * entry.strength), count=count).show(
        concept
    )
    low, high = share.interval
    passed = (high - low) / 2 <= _HALF_WIDTH
    said = f"{share}, that is {percent(share.rate)}; the true rate may be anything from {percent(low)} to "
    said += f"{percent(high)}. "
    said += (
        "Now it is known to about 15 points. To halve that takes four times as many answers."
        if passed
        else "Too wide to compare anything with. Take more answers."
    )
    drawn = bars(f"{concept} at three quarters of its strength", [("steered", share, "first")])
    return LessonOutcome(passed, said, (drawn,), {"rate": share.rate, "half_width": (high - low) / 2})


def _clearer(steered: AnswerShare, asked: AnswerShare) -> str:
    """Which of two shares is larger by their intervals; neither where these overlap."""
    if steered.interval[0] > asked.interval[1]:
        return _STEERING
    return _ASKING if asked.interval[0] > steered.interval[1] else _EQUAL


LESSON = Lesson(
    "controls",
    "Was it really the concept?",
    "Three questions to ask of every claim about steering, with the experiment that answers each.",
    7,
    (
        LessonStep(
            "random",
            "Would any push have done it?",
            (
                "A model that is disturbed writes differently. Some of that may look like the concept. So push just as "
                "far in a random direction: what that does, the direction cannot take credit for.",
            ),
            "Guess which share of answers shows the concept under random pushes, to within 10 points.",
            "Push at random",
            (OneOf("concept", "Concept", (), "pirate"), Number("guess", "My guess in %", 0, 100, 5, 50)),
            _random,
        ),
        LessonStep(
            "asking",
            "Would asking have done it?",
            (
                "The cheapest way to a happy answer is to ask for one. A vector that does less than a sentence in the "
                "prompt may still teach something, but it is no progress in control.",
            ),
            "Predict which of the two shows a concept of your choice more often.",
            "Steer, and ask",
            (
                OneOf("concept", "Concept", (), "pirate"),
                OneOf("answer", "My prediction: which does it more often", (_STEERING, _ASKING, _EQUAL)),
            ),
            _asking,
        ),
        LessonStep(
            "sure",
            "How sure is a count?",
            (
                "Three of four answers is 75 %, and so are thirty of forty. The first says next to nothing. The "
                "interval that belongs to a count says which true rates would often give such a count.",
            ),
            "Take as many answers as it needs to know the rate to within 15 points either way.",
            "Count",
            (OneOf("concept", "Concept", (), "pirate"), Number("answers", "Answers", 4, 64, 4, 8)),
            _how_sure,
        ),
    ),
)
