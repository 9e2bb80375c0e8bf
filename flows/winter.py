"""The winter pipeline: thirty scenes turned to winter, measured and shown. `python -m flows.winter [STAGE ...]`."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(ROOT, "winter", description="Steer thirty scenes towards winter, score them, write the report.")
def winter(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run the winter pipeline, or only the stages `targets` with everything that they need.

    Args:
        targets: names of stages; none means the whole pipeline.
        force: run them even where they are up to date.
    """
    return run_plan(ROOT, "winter", targets or ["winter"], force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(winter))
