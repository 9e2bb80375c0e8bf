"""The static import closure, on modules written for the purpose."""

from collections.abc import Callable
from pathlib import Path

import pytest

from steerkit.dag.code import closure as libraries_of
from steerkit.dag.code import code_closure, digest_of_files
from steerkit.errors import UserError

Write = Callable[[str, str], Path]


@pytest.fixture
def modules(tmp_path: Path, write_module: Write) -> Path:
    write_module("tasks/__init__.py", '"""Only a docstring."""\n')
    write_module("tasks/fits/pipeline.py", "WIRING = 1\n")
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
    body = "import json\nfrom steerkit.dag import Out\nimport tasks.fits.pipeline\nimport steerkit.vectors.mean\n"
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


LAZY = """
from importlib import import_module
_HOMES = {"mean": "vectors.mean", "VALUE": "vectors.probe"}
FIXED = 1
def __getattr__(name):
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
"""
STUB = "from steerkit.vectors.mean import mean as mean\nfrom steerkit.vectors.probe import VALUE as VALUE\n"


@pytest.mark.parametrize(
    ("body", "reached"),
    [
        ("from steerkit import VALUE\n", {"steerkit/vectors/probe.py"}),
        ("import steerkit\nprint(steerkit.VALUE)\n", {"steerkit/vectors/probe.py"}),
        ("import steerkit as kit\ndef f():\n    return kit.VALUE\n", {"steerkit/vectors/probe.py"}),
        ("import steerkit.errors\nprint(steerkit.VALUE)\n", {"steerkit/vectors/probe.py", "steerkit/errors.py"}),
        ("import steerkit\nprint(getattr(steerkit, 'VALUE'))\n", {"steerkit/vectors/probe.py"}),
        ("from steerkit import FIXED\n", set()),
        ("from steerkit.errors import UserError\n", {"steerkit/errors.py"}),
    ],
)
def test_a_name_of_a_lazy_package_counts_as_the_module_that_its_stub_says(
    modules: Path, write_module: Write, body: str, reached: set[str]
) -> None:
    write_module("steerkit/__init__.py", LAZY)
    write_module("steerkit/__init__.pyi", STUB)
    assert set(closure(modules, write_module, body)) == {"steerkit/__init__.py", "tasks/fit.py", *reached}


@pytest.mark.parametrize(
    "body",
    ["from steerkit import VALUE\n", "from steerkit import *\n", "import steerkit\ngetattr(steerkit, input())\n"],
)
def test_a_lazy_package_that_does_not_say_counts_whole(modules: Path, write_module: Write, body: str) -> None:
    write_module("steerkit/__init__.py", LAZY)
    found = closure(modules, write_module, body)
    assert {"steerkit/vectors/mean.py", "steerkit/vectors/probe.py", "steerkit/loud/quiet.py"} <= set(found)
    assert "steerkit/dag/__init__.py" not in found


def test_the_stub_of_steerkit_names_the_homes_of_all_its_names() -> None:
    import steerkit
    from steerkit.dag.code import _homes

    stub = Path(steerkit.__file__ or "").with_name("__init__.pyi")
    said = {name: home for name, home in _homes(stub, "steerkit", 0).items() if home.startswith("steerkit.")}
    assert {name: f"steerkit.{home}.{name}" for name, home in steerkit._HOMES.items()} == said


@pytest.mark.parametrize(
    "body",
    [
        "from importlib import import_module as load\nname = input()\nload(f'steerkit.vectors.{name}')\n",
        "import importlib\nimportlib.import_module('steerkit.vectors.' + input())\n",
        "from steerkit.vectors import many\n",
    ],
)
def test_a_name_that_begins_with_a_package_counts_for_all_of_it(modules: Path, write_module: Write, body: str) -> None:
    write_module("steerkit/vectors/many.py", "import importlib\nimportlib.import_module(f'{__package__}.{input()}')\n")
    found = closure(modules, write_module, body)
    assert {"steerkit/vectors/mean.py", "steerkit/vectors/probe.py", "steerkit/errors.py"} <= set(found)
    assert "steerkit/loud/quiet.py" not in found


def test_a_relative_name_is_resolved(modules: Path, write_module: Write) -> None:
    write_module("steerkit/vectors/near.py", "import importlib\nimportlib.import_module('.probe', __package__)\n")
    assert "steerkit/vectors/probe.py" in closure(modules, write_module, "import steerkit.vectors.near\n")


@pytest.mark.parametrize(
    "body",
    [
        "import importlib\nimportlib.import_module(input())\n",
        "from importlib.util import spec_from_file_location as at\nat('x', input())\n",
        "import runpy\nrunpy.run_path('steerkit/vectors/probe.py')\n",
    ],
)
def test_a_name_that_only_the_running_program_knows_is_refused(modules: Path, write_module: Write, body: str) -> None:
    with pytest.raises(UserError, match=r"tasks/fit.py, line 2: .* known only when it runs"):
        closure(modules, write_module, body)


@pytest.mark.parametrize(
    "body",
    [
        "from pathlib import Path\nSTYLE = Path(__file__).with_name('style.css').read_text()\n",
        "from importlib import resources\nSTYLE = resources.files('steerkit.page').joinpath('style.css')\n",
        "import importlib.resources\nSTYLE = importlib.resources.files('steerkit.page')\n",
    ],
)
def test_files_that_a_module_reads_beside_itself_are_code(modules: Path, write_module: Write, body: str) -> None:
    write_module("steerkit/page/draw.py", body)
    write_module("steerkit/page/style.css", "p {}")
    write_module("steerkit/page/parts/page.html", "<p>")
    found = closure(modules, write_module, "import steerkit.page.draw\n")
    assert found == [
        "steerkit/page/draw.py",
        "steerkit/page/parts/page.html",
        "steerkit/page/style.css",
        "tasks/fit.py",
    ]


def test_a_package_of_ones_own_beside_tasks_counts(modules: Path, write_module: Write) -> None:
    write_module("mine/metric.py", "VALUE = 1\n")
    write_module("alone.py", "from mine.metric import VALUE\n")
    assert closure(modules, write_module, "import alone\n") == ["alone.py", "mine/metric.py", "tasks/fit.py"]


def test_libraries_are_the_packages_that_are_neither_ours_nor_pythons(modules: Path, write_module: Write) -> None:
    write_module("steerkit/vectors/mean.py", "def fit():\n    import torch.nn\n    from PIL import Image\n")
    write_module("tasks/fit.py", "import json\nimport steerkit.vectors.mean\nfrom numpy import linalg\n")
    assert libraries_of("tasks.fit", modules).libraries == ["PIL", "numpy", "torch"]
