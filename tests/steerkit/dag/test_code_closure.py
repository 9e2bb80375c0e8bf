"""The static import closure, on modules written for the purpose."""

from collections.abc import Callable
from pathlib import Path

import pytest

from steerkit.dag.code_closure import code_closure, digest_of_files

Write = Callable[[str, str], Path]


@pytest.fixture
def modules(tmp_path: Path, write_module: Write) -> Path:
    write_module("tasks/__init__.py", '"""Only a docstring."""\n')
    write_module("tasks/pipelines/__init__.py", "WIRING = 1\n")
    write_module("steerkit/__init__.py", "")
    write_module("steerkit/dag/__init__.py", "ENGINE = 1\n")
    write_module("steerkit/errors.py", "class UserError(Exception): ...\n")
    write_module("steerkit/vectors/__init__.py", "")
    write_module("steerkit/vectors/mean.py", "from steerkit.errors import UserError\n")
    write_module("steerkit/vectors/probe.py", "VALUE = 1\n")
    write_module("steerkit/loud/__init__.py", "from steerkit.vectors import probe\n")
    write_module("steerkit/loud/quiet.py", "VALUE = 1\n")
    return tmp_path


def closure(root: Path, write: Write, body: str) -> list[str]:
    write("tasks/fit.py", body)
    return code_closure("tasks.fit", root)


def test_imports_are_followed_and_the_engine_and_the_wiring_are_left_out(modules: Path, write_module: Write) -> None:
    body = "import json\nfrom steerkit.dag import Out\nimport tasks.pipelines\nimport steerkit.vectors.mean\n"
    assert closure(modules, write_module, body) == ["steerkit/errors.py", "steerkit/vectors/mean.py", "tasks/fit.py"]


@pytest.mark.parametrize(
    "body",
    [
        "from steerkit.vectors import probe\n",
        "from steerkit.vectors.probe import VALUE\n",
        "def fit():\n    from steerkit.vectors.probe import VALUE\n",
        "import importlib\nprobe = importlib.import_module('steerkit.vectors.probe')\n",
        "if True:\n    import steerkit.vectors.probe as p\nelse:\n    p = None\n",
        "try:\n    from steerkit.vectors.probe import *\nexcept ImportError:\n    pass\n",
    ],
)
def test_every_way_to_import_a_module_counts_and_its_neighbours_do_not(
    modules: Path, write_module: Write, body: str
) -> None:
    assert closure(modules, write_module, body) == ["steerkit/vectors/probe.py", "tasks/fit.py"]


def test_imports_for_type_checkers_do_not_count(modules: Path, write_module: Write) -> None:
    body = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from steerkit.vectors import probe\n"
    assert closure(modules, write_module, body) == ["tasks/fit.py"]


def test_a_package_that_runs_code_counts_with_what_it_imports(modules: Path, write_module: Write) -> None:
    assert closure(modules, write_module, "import steerkit.loud.quiet\n") == [
        "steerkit/loud/__init__.py",
        "steerkit/loud/quiet.py",
        "steerkit/vectors/probe.py",
        "tasks/fit.py",
    ]


def test_relative_imports_are_resolved(modules: Path, write_module: Write) -> None:
    write_module("steerkit/vectors/near.py", "from .probe import VALUE\nfrom ..errors import UserError\n")
    found = closure(modules, write_module, "import steerkit.vectors.near\n")
    assert "steerkit/vectors/probe.py" in found
    assert "steerkit/errors.py" in found


def test_the_digest_moves_with_a_byte_and_with_a_name(modules: Path) -> None:
    one = digest_of_files(["steerkit/errors.py"], modules)
    assert one == digest_of_files(["steerkit/errors.py"], modules)
    (modules / "steerkit/errors.py").write_text("class UserError(Exception): ... \n")
    assert one != digest_of_files(["steerkit/errors.py"], modules)
