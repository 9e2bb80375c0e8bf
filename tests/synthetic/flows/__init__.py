from pathlib import Path

from steerwright.dag.prefect.settings import configure

ROOT = Path(__file__).resolve().parent.parent

configure(ROOT)
