"""A lab in a folder with the embedded models and the shipped starters, and no pipeline that has run."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def picture_lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Workbench of the embedded picture models; its language model is never loaded."""
    import yaml

    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.spec import LanguageSpec

    root = tmp_path_factory.mktemp("lab")
    (root / "models").symlink_to(ROOT / "models")
    models = yaml.safe_load((ROOT / "params.yaml").read_text())["models"]
    return Workbench(root, LanguageSpec(name="none", source="nowhere"), models)


@pytest.fixture(scope="session")
def sd(picture_lab: Any) -> Any:
    """The embedded Stable Diffusion, loaded once."""
    return picture_lab.picture_model("seasons-sd")
