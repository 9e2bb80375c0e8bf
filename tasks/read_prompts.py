"""The texts of a pipeline, checked."""

import json
from pathlib import Path
from typing import Annotated

from steerkit.dag import Dep, Out
from steerkit.prompts.contrast_pairs import read_contrast_pairs
from steerkit.prompts.suite import check_disjoint
from steerkit.prompts.suite import read_prompts as read_suite


def read_prompts(
    scored: Annotated[Path, Dep()],
    tuning: Annotated[Path, Dep()],
    contrast: Annotated[Path, Dep()],
    prompts: Annotated[Path, Out("prompts.json")],
    pairs: Annotated[Path, Out("pairs.json")],
) -> None:
    """Read and check the prompts to steer, the prompts to tune on, and the contrast pairs."""
    suites = {"scored": read_suite(scored), "tuning": read_suite(tuning)}
    check_disjoint(suites["scored"], suites["tuning"], scored, tuning)
    listed = {name: [{"id": key, "prompt": text} for key, text in suite.items()] for name, suite in suites.items()}
    prompts.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n")
    rows = [{"id": p.id, "positive": p.positive, "negative": p.negative} for p in read_contrast_pairs(contrast)]
    pairs.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
