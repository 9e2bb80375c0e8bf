"""Lesson 3: adding a vector, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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

_OFTEN, _COHERENT, _BROKEN = 0.8, 2.0, 4.0


def _nothing(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, strength = given["concept"], float(given["strength"])
    entry = experiment.entry(concept)
    base = experiment.answers(count=4)
    steered = experiment.answers(experiment.edits(concept, [entry.layer], strength), count=4)
    same = sum(
        before.tokens == after.tokens for before, after in zip(base.completions, steered.completions, strict=True)
    )
    passed = same == 4
    if passed:
        said = f"At strength {strength:g} all 4 answers are the same, token for token. "
        said += (
            "Zero must change nothing: else every later comparison would compare two things at once."
            if strength == 0
            else "So gentle a push does not turn a single token. Set 0, and it is so for certain."
        )
    else:
        said = f"At strength {strength:g}, {4 - same} of 4 answers differ. Same prompts, same random numbers: the "
        said += "vector did that. Go lower."
    shown = (quotes("Unsteered", base, 2), quotes(f"Strength {strength:g}", steered, 2))
    return LessonOutcome(passed, said, shown, {"same": same})


def _break(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, strength = given["concept"], float(given["strength"])
    entry = experiment.entry(concept)
    base, steered = experiment.compare([[], experiment.edits(concept, [entry.layer], strength)])
    ratio = steered.perplexity_ratio(base)
    passed = ratio >= _BROKEN
    said = f"At strength {strength:g} the answers are {times(ratio)} as perplexing to the unsteered model as its own. "
    said += (
        "Read them: beyond some strength a push stops meaning anything. A classifier may still count them as "
        f"{concept} ({steered.show(concept)}), which is why a rate alone proves nothing."
        if passed
        else f"Still language. Push until it is {_BROKEN:g} times."
    )
    measured = {"ratio": ratio, "rate": steered.show(concept).rate}
    return LessonOutcome(passed, said, (quotes(f"Strength {strength:g}", steered),), measured)


def _window(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    concept, strength = given["concept"], float(given["strength"])
    entry = experiment.entry(concept)
    base, steered = experiment.compare([[], experiment.edits(concept, [entry.layer], strength)])
    before, after, ratio = base.show(concept), steered.show(concept), steered.perplexity_ratio(base)
    often, coherent = after.rate >= _OFTEN, ratio <= _COHERENT
    said = f"{after} answers show {concept} (unsteered {before}), at {times(ratio)} the perplexity. "
    if often and coherent:
        said += "You are inside the window: strong enough to work, gentle enough to stay language."
    elif often:
        said += f"Often enough, but over {_COHERENT:g} times: less."
    elif coherent:
        said += f"Coherent, but under {percent(_OFTEN)}: more."
    else:
        said += "Neither. If more and less both fail, this concept has no such window at this layer; take another."
    drawn = bars(
        f"Answers that show {concept}", [("unsteered", before, "plain"), ("steered", after, "first")],
        f"16 answers each, at layer {entry.layer}; the thin bars are 95 % intervals",
    )  # fmt: skip
    measured = {"rate": after.rate, "unsteered": before.rate, "ratio": ratio}
    return LessonOutcome(often and coherent, said, (drawn, quotes(f"Strength {strength:g}", steered)), measured)


LESSON = Lesson(
    "strength",
    "How hard to push",
    "What strength means, what too much looks like, and how to find the window between.",
    6,
    (
        LessonStep(
            "nothing",
            "Zero is a measurement too",
            (
                "Steering adds <i>strength times vector</i> to the residual stream at one layer, at each token that "
                "the model is about to continue from. Strengths in the lab are relative: 0.5 adds a vector half as "
                "long as the stream is at that token.",
                "Language models draw at random. To see what a vector does, the steered and the unsteered run must "
                "draw the same random numbers; the lab always does so.",
            ),
            "Find the strength at which nothing changes at all.",
            "Answer four prompts twice",
            (OneOf("concept", "Concept", (), "pirate"), Number("strength", "Strength", 0, 2, 0.05, 0.6)),
            _nothing,
        ),
        LessonStep(
            "break",
            "Too much",
            (
                "The blocks after the push were trained on streams that look a certain way. Push far enough and they "
                "read something that no text ever caused.",
                "How broken is broken? Show the text to the <i>unsteered</i> model and ask how surprised it is by each "
                "token. That is <b>perplexity</b>; here, as multiples of what its own answers have.",
            ),
            f"Push until the answers are at least {_BROKEN:g} times as perplexing as the model's own.",
            "Push",
            (OneOf("concept", "Concept", (), "pirate"), Number("strength", "Strength", 0, 8, 0.1, 0.3)),
            _break,
        ),
        LessonStep(
            "window",
            "The window",
            (
                "Between a push that does nothing and one that breaks the text there is usually a window. How wide it "
                "is differs by concept and by layer: this is what a sweep measures, and what the lab's default "
                "strengths come from.",
            ),
            f"For a concept of your choice: at least {percent(_OFTEN)} of the answers show it, at no more than "
            f"{_COHERENT:g} times the perplexity.",
            "Measure 16 answers",
            (OneOf("concept", "Concept", (), "pirate"), Number("strength", "Strength", 0, 4, 0.05, 0.2)),
            _window,
        ),
    ),
)
