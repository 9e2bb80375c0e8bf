from pathlib import Path

from steerwright.dag.prefect_settings import configure

ROOT = Path(__file__).resolve().parent.parent

configure(ROOT)
