"""The lab on the embedded language model, for what a random model cannot show; loaded once."""

from pathlib import Path

import pytest

from steerwright.lab.workbench import Workbench
from steerwright.models.identify import EMBEDDED_LANGUAGE
from steerwright.models.language.spec import LanguageSpec

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def embedded() -> Workbench:
    """Reads the checkout; operations that keep something must not be run on it."""
    source = str(ROOT / "models" / EMBEDDED_LANGUAGE)
    return Workbench(ROOT, LanguageSpec(name=EMBEDDED_LANGUAGE, source=source), {})
