import sys
from typing import Any

from flows import ROOT
from steerwright.dag.prefect.flow import pipeline_flow, run_plan
from steerwright.dag.prefect.settings import flow_from_command_line


@pipeline_flow(ROOT, name="demo", description="The synthetic pipeline.")
def demo(targets: list[str] | None = None, force: bool = False) -> Any:
    """Run the synthetic pipeline."""
    return run_plan(ROOT, "demo", targets or ["demo"], force=force)


if __name__ == "__main__":
    sys.exit(flow_from_command_line(demo))
