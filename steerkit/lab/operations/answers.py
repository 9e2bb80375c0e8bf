"""The requests that are answered to measure something, and their answers, one turn at the model at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerkit.lab.checks import checked_text
from steerkit.lab.jobs import Job

if TYPE_CHECKING:
    from steerkit.lab.workbench import Workbench
    from steerkit.models.language.generate import Completion, Sampling
    from steerkit.models.language.load import LanguageModel
    from steerkit.steering.edit import Edit

PROMPTS = Path("data", "language", "prompts", "tuning.csv")
MOST_PROMPTS = 12


def requests(workbench: Workbench, prompt: Any, seed: int, temperature: float) -> tuple[list[str], list[int]]:
    """Prompts and their seeds: the lab's twelve, or where `prompt` says something, that one with twelve seeds.

    Greedy answers to one prompt would all be the same, so there is one of them then.
    """
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        from steerkit.prompts.table import read_table

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
    from steerkit.models.language.generate import complete

    found = complete(model, prompts, seeds, sampling, edits, should_stop=job.cancelled)
    job.check()
    return found
