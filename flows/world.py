"""The recipe of the embedded models. `python -m flows.world --force` trains them again, which takes hours on a CPU."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(ROOT, "world", description="Embedded models: their weights are in git, so stages stay frozen.")
def world(targets: list[str] | None = None, force: bool = False) -> Any:
    """Check that the weights are what was recorded; with `force`, train them from scratch.

    Args:
        targets: names of stages; none means every model.
        force: thaw the stages and run them, overwriting the weights.
    """
    return run_plan(ROOT, "world", targets or ["world"], force=force, thaw=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(world))
