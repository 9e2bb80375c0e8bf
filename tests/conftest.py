"""How the whole suite runs: shapes checked, in two processes, a file in one of them, the longest files first."""

import os
from pathlib import Path

import pytest

from tests.shapes import check_shapes

check_shapes()  # before what follows imports the library

from steerwright.loopback import go_direct  # noqa: E402

# Servers that tests start are on this machine, also for those who sit behind a proxy.
go_direct()

# Two processes of one thread each fill two cores; two of several threads get in each other's way. Said here, because
# torch reads it when it is imported, and the programs that tests start inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The first of all makes what the other pipelines' tests copy, in minutes; until then the other process has these to do.
# And a long file must not be the last one, when one process has nothing left.
LONG_FILES = (
    "pipeline/test_everything_tiny.py",
    "steerwright/models/test_real_shapes.py",
    "steerwright/lab/operations/test_lessons.py",
    "steerwright/dag/test_doors.py",
    "flows/test_shard_runs.py",
    "steerwright/dag/test_crash.py",
    "steerwright/lab/operations/test_steer_picture.py",
    "steerwright/lab/test_images_in_a_browser.py",
    "flows/test_winter_flow.py",
    "steerwright/dag/shards/test_runners.py",
    "steerwright/cli/test_generate.py",
    "steerwright/activations/store/test_loader.py",
    "steerwright/activations/test_denoiser.py",
    "steerwright/report/test_attention_report.py",
    "flows/test_nightly_deployment.py",
    "pipeline/test_winter_tiny.py",
    "pipeline/test_flux_tiny.py",
    "pipeline/test_language_tiny.py",
    "pipeline/test_attention_tiny.py",
    "pipeline/test_latents_tiny.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {Path(__file__).parent / name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
