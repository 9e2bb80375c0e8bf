"""Candidates of an edit on tuning prompts: is the concept there as wanted, by CLIP, and was the rest kept?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from steerwright.experiments.draw import Changes, Condition, ModelTools, draw, draw_samples
from steerwright.experiments.operating_point import Tried
from steerwright.files import atomic_write
from steerwright.images import Sample, load_images
from steerwright.models.threads import same_threads
from steerwright.prompts.concepts import Concept
from steerwright.prompts.label_set import LabelSet
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import ConceptJudge, Seen, kept_by, labels_kept
from steerwright.steering.attention import Action, Candidate

KeptBy = Literal["labels", "prompt", "directional"]


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """What all candidates of an edit are tried on, and how their pictures are judged.

    `samples`: their unsteered pictures lie in `folder`; `meant`: what each prompt would say if the edit were asked for
    in words. `concept` is what the edit knows, `wanted` what pictures are to show, or not to show once it is erased;
    they differ where one concept is replaced by another. `kept`: by what the rest is compared with the unsteered
    picture. `clip`: folder or name of the judge.
    """

    tools: ModelTools
    folder: Path
    samples: tuple[Sample, ...]
    meant: tuple[str, ...]
    action: Action
    concept: Concept
    wanted: Concept
    kept: KeptBy
    clip: str
    labels: LabelSet


@dataclass(frozen=True, slots=True, eq=False)
class TrialJob:
    """One candidate, what it changes, and the file that keeps what was found."""

    tuning: Tuning
    candidate: Candidate
    changes: Changes
    file: Path


def try_candidates(
    tuning: Tuning, candidates: Sequence[tuple[Candidate, Changes]], name: str,
    map_shards: Callable[[Callable[[Any], Any], Sequence[Any], str], list[Any]],
) -> list[Tried]:  # fmt: skip
    """Every candidate of the edit `name` on the tuning prompts, in order; what was found before is read."""
    draw(tuning.tools, [(Condition("unsteered"), tuning.samples)], tuning.folder, map_shards)
    jobs = [
        TrialJob(tuning, candidate, changes, tuning.folder / f"{name}-{number}.json")
        for number, (candidate, changes) in enumerate(candidates)
    ]
    found = map_shards(try_candidate, jobs, f"candidates of {name}")
    return [Tried(job.candidate, one["wanted"], one["kept"]) for job, one in zip(jobs, found, strict=True)]


def try_candidate(job: TrialJob) -> dict[str, float]:
    """`wanted`: mean probability of what is wanted where it can be seen; `kept`: mean share of the rest that was kept.

    Adding is for all prompts that lack the concept; erasing and replacing can be seen only where there is one.
    """
    if job.file.is_file():
        found: dict[str, float] = json.loads(job.file.read_text())
        return found
    on = job.tuning
    model = on.tools.load()
    with same_threads(on.tools.threads):
        images = draw_samples(model, on.samples, job.changes.edits(model))
        judge = _judge(on.clip, on.labels)
        seen = judge.see(images)
        paths = tuple(on.folder / one.path for one in on.samples)
        plain = _see_unsteered(judge, paths, tuple(path.stat().st_mtime_ns for path in paths))
    asked = [one.prompt for one in on.samples]
    contains = torch.tensor([on.concept.kind(text) == "contains" for text in asked])
    probability = judge.probability(seen, on.wanted)
    shown = (1 - probability if on.action == "erase" else probability)[~contains if on.action == "add" else contains]
    found = {"wanted": shown.mean().item(), "kept": _kept(on, judge, seen, plain, contains).mean().item()}
    atomic_write(job.file, lambda path: path.write_text(json.dumps(found)))
    return found


def _kept(on: Tuning, judge: ConceptJudge, seen: Seen, plain: Seen, contains: torch.Tensor) -> torch.Tensor:
    if on.kept == "labels":
        same = labels_kept(seen.labels, plain.labels, on.wanted.label)
        if on.action == "add":
            return same
        # Where the concept is not, everything is to stay, also what the concept's label says.
        return torch.where(contains, same, labels_kept(seen.labels, plain.labels, None))
    # What is taken out of a prompt is no similarity that is to be kept.
    reworded = on.kept == "prompt" and on.action != "add"
    stays = on.meant if reworded else [one.prompt for one in on.samples]
    return kept_by(on.kept, judge.clip, seen.embeddings, plain.embeddings, stays, on.meant)


@lru_cache(maxsize=1)
def _judge(clip: str, labels: LabelSet) -> ConceptJudge:
    return ConceptJudge(ClipScorer(clip), labels)


@lru_cache(maxsize=1)
def _see_unsteered(judge: ConceptJudge, paths: tuple[Path, ...], times: tuple[int, ...]) -> Seen:  # noqa: ARG001
    """The unsteered pictures, seen once for all candidates: `times` tells files that were written again."""
    return judge.see(load_images(paths))
