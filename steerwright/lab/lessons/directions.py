"""Lesson 2: a concept as a direction; contrast pairs, and what is subtracted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.charts.line_chart import Line, line_chart
from steerwright.lab.lessons.lesson import Lesson, LessonOutcome, LessonStep, Number, OneOf, Words, percent
from steerwright.report.html.page import Html, el

if TYPE_CHECKING:
    from torch import Tensor

    from steerwright.lab.lessons.experiment import Experiment

_REACHED = 0.5
_SAME = 0.9
_DRAWS = 40
_APART = 0.1
_OWN, _NOTHING, _EACH_OTHER = "each one's neutral twin", "nothing", "the other concept's answers"


def _own_sentence(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    from steerwright.activations.residuals import pooled_residuals
    from steerwright.lab.concepts import POLICY
    from steerwright.lab.operations.separability import pair_activations

    concept, text = given["concept"], given["text"]
    entry = experiment.entry(concept)
    prompt = experiment.prompts(1)[0]
    with experiment.workbench.turn("language", experiment.job.cancelled):
        above, below = pair_activations(experiment.model, entry.pairs)
        mine = pooled_residuals(experiment.model, [text], [prompt], role="assistant", policy=POLICY).cpu()
    high, low = above[entry.layer].mean(0), below[entry.layer].mean(0)
    gap = high - low
    place = float((mine[entry.layer, 0] - low) @ gap / (gap @ gap))
    passed = place >= _REACHED
    said = f"Your sentence lies at {place:.2f} on the way from neutral (0) to {concept} (1). "
    if passed:
        said += "The direction recognises it, although it was never among the examples."
    else:
        said += f"It takes {_REACHED:g}. Use words of a kind that this model writes when it is asked to be {concept}."
    examples = _examples(concept, [pair.positive for pair in entry.pairs[:2]])
    return LessonOutcome(passed, said, (_ruler(concept, place), examples), {"place": place})


def _how_many(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    import torch

    from steerwright.lab.operations.separability import pair_activations

    concept, count = given["concept"], int(given["pairs"])
    entry = experiment.entry(concept)
    half = len(entry.pairs) // 2
    if half < 2:
        raise UserError(f"{concept!r} has {len(entry.pairs)} pairs; this step needs at least 4.")
    with experiment.workbench.turn("language", experiment.job.cancelled):
        above, below = pair_activations(experiment.model, entry.pairs)
    agreement = pair_agreement((above - below)[entry.layer], half, torch.Generator().manual_seed(0))
    bar = _SAME * agreement[-1]
    right = next(place + 1 for place, value in enumerate(agreement) if value >= bar)
    shown = min(count, half)
    passed = shown == right
    here = f"With {shown} pair{'s' * (shown > 1)} the two agree to {agreement[shown - 1]:.2f} (cosine); "
    said = here + f"with all {half} they agree to {agreement[-1]:.2f}. "
    if passed:
        said += (
            f"That is the smallest number that reaches {percent(_SAME)} of it. More pairs cancel what only one says."
        )
    elif shown > right:
        said += "Fewer would do. Try a smaller number."
    else:
        said += f"{percent(_SAME)} of that would be {bar:.2f}. Take more pairs."
    drawn = line_chart(
        [Line("agreement", list(range(1, half + 1)), agreement)],
        title=f"Vectors for {concept} from two halves of the pairs",
        x_label="pairs in each half",
        y_label="cosine between them",
        caption=f"Mean over {_DRAWS} random splits, at layer {entry.layer}",
        y_range=(0, 1),
        limits=[(bar, f"{percent(_SAME)} of the best")],
        marked=shown,
    )
    return LessonOutcome(passed, said, (drawn,), {"agreement": agreement[shown - 1], "smallest": right})


def _baseline(experiment: Experiment, given: Mapping[str, Any]) -> LessonOutcome:
    from steerwright.lab.operations.separability import pair_activations

    first, second = _opposites(experiment)
    entries = [experiment.entry(first), experiment.entry(second)]
    with experiment.workbench.turn("language", experiment.job.cancelled):
        found = [pair_activations(experiment.model, entry.pairs) for entry in entries]
    layer = entries[0].layer
    (one, neutral_one), (two, neutral_two) = ((above[layer].mean(0), below[layer].mean(0)) for above, below in found)
    vectors = {
        _NOTHING: (one, two),
        _OWN: (one - neutral_one, two - neutral_two),
        _EACH_OTHER: (one - two, two - one),
    }
    cosines = {name: _cosine(*pair) for name, pair in vectors.items()}
    mine = cosines[given["baseline"]]
    passed = given["baseline"] == _OWN and mine < cosines[_NOTHING] - _APART
    said = f"Subtracting {given['baseline']}, the vectors for {first} and {second} have cosine {mine:.2f}. "
    if given["baseline"] == _NOTHING:
        said += (
            "Almost the same vector twice: what all answers share (that they are English, that they are answers) is "
            "far longer than any mood. Added to the model, either would mostly push it towards “an answer”."
        )
    elif given["baseline"] == _EACH_OTHER:
        said += (
            "Exactly opposite, but only because they are one vector with two signs. It cannot tell what makes a text "
            f"{first} from what makes it not {second}."
        )
    elif passed:
        said += (
            "Further apart than without, and each has its own meaning: what its answers have more of than the same "
            "answers without the concept. What they still share is real: both are moods, and neutral answers have none."
        )
    else:
        said += "On this model even neutral twins leave them alike; look at another layer in the Layers tab."
    table = _cosine_table(first, second, cosines, given["baseline"])
    return LessonOutcome(passed, said, (table,), {"cosine": mine})


def pair_agreement(differences: Tensor, half: int, generator: Any) -> list[float]:
    """Cosine between the mean differences of two disjoint sets of 1 to `half` pairs; mean over random splits.

    `differences` [pairs, d]: positive minus negative activations of each pair.
    """
    import torch

    differences = differences.double()
    totals = torch.zeros(half, dtype=torch.float64)
    counts = torch.arange(1, half + 1, dtype=torch.float64)[:, None]
    for _ in range(_DRAWS):
        order = torch.randperm(len(differences), generator=generator)
        one = differences[order[:half]].cumsum(0) / counts
        other = differences[order[half : 2 * half]].cumsum(0) / counts
        totals += torch.nn.functional.cosine_similarity(one, other, dim=-1)
    found: list[float] = (totals / _DRAWS).tolist()
    return found


def _opposites(experiment: Experiment) -> tuple[str, str]:
    """Two concepts that exclude each other: happy and sad where they are, else the first two of one factor."""
    known = experiment.known
    if "happy" in known and "sad" in known:
        return "happy", "sad"
    factors: dict[str | None, list[str]] = {}
    for name in known:
        factors.setdefault(experiment.entry(name).factor, []).append(name)
    for names in factors.values():
        if len(names) > 1:
            return names[0], names[1]
    raise UserError("This step compares two concepts of one kind, but the lab has no two.")


def _cosine(one: Tensor, two: Tensor) -> float:
    return float(one.double() @ two.double() / (one.double().norm() * two.double().norm()))


def _ruler(concept: str, place: float) -> Html:
    """Where a text lies between neutral and the concept, on a line from -0.5 to 1.5."""
    left = 100 * (min(max(place, -0.5), 1.5) + 0.5) / 2
    marks = [el("span", name, style=f"left:{at}%") for name, at in (("neutral", 25), (concept, 75))]
    return el(
        "div", el("i", style=f"left:{left:.1f}%", title=f"{place:.2f}"), *marks, class_="lesson-ruler", role="img",
        aria_label=f"Your sentence at {place:.2f} between neutral, 0, and {concept}, 1",
    )  # fmt: skip


def _examples(concept: str, texts: list[str]) -> Html:
    rows = [el("li", el("q", text)) for text in texts]
    return el("div", el("h4", f"Among the examples of {concept}"), el("ul", *rows), class_="lesson-quotes")


def _cosine_table(first: str, second: str, cosines: Mapping[str, float], chosen: str) -> Html:
    head = el("tr", el("th", "what is subtracted"), el("th", f"cosine of {first} and {second}", class_="n"))
    rows = [
        el("tr", el("td", name), el("td", f"{value:.2f}", class_="n"), class_="chosen" if name == chosen else None)
        for name, value in cosines.items()
    ]
    return el("div", el("table", el("thead", head), el("tbody", *rows)), class_="lab-table")


LESSON = Lesson(
    "directions",
    "A concept is a direction",
    "How contrast pairs give a vector, how many it takes, and why something must be subtracted.",
    6,
    (
        LessonStep(
            "sentence",
            "Between neutral and happy",
            (
                "Take many answers that show a concept, and for each the same answer without it: <b>contrast "
                "pairs</b>. Average the activations of either side. The step from the neutral average to the other is "
                "the concept's <b>direction</b>. (Requests that ask for the concept, and the same requests that do "
                "not, make such pairs too.)",
                "A direction can be read as well as added. Any text can be placed on it: 0 is where neutral answers "
                "lie on average, 1 where those with the concept lie.",
            ),
            f"Write a sentence of your own that lies at {_REACHED:g} or further.",
            "Place my sentence",
            (
                OneOf("concept", "Concept", (), "happy"),
                Words("text", "My sentence", "The garden has a gate and a path."),
            ),
            _own_sentence,
        ),
        LessonStep(
            "pairs",
            "One pair is an anecdote",
            (
                "A single pair differs in the concept and in much else: its words, its length. The difference of one "
                "pair points half at the concept and half at those accidents.",
                "Here is a test that needs no truth: make two vectors from two sets of pairs that have none in common. "
                "If both found the concept, they point the same way.",
            ),
            f"Find the smallest number of pairs with which the two agree to {percent(_SAME)} of what all pairs reach.",
            "Compare two halves",
            (OneOf("concept", "Concept", (), "happy"), Number("pairs", "Pairs in each half", 1, 8, 1, 1)),
            _how_many,
        ),
        LessonStep(
            "baseline",
            "What to subtract",
            (
                "Why pairs at all? One could average the happy answers and take that as the vector. Or subtract sad "
                "answers from them.",
                "Vectors for two opposite moods should not look alike, and each should have a meaning of its own.",
            ),
            "Try all three, and end with the one that gives two vectors of their own that point apart.",
            "Compare the vectors",
            (OneOf("baseline", "Subtract", (_NOTHING, _OWN, _EACH_OTHER), _NOTHING),),
            _baseline,
        ),
    ),
)
