"""Which recipe and strength erases a target: tried on tuning prompts, the least edit first, by CLIP's judgement.

The label classifier stays an independent truth for the scores. Every trial is kept as a small file, so a search that
was cut short goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from steerwright.experiments.draw import ModelTools, draw_samples
from steerwright.experiments.operating_point import Tried, operating_point
from steerwright.files import atomic_write
from steerwright.images import Sample, load_images
from steerwright.models.load import same_threads
from steerwright.scoring.axis_judge import AxisJudge, SeenOnAxis
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.erasure_samples import ErasureTarget
from steerwright.steering.attention import Candidate
from steerwright.steering.latents.edits import LatentRecipe
from steerwright.steering.latents.erasure import ConceptChange, LatentChanges

Rule = Literal["least", "best"]


class LatentAttempt(BaseModel):
    """A recipe at a strength, and the numbers of the tuning pictures in which it acts (None: in all of them)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: LatentRecipe
    strength: float
    acts: tuple[int, ...] | None = None


class SearchJob(BaseModel):
    """Erasing one target by one method: `attempts` in order, on tuning `samples` whose unsteered pictures are there.

    `saes` and `moments`: folders of autoencoders and of their concepts' means. `named`: whether each sample's prompt
    names the target; `axes` -> their values -> phrases, and the folder or name of
    `clip`, are what pictures are judged by. `rule`: `least`, the first that reaches `goal` and keeps `floor` is taken,
    and no other is tried after it; `best`, all are tried and the best mean of both wins, as SAeUron chooses
    (arXiv:2501.18052).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: ModelTools
    saes: Path
    moments: Path
    target: str
    method: str
    attempts: tuple[LatentAttempt, ...]
    samples: tuple[Sample, ...]
    named: tuple[bool, ...]
    axes: dict[str, dict[str, tuple[str, ...]]]
    clip: str
    pictures: Path
    folder: Path
    rule: Rule
    goal: float
    floor: float


class Tuned(BaseModel):
    """What a search found: `trials` (wanted, kept) in order, as far as it went, and the place of the chosen one.

    wanted: mean probability that a picture whose prompt names the target does not show it; kept: mean share of the
    other axes (of all axes, where the prompt does not name the target) whose value is the unsteered picture's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: tuple[tuple[float, float], ...]
    chosen: int
    reached: bool


def search_target(job: SearchJob) -> dict[str, Any]:
    """Try the attempts of `job`, from where an earlier search stopped; returns `Tuned` as a dict."""
    tried: list[Tried] = []
    judge = _judge(job.clip, tuple((axis, tuple(values.items())) for axis, values in job.axes.items()))
    plain = load_images([job.pictures / sample.path for sample in job.samples])
    seen: SeenOnAxis | None = None
    for number, attempt in enumerate(job.attempts):
        path = job.folder / f"{job.target.replace(':', '-')}-{job.method}-{number}.json"
        candidate = Candidate(attempt.recipe.places, attempt.strength)
        if path.is_file():
            found = json.loads(path.read_text())
        elif len(job.attempts) == 1 and job.rule == "best":
            break  # nothing to choose between
        else:
            seen = seen or judge.see(plain)
            found = _measured(job, attempt, plain, judge, seen)
            atomic_write(path, lambda partial, found=found: partial.write_text(json.dumps(found)))  # type: ignore[misc]
        tried.append(Tried(candidate, found["wanted"], found["kept"]))
        if job.rule == "least" and _reaches(tried[-1], job):
            break
    chosen = _chosen(tried, job)
    reached = bool(tried) and _reaches(tried[chosen], job)
    return Tuned(trials=tuple((t.wanted, t.kept) for t in tried), chosen=chosen, reached=reached).model_dump()


def labels_kept(seen: Mapping[str, Sequence[str]], before: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
    """Share [n] of the axes whose value each picture has in common with its unsteered one; 1 where there is no axis."""
    same = [[a == b for a, b in zip(seen[axis], before[axis], strict=True)] for axis in seen]
    return np.mean(same, axis=0) if same else np.ones(0)


def _reaches(tried: Tried, job: SearchJob) -> bool:
    return tried.wanted >= job.goal and tried.kept >= job.floor


def _chosen(tried: Sequence[Tried], job: SearchJob) -> int:
    if not tried:
        return 0
    if job.rule == "least":
        return list(tried).index(operating_point(tried, goal=job.goal, floor=job.floor))
    return max(range(len(tried)), key=lambda number: (tried[number].wanted + tried[number].kept, -number))


def _measured(
    job: SearchJob, attempt: LatentAttempt, plain: NDArray[np.uint8], judge: AxisJudge, before: SeenOnAxis
) -> dict[str, float]:
    rows = list(range(len(job.samples)) if attempt.acts is None else attempt.acts)
    pixels = plain.copy()
    target = ErasureTarget.parse(job.target)
    erased = tuple(
        ConceptChange(concept=f"{axis}:{value}", recipe=attempt.recipe, strength=attempt.strength)
        for axis, value in target.concepts
    )
    if rows:
        model = job.tools.load()
        edits = LatentChanges(job.saes, job.moments, erased).edits(model)
        with same_threads(job.tools.threads):
            pixels[rows] = draw_samples(model, [job.samples[row] for row in rows], edits)
    seen = judge.see(pixels)
    named = np.array(job.named)
    kept = np.ones(len(named))
    for where, axes in ((named, [a for a in job.axes if a not in target.axes]), (~named, list(job.axes))):
        rows = np.flatnonzero(where).tolist()
        if rows and axes:
            now, then = ({a: [s.values[a][row] for row in rows] for a in axes} for s in (seen, before))
            kept[rows] = labels_kept(now, then)
    each = [seen.probabilities[axis][:, judge.axes[axis].index(value)] for axis, value in target.concepts]
    shown = torch.stack(each).amax(0)[torch.from_numpy(named)]
    return {"wanted": float((1 - shown).mean()), "kept": float(kept.mean())}


@lru_cache(maxsize=2)
def _judge(clip: str, axes: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]) -> AxisJudge:
    return AxisJudge({axis: dict(values) for axis, values in axes}, ClipScorer(clip))
