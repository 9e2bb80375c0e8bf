"""Every pipeline of the project in one run, shared stages once. `python -m flows.everything`."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(ROOT, "everything", description="Every stage of every pipeline; the embedded models stay frozen.")
def everything(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run all stages of the project, or only the stages `targets` with everything that they need.

    Args:
        targets: names of stages or of pipelines; none means all of them.
        force: run them even where they are up to date.
    """
    return run_plan(ROOT, "everything", targets, force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(everything))
