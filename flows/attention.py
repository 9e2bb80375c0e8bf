"""The attention pipeline: concepts added, erased and replaced, and measured. `python -m flows.attention`."""

from __future__ import annotations

import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(
    ROOT, "attention", description="Add, erase and replace concepts in cross-attention, score it, write the report."
)
def attention(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run the attention pipeline, or only the stages `targets` with everything that they need.

    Args:
        targets: names of stages; none means the whole pipeline.
        force: run them even where they are up to date.
    """
    return run_plan(ROOT, "attention", targets or ["attention"], force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(attention))
