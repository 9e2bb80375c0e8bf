"""Stages declared once in Python, run by `dvc repro`, by Prefect or by `steerwright run`, with one truth between them.

Importing this package imports neither DVC nor Prefect nor torch: tasks import it for their markers.
"""

from steerwright.dag.context import code_digest, previous_output, progress
from steerwright.dag.declarations import Dep, File, Out, Param, Stage, StageOutput, stage
from steerwright.dag.outcome import Outcome, OutputRecord, PlannedStage
from steerwright.dag.shards.map import KEPT, map_shards

__all__ = [
    "KEPT",
    "Dep",
    "File",
    "Out",
    "Outcome",
    "OutputRecord",
    "Param",
    "PlannedStage",
    "Stage",
    "StageOutput",
    "code_digest",
    "map_shards",
    "previous_output",
    "progress",
    "stage",
]
