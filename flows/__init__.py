"""Prefect flows, one file per pipeline; importing the package settles Prefect's settings before Prefect is imported."""

from pathlib import Path

from steerwright.dag.prefect.settings import configure

ROOT = Path(__file__).resolve().parent.parent

configure(ROOT)
