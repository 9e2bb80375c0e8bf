"""The latents pipeline: autoencoders trained on the UNet, concepts found and erased. `python -m flows.latents`."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(
    ROOT,
    "latents",
    description="Train sparse autoencoders, find the latents of concepts, erase concepts by them, and score it.",
)
def latents(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run the latents pipeline, or only the stages `targets` with everything that they need.

    Args:
        targets: names of stages; none means the whole pipeline.
        force: run them even where they are up to date.
    """
    return run_plan(ROOT, "latents", targets or ["latents"], force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(latents))
