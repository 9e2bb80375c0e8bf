"""What the lessons measure with: answers with and without edits, what they show, and how well they hold together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.features.truth import wilson_interval
from steerwright.lab.checks import checked_layer
from steerwright.lab.concepts import ConceptEntry
from steerwright.lab.jobs import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.algebra import Edit
    from steerwright.steering.language.edits import Action
    from steerwright.steering.language.generate import Completion

PRESENT = 0.5
TOKENS = 30
ANSWERS = 16
# Answers in one batch; a turn at the model is as long as this takes.
_ROWS = 64


@dataclass(frozen=True, slots=True)
class AnswerShare:
    """Hits among `count`, with Wilson's 95 % interval."""

    hits: int
    count: int

    @property
    def rate(self) -> float:
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.hits, self.count)

    def __str__(self) -> str:
        return f"{self.hits} of {self.count}"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Some answers, the probability of every concept in each [n, values], and each one's surprise.

    `nll` [n]: mean negative log-likelihood by token under the model without steering, in nats.
    """

    completions: tuple[Completion, ...]
    values: tuple[str, ...]
    probabilities: NDArray[np.float32]
    nll: NDArray[np.float64]

    def show(self, *concepts: str) -> AnswerShare:
        """How many show all of `concepts`."""
        columns = [self.values.index(name) for name in concepts]
        return AnswerShare(int((self.probabilities[:, columns] >= PRESENT).all(1).sum()), len(self.completions))

    def perplexity_ratio(self, base: Answers) -> float:
        """Perplexity over that of `base`, answers to the same prompts with the same seeds."""
        import numpy as np

        return float(np.exp(np.mean(self.nll) - np.mean(base.nll)))


class Experiment:
    """What a step's experiment works with: the workbench, the reader's wish to stop, and the same prompts for all.

    Raises UserError when the lab's model is one whose texts nobody here can judge.
    """

    def __init__(self, workbench: Workbench, job: Job | None = None) -> None:
        self.workbench = workbench
        self.job = job or Job()
        self.model: LanguageModel = workbench.language()
        labels = workbench.labels()
        if labels is None:
            raise UserError(
                "The lessons count how many answers show a concept, and know how to only for the embedded model. "
                "Start the lab with --model seasons-lm to take them."
            )
        self._labels = labels

    @property
    def known(self) -> tuple[str, ...]:
        """Concepts that can be steered with and recognised."""
        return known_concepts(self.workbench)

    def entry(self, name: str) -> ConceptEntry:
        return self.workbench.concept(name)

    def layer(self, given: Any) -> int:
        """A layer that the model has."""
        return checked_layer(given, self.model.layers)

    def prompts(self, count: int) -> list[str]:
        """The first `count` of the prompts that ask for no concept."""
        return list(neutral_prompts(self.workbench)[:count])

    def edits(
        self, name: str, layers: Sequence[int], strength: float, *, action: Action = "add", **more: Any
    ) -> list[Edit]:
        """Edits that add (or take out: action="erase") a concept's vector at each of `layers`, each layer's own."""
        from steerwright.steering.language.apply import text_edits

        return text_edits(self.entry(name).along(action), list(layers), strength, action=action, **more)

    def answers(
        self, edits: Sequence[Edit] = (), *, count: int = ANSWERS, asking: Callable[[str], str] | None = None
    ) -> Answers:
        """`count` answers to neutral prompts under `edits`. `asking` changes what the model is asked."""
        return self.compare([edits], count=count, asking=asking)[0]

    def compare(
        self,
        variants: Sequence[Sequence[Edit]],
        *,
        count: int = ANSWERS,
        asking: Callable[[str], str] | None = None,
    ) -> list[Answers]:
        """`count` answers under each of `variants`, all to the same prompts with the same seeds.

        Several variants share a batch, in which each edit's strength is zero on the others' rows. Judged by the model
        without steering, whatever it was asked.
        """
        neutral = self.prompts(count)
        asked = [prompt if asking is None else asking(prompt) for prompt in neutral]
        prompts = [asked[number % len(asked)] for number in range(count)]
        at_once = max(1, _ROWS // count)
        found: list[Answers] = []
        for start in range(0, len(variants), at_once):
            some = variants[start : start + at_once]
            self.job.step(start / len(variants), f"Writing {count * len(some)} answers")
            written, nll = self._written(prompts * len(some), list(range(count)) * len(some), _by_rows(some, count))
            judged = self._judged(written)
            for number in range(len(some)):
                rows = slice(number * count, (number + 1) * count)
                found.append(Answers(tuple(written[rows]), tuple(self._labels.values), judged[rows], nll[rows]))
        return found

    def _written(
        self, prompts: Sequence[str], seeds: Sequence[int], edits: Sequence[Edit]
    ) -> tuple[list[Completion], NDArray[np.float64]]:
        from steerwright.steering.language.generate import Sampling, complete

        sampling = Sampling(max_new_tokens=TOKENS)
        with self.workbench.turn("language", self.job.cancelled):
            found = complete(
                self.model, prompts, seeds, sampling, edits, should_stop=self.job.cancelled, batch_size=len(prompts)
            )
            self.job.check()
            return found, self._surprise(found)

    def _judged(self, answers: Sequence[Completion]) -> NDArray[np.float32]:
        """Probability of each concept in each answer, float32 [answers, values]; an empty one shows nothing."""
        import numpy as np

        found = np.zeros((len(answers), len(self._labels.values)), np.float32)
        written = [place for place, one in enumerate(answers) if one.text.strip()]
        if written:
            texts = [answers[place].text for place in written]
            found[written] = self._labels.probabilities(texts, ended=[answers[place].ended for place in written])
        return found

    def _surprise(self, answers: Sequence[Completion]) -> NDArray[np.float64]:
        import numpy as np

        from steerwright.steering.language.log_probs import token_log_probs

        log_probs = token_log_probs(self.model, answers)
        return np.array([-float(one.double().mean()) if len(one) else 0.0 for one in log_probs])


def _by_rows(variants: Sequence[Sequence[Edit]], count: int) -> list[Edit]:
    """One list of edits for a batch in which each of `variants` has `count` rows of its own."""
    import torch

    found = []
    for number, edits in enumerate(variants):
        for edit in edits:
            strength = torch.zeros(count * len(variants))
            strength[number * count : (number + 1) * count] = edit.strength
            found.append(replace(edit, strength=strength))
    return found


def known_concepts(workbench: Workbench) -> tuple[str, ...]:
    """Concepts of the lab that its classifier of texts knows, in the lab's order; none without a classifier."""
    labels = workbench.labels()
    if labels is None:
        return ()
    return tuple(name for name in workbench.concepts() if name in labels.values)


def neutral_prompts(workbench: Workbench) -> tuple[str, ...]:
    """The project's tuning prompts: requests that ask for no concept."""
    from steerwright.lab.operations.blend import PROMPTS
    from steerwright.text_file import read_table

    return tuple(text for (text,) in read_table(workbench.root / PROMPTS, ["prompt"]).values())
