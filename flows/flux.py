"""The FLUX pipeline: features of a transformer, from activations to a gallery. `python -m flows.flux`."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(
    ROOT,
    "flux",
    description="Train sparse autoencoders on FLUX, select coherent features, show, steer and compare them.",
)
def flux(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run the FLUX pipeline, or only the stages `targets` with everything that they need.

    Args:
        targets: names of stages; none means the whole pipeline.
        force: run them even where they are up to date.
    """
    return run_plan(ROOT, "flux", targets or ["flux"], force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(flux))
