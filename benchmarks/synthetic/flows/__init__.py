from pathlib import Path

from steerkit.dag.prefect_settings import configure

ROOT = Path(__file__).resolve().parent.parent

configure(ROOT)
