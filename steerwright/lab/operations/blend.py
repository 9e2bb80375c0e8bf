"""The vectors that a request means: one concept's, or those of several, added by weights or taking turns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from steerwright.errors import UserError
from steerwright.lab.checks import MOST_CONCEPTS, checked_choice, checked_number, checked_text
from steerwright.lab.concepts import ConceptEntry
from steerwright.lab.jobs import Job
from steerwright.lab.workbench import read_answers
from steerwright.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    from torch import Tensor

    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.algebra import Edit
    from steerwright.steering.language.generate import Completion, Sampling


HEAVIEST = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """What is steered by: `weights` by concept, their `entries`, and the `vectors` of the whole.

    Where concepts take `turns` there is no one vector for all of the answer; `vectors` are then the leading concept's.
    """

    weights: Mapping[str, float]
    entries: Mapping[str, ConceptEntry]
    vectors: SteeringVectors
    turns: bool = False

    @property
    def leading(self) -> ConceptEntry:
        """The concept with the largest weight, whose layer and strength are taken where none are given."""
        return self.entries[max(self.weights, key=lambda name: abs(self.weights[name]))]

    @property
    def name(self) -> str:
        """One name as it is; several as `happy:0.7,excited:0.3`, or with bars where they take turns."""
        from steerwright.vectors.mixing import mix_name

        return next(iter(self.weights)) if len(self.weights) == 1 else mix_name(self.weights, turns=self.turns)

    def edits(
        self, model: LanguageModel, layers: Sequence[int], strength: float | Tensor, *, place: str, bound: str
    ) -> list[Edit]:
        """Add the whole at each of `layers`; UserError for places other than the usual ones where concepts take turns.

        `strength` in shares of each token's norm, one or for each row; `place` and `bound` as `text_edits` takes them.
        """
        from steerwright.steering.language.edits import Alternation, check_vectors, text_edits

        if not self.turns:
            return text_edits(self.vectors, layers, strength, tokens=place, bound=bound, model=model)
        if place != "last":
            raise UserError(
                "Concepts that take turns are added to the request's last token and the answer's; leave the steered "
                "tokens at last, or add the concepts up with commas."
            )
        parts = {name: entry.vectors for name, entry in self.entries.items()}
        for vectors in parts.values():
            check_vectors(model, vectors)
        return Alternation(parts, self.weights).edits(layers, strength, bound=bound)

    def check_layers(self, layers: Sequence[int]) -> None:
        """UserError for a layer that one of the concepts has no vector at."""
        for entry in self.entries.values():
            entry.vectors.at_layers(list(layers))


def blend(workbench: Workbench, concepts: Any) -> Blend:
    """`concepts`: a name, `happy:0.7,excited:0.3`, several names (mixed in equal parts), or weights by name.

    Mixing adds the concepts' unit vectors layer by layer, each times its weight. With bars instead of commas,
    `happy:0.7|excited:0.3`, the concepts take turns sentence by sentence, each as often as its weight says.
    Raises UserError for unknown names, weights that are not finite or all zero, and more than six concepts.
    """
    weights, turns = _weights(concepts)
    if len(weights) > MOST_CONCEPTS:
        raise UserError(f"{len(weights)} concepts are too many to mix; take at most {MOST_CONCEPTS}.")
    known = workbench.concepts()
    entries = {name: known[checked_choice(name, known, "concept")] for name in weights}
    for name, weight in weights.items():
        checked_number(weight, f"weight of {name}", -HEAVIEST, HEAVIEST)
    if not any(weights.values()):
        raise UserError("Every weight is zero, so there is nothing to mix; give one concept a weight.")
    if len(weights) == 1:
        (name,) = weights
        if weights[name] == 1:
            return Blend(weights, entries, entries[name].vectors)
    if turns and len(weights) > 1:
        leading = max(weights, key=lambda name: abs(weights[name]))
        return Blend(weights, entries, entries[leading].vectors, turns=True)
    from steerwright.vectors.mixing import mix

    return Blend(weights, entries, mix({name: entries[name].vectors for name in weights}, weights, of="unit"))


def _weights(concepts: Any) -> tuple[dict[str, float], bool]:
    """Weights by concept, and whether they take turns."""
    if isinstance(concepts, str):
        from steerwright.vectors.mixing import parse_mix, takes_turns

        text = checked_text(concepts, "list of concepts", 400)
        turns = takes_turns(text)
        if ":" in text:
            return parse_mix(text), turns
        return _equal([part.strip() for part in text.split("|" if turns else ",")]), turns
    if isinstance(concepts, Mapping):
        return {str(name): float(checked_number(weight, f"weight of {name}", -HEAVIEST, HEAVIEST))
                for name, weight in concepts.items()}, False  # fmt: skip
    if isinstance(concepts, Sequence) and concepts:
        return _equal([str(name) for name in concepts]), False
    raise UserError("No concept is chosen; choose at least one.")


def _equal(names: Sequence[str]) -> dict[str, float]:
    once = list(dict.fromkeys(names))
    return {name: 1.0 for name in once} if len(once) == 1 else {name: round(1 / len(once), 3) for name in once}


# The requests that are answered to measure something, and their answers, one turn at the model at a time.

PROMPTS = Path("data", "language", "prompts", "tuning.csv")
MOST_PROMPTS = 12


def requests(workbench: Workbench, prompt: Any, seed: int, temperature: float) -> tuple[list[str], list[int]]:
    """Prompts and their seeds: the lab's twelve, or where `prompt` says something, that one with twelve seeds.

    Greedy answers to one prompt would all be the same, so there is one of them then.
    """
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        from steerwright.text_file import read_table

        found = [text for (text,) in read_table(workbench.root / PROMPTS, ["prompt"]).values()][:MOST_PROMPTS]
        return found, [seed + place for place in range(len(found))]
    text = checked_text(prompt, "prompt")
    count = 1 if temperature == 0 else MOST_PROMPTS
    return [text] * count, [seed + place for place in range(count)]


def answered(
    model: LanguageModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    edits: Sequence[Edit],
    job: Job,
) -> list[Completion]:
    """One answer for each prompt and seed; raises Cancelled when the job is stopped meanwhile."""
    from steerwright.steering.language.generate import complete

    found = complete(model, prompts, seeds, sampling, edits, should_stop=job.cancelled)
    job.check()
    return found


# How much of a concept there is in texts: by the classifier of the embedded world, else by the model's own reading.

Reader = Literal["classifier", "model"]
PRESENT = 0.5
"""From here on a text counts as one that shows the concept."""


@dataclass(frozen=True, slots=True)
class Expression:
    """For each text a number from 0 (not there) to 1 (there), and who says so.

    `classifier`: the probability that the world's classifier of texts gives, which knows nothing of the model.
    `model`: where the text lies between the concept's answers without it (0) and with it (1), as the unsteered model
    reads them; for concepts that the classifier does not know. Not a number for a concept without any answers.
    """

    values: tuple[float, ...]
    reader: Reader


def expression(workbench: Workbench, entry: ConceptEntry, answers: Sequence[Completion]) -> Expression:
    """Read `answers` for the concept; an empty answer shows nothing. The caller has the turn at the model."""
    labels = workbench.labels()
    written = [answer for answer in answers if answer.text.strip()]
    reader: Reader = "classifier" if labels is not None and entry.name in labels.values else "model"
    if not written:
        read = []
    elif labels is not None and reader == "classifier":
        found = labels.probabilities([answer.text for answer in written], ended=[answer.ended for answer in written])
        read = torch.as_tensor(found)[:, labels.values.index(entry.name)].tolist()
    else:
        read = _by_model(workbench, entry, written)
    values = iter(read)
    return Expression(tuple(float(next(values)) if answer.text.strip() else 0.0 for answer in answers), reader)


def _by_model(workbench: Workbench, entry: ConceptEntry, answers: Sequence[Completion]) -> list[float]:
    reading = workbench.reading(entry)
    if reading is None:
        return [math.nan] * len(answers)
    rows = read_answers(
        workbench.language(), [answer.text for answer in answers], [answer.prompt for answer in answers]
    )
    return reading.shares(rows[reading.layer])
