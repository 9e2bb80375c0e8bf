"""The language pipeline: concepts in a language model, steered and measured. `python -m flows.language [STAGE ...]`."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(ROOT, "language", description="Find concepts in a language model, steer by them, score texts, report.")
def language(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run the language pipeline, or only the stages `targets` with everything that they need.

    Args:
        targets: names of stages; none means the whole pipeline.
        force: run them even where they are up to date.
    """
    return run_plan(ROOT, "language", targets or ["language"], force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(language))
