from collections.abc import Callable
from pathlib import Path

import pytest

from tests.synthetic_project import Checkout, copy_checkout, make_checkout


@pytest.fixture(scope="session")
def fresh_project(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The synthetic project before anything ran; to be copied, not used."""
    return make_checkout(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="session")
def done_project(fresh_project: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The synthetic project brought up to date by the engine; to be copied, not used."""
    checkout = copy_checkout(fresh_project, tmp_path_factory.mktemp("done") / "project")
    checkout.run()
    checkout.git("add", "-A")
    checkout.git("commit", "-q", "-m", "results")
    return checkout


@pytest.fixture
def fresh(fresh_project: Checkout, tmp_path: Path) -> Checkout:
    return copy_checkout(fresh_project, tmp_path / "project")


@pytest.fixture
def done(done_project: Checkout, tmp_path: Path) -> Checkout:
    return copy_checkout(done_project, tmp_path / "project")


@pytest.fixture
def write_module(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
