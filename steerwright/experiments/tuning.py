"""Changes tried on tuning prompts, in shards for any process: is what is wanted there, and was the rest kept?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from steerwright.experiments.draw import Changes, Condition, ModelTools, draw, draw_samples
from steerwright.files import atomic_write
from steerwright.images import Sample, load_images
from steerwright.models.load import same_threads
from steerwright.prompts.concepts import Concept
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import ConceptJudge, Judged, Seen, TuningJudge, kept_by, labels_kept
from steerwright.scoring.target import Target
from steerwright.steering.attention import Action

KeptBy = Literal["labels", "prompt", "directional"]


class TuningMeasure(Protocol):
    """What pictures are judged by, small, picklable and hashable: it goes to every process that tries changes."""

    def __hash__(self) -> int: ...

    def see(self, images: NDArray[np.uint8]) -> Any:
        """What a judge makes of pictures [n, h, w, 3]."""
        ...

    def numbers(self, seen: Any, unsteered: Any) -> dict[str, float]:
        """The means that decide, of what was seen in steered pictures and in the unsteered ones beside them."""
        ...


@dataclass(frozen=True, slots=True)
class Trials:
    """Where changes are tried: on `samples`, whose unsteered pictures lie in `folder`."""

    tools: ModelTools
    folder: Path
    samples: tuple[Sample, ...]
    measure: TuningMeasure

    @property
    def paths(self) -> tuple[Path, ...]:
        """The unsteered pictures."""
        return tuple(self.folder / one.path for one in self.samples)


@dataclass(frozen=True, slots=True, eq=False)
class TrialJob:
    """Changes to try, and the file that keeps what was measured; None: it is not kept."""

    trials: Trials
    changes: Changes
    file: Path | None


def try_all(
    trials: Trials, changes: Sequence[Changes], name: str,
    map_shards: Callable[[Callable[[Any], Any], Sequence[Any], str], list[Any]],
) -> list[dict[str, float]]:  # fmt: skip
    """What the measure says of each of the `changes`, in order; what was found before is read from NAME-NUMBER.json."""
    draw(trials.tools, [(Condition("unsteered"), trials.samples)], trials.folder, map_shards)
    jobs = [TrialJob(trials, one, trials.folder / f"{name}-{number}.json") for number, one in enumerate(changes)]
    return map_shards(try_changes, jobs, f"candidates of {name}")


def try_changes(job: TrialJob) -> dict[str, float]:
    """Draw the samples with the changes, and measure them beside the unsteered pictures."""
    if job.file is not None and job.file.is_file():
        known: dict[str, float] = json.loads(job.file.read_text())
        return known
    here = job.trials
    model = here.tools.load()
    with same_threads(here.tools.threads):
        seen = here.measure.see(draw_samples(model, here.samples, job.changes.edits(model)))
        found = here.measure.numbers(seen, see_unsteered(here))
    if job.file is not None:
        atomic_write(job.file, lambda path: path.write_text(json.dumps(found)))
    return found


def see_unsteered(trials: Trials) -> Any:
    """What the measure sees in the unsteered pictures, once for all that is tried."""
    return _see(trials.measure, trials.paths, tuple(path.stat().st_mtime_ns for path in trials.paths))


@lru_cache(maxsize=1)
def _see(measure: TuningMeasure, paths: tuple[Path, ...], times: tuple[int, ...]) -> Any:  # noqa: ARG001
    # `times` tells pictures that were drawn again under the same names.
    return measure.see(load_images(paths))


@lru_cache(maxsize=1)
def _clip(name: str) -> ClipScorer:
    return ClipScorer(name)


@dataclass(frozen=True, slots=True, eq=False)
class ConceptMeasure:
    """`wanted`: mean probability of the wanted concept, or of its absence where it is erased; `kept`: of the rest.

    Adding is for all `prompts` that lack the `concept`; erasing and replacing can be seen only where there is one.
    `meant`: what each prompt would say if the edit were asked for in words. `wanted` is another concept than `concept`
    where one is replaced. `kept_by`: what of the unsteered picture is compared. `clip`: folder or name of the judge.
    """

    prompts: tuple[str, ...]
    meant: tuple[str, ...]
    action: Action
    concept: Concept
    wanted: Concept
    kept_by: KeptBy
    clip: str
    labels: LabelSet

    @property
    def _judge(self) -> ConceptJudge:
        return ConceptJudge(_clip(self.clip), self.labels)

    def see(self, images: NDArray[np.uint8]) -> Seen:
        return self._judge.see(images)

    def numbers(self, seen: Seen, unsteered: Seen) -> dict[str, float]:
        contains = torch.tensor([self.concept.kind(text) == "contains" for text in self.prompts])
        probability = self._judge.probability(seen, self.wanted)
        shown = (1 - probability if self.action == "erase" else probability)[
            ~contains if self.action == "add" else contains
        ]
        return {"wanted": shown.mean().item(), "kept": self._kept(seen, unsteered, contains).mean().item()}

    def _kept(self, seen: Seen, unsteered: Seen, contains: torch.Tensor) -> torch.Tensor:
        if self.kept_by == "labels":
            same = labels_kept(seen.labels, unsteered.labels, self.wanted.label)
            if self.action == "add":
                return same
            # Where the concept is not, everything is to stay, also what the concept's label says.
            return torch.where(contains, same, labels_kept(seen.labels, unsteered.labels, None))
        # What is taken out of a prompt is no similarity that is to be kept.
        reworded = self.kept_by == "prompt" and self.action != "add"
        stays = self.meant if reworded else self.prompts
        return kept_by(self.kept_by, _clip(self.clip), seen.embeddings, unsteered.embeddings, stays, self.meant)


@dataclass(frozen=True, slots=True, eq=False)
class TargetMeasure:
    """`target`: mean probability of the target; and of what was kept each measure that has one of the `floors`."""

    prompts: tuple[str, ...]
    target: Target
    floors: tuple[str, ...]
    clip: str

    @property
    def _judge(self) -> TuningJudge:
        return TuningJudge(_clip(self.clip), self.target)

    def see(self, images: NDArray[np.uint8]) -> Judged:
        return self._judge.judge(images)

    def numbers(self, seen: Judged, unsteered: Judged) -> dict[str, float]:
        kept = self._judge.kept(seen, unsteered, self.prompts, self.floors)
        return {"target": seen.wanted.mean().item(), **{name: one.mean().item() for name, one in kept.items()}}
