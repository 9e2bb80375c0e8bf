"""The static import closure, on modules written for the purpose."""

from collections.abc import Callable
from pathlib import Path

import pytest

from steerwright.dag.code import closure as libraries_of
from steerwright.dag.code import code_closure, digest_of_files
from steerwright.errors import UserError

Write = Callable[[str, str], Path]


@pytest.fixture
def modules(tmp_path: Path, write_module: Write) -> Path:
    write_module("tasks/__init__.py", '"""Only a docstring."""\n')
    write_module("tasks/fits/pipeline.py", "WIRING = 1\n")
    write_module("steerwright/__init__.py", "")
    write_module("steerwright/dag/__init__.py", "ENGINE = 1\n")
    write_module("steerwright/errors.py", "class UserError(Exception): ...\n")
    write_module("steerwright/vectors/__init__.py", "")
    write_module("steerwright/vectors/mean.py", "from steerwright.errors import UserError\n")
    write_module("steerwright/vectors/probe.py", "VALUE = 1\n")
    write_module("steerwright/loud/__init__.py", "from steerwright.vectors import probe\n")
    write_module("steerwright/loud/quiet.py", "VALUE = 1\n")
    return tmp_path


def closure(root: Path, write: Write, body: str) -> list[str]:
    write("tasks/fit.py", body)
    return code_closure("tasks.fit", root)


def test_imports_are_followed_and_the_engine_and_the_wiring_are_left_out(modules: Path, write_module: Write) -> None:
    body = "import json\nfrom steerwright.dag import Out\nimport tasks.fits.pipeline\nimport steerwright.vectors.mean\n"
    assert closure(modules, write_module, body) == [
        "steerwright/errors.py",
        "steerwright/vectors/mean.py",
        "tasks/fit.py",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "from steerwright.vectors import probe\n",
        "from steerwright.vectors.probe import VALUE\n",
        "def fit():\n    from steerwright.vectors.probe import VALUE\n",
        "import importlib\nprobe = importlib.import_module('steerwright.vectors.probe')\n",
        "if True:\n    import steerwright.vectors.probe as p\nelse:\n    p = None\n",
        "try:\n    from steerwright.vectors.probe import *\nexcept ImportError:\n    pass\n",
    ],
)
def test_every_way_to_import_a_module_counts_and_its_neighbours_do_not(
    modules: Path, write_module: Write, body: str
) -> None:
    assert closure(modules, write_module, body) == ["steerwright/vectors/probe.py", "tasks/fit.py"]


def test_imports_for_type_checkers_do_not_count(modules: Path, write_module: Write) -> None:
    body = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from steerwright.vectors import probe\n"
    assert closure(modules, write_module, body) == ["tasks/fit.py"]


def test_a_package_that_runs_code_counts_with_what_it_imports(modules: Path, write_module: Write) -> None:
    assert closure(modules, write_module, "import steerwright.loud.quiet\n") == [
        "steerwright/loud/__init__.py",
        "steerwright/loud/quiet.py",
        "steerwright/vectors/probe.py",
        "tasks/fit.py",
    ]


def test_relative_imports_are_resolved(modules: Path, write_module: Write) -> None:
    write_module("steerwright/vectors/near.py", "from .probe import VALUE\nfrom ..errors import UserError\n")
    found = closure(modules, write_module, "import steerwright.vectors.near\n")
    assert "steerwright/vectors/probe.py" in found
    assert "steerwright/errors.py" in found


def test_the_digest_moves_with_a_byte_and_with_a_name(modules: Path) -> None:
    one = digest_of_files(["steerwright/errors.py"], modules)
    assert one == digest_of_files(["steerwright/errors.py"], modules)
    (modules / "steerwright/errors.py").write_text("class UserError(Exception): ... \n")
    assert one != digest_of_files(["steerwright/errors.py"], modules)


LAZY = """
from importlib import import_module
_HOMES = {"mean": "vectors.mean", "VALUE": "vectors.probe"}
FIXED = 1
def __getattr__(name):
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
"""
STUB = "from steerwright.vectors.mean import mean as mean\nfrom steerwright.vectors.probe import VALUE as VALUE\n"


@pytest.mark.parametrize(
    ("body", "reached"),
    [
        ("from steerwright import VALUE\n", {"steerwright/vectors/probe.py"}),
        ("import steerwright\nprint(steerwright.VALUE)\n", {"steerwright/vectors/probe.py"}),
        ("import steerwright as kit\ndef f():\n    return kit.VALUE\n", {"steerwright/vectors/probe.py"}),
        (
            "import steerwright.errors\nprint(steerwright.VALUE)\n",
            {"steerwright/vectors/probe.py", "steerwright/errors.py"},
        ),
        ("import steerwright\nprint(getattr(steerwright, 'VALUE'))\n", {"steerwright/vectors/probe.py"}),
        ("from steerwright import FIXED\n", set()),
        ("from steerwright.errors import UserError\n", {"steerwright/errors.py"}),
    ],
)
def test_a_name_of_a_lazy_package_counts_as_the_module_that_its_stub_says(
    modules: Path, write_module: Write, body: str, reached: set[str]
) -> None:
    write_module("steerwright/__init__.py", LAZY)
    write_module("steerwright/__init__.pyi", STUB)
    assert set(closure(modules, write_module, body)) == {"steerwright/__init__.py", "tasks/fit.py", *reached}


@pytest.mark.parametrize(
    "body",
    [
        "from steerwright import VALUE\n",
        "from steerwright import *\n",
        "import steerwright\ngetattr(steerwright, input())\n",
    ],
)
def test_a_lazy_package_that_does_not_say_counts_whole(modules: Path, write_module: Write, body: str) -> None:
    write_module("steerwright/__init__.py", LAZY)
    found = closure(modules, write_module, body)
    assert {"steerwright/vectors/mean.py", "steerwright/vectors/probe.py", "steerwright/loud/quiet.py"} <= set(found)
    assert "steerwright/dag/__init__.py" not in found


def test_the_stub_of_steerwright_names_the_homes_of_all_its_names() -> None:
    import steerwright
    from steerwright.dag.code import stub_homes

    stub = Path(steerwright.__file__ or "").with_name("__init__.pyi")
    said = {name: home for name, home in stub_homes(stub, "steerwright", 0).items() if home.startswith("steerwright.")}
    assert {name: f"steerwright.{home}.{name}" for name, home in steerwright._HOMES.items()} == said


@pytest.mark.parametrize(
    "body",
    [
        "from importlib import import_module as load\nname = input()\nload(f'steerwright.vectors.{name}')\n",
        "import importlib\nimportlib.import_module('steerwright.vectors.' + input())\n",
        "from steerwright.vectors import many\n",
    ],
)
def test_a_name_that_begins_with_a_package_counts_for_all_of_it(modules: Path, write_module: Write, body: str) -> None:
    write_module(
        "steerwright/vectors/many.py", "import importlib\nimportlib.import_module(f'{__package__}.{input()}')\n"
    )
    found = closure(modules, write_module, body)
    assert {"steerwright/vectors/mean.py", "steerwright/vectors/probe.py", "steerwright/errors.py"} <= set(found)
    assert "steerwright/loud/quiet.py" not in found


def test_a_relative_name_is_resolved(modules: Path, write_module: Write) -> None:
    write_module("steerwright/vectors/near.py", "import importlib\nimportlib.import_module('.probe', __package__)\n")
    assert "steerwright/vectors/probe.py" in closure(modules, write_module, "import steerwright.vectors.near\n")


@pytest.mark.parametrize(
    "body",
    [
        "import importlib\nimportlib.import_module(input())\n",
        "from importlib.util import spec_from_file_location as at\nat('x', input())\n",
        "import runpy\nrunpy.run_path('steerwright/vectors/probe.py')\n",
    ],
)
def test_a_name_that_only_the_running_program_knows_is_refused(modules: Path, write_module: Write, body: str) -> None:
    with pytest.raises(UserError, match=r"tasks/fit.py, line 2: .* known only when it runs"):
        closure(modules, write_module, body)


@pytest.mark.parametrize(
    "body",
    [
        "from pathlib import Path\nSTYLE = Path(__file__).with_name('style.css').read_text()\n",
        "from importlib import resources\nSTYLE = resources.files('steerwright.page').joinpath('style.css')\n",
        "import importlib.resources\nSTYLE = importlib.resources.files('steerwright.page')\n",
    ],
)
def test_files_that_a_module_reads_beside_itself_are_code(modules: Path, write_module: Write, body: str) -> None:
    write_module("steerwright/page/draw.py", body)
    write_module("steerwright/page/style.css", "p {}")
    write_module("steerwright/page/parts/page.html", "<p>")
    found = closure(modules, write_module, "import steerwright.page.draw\n")
    assert found == [
        "steerwright/page/draw.py",
        "steerwright/page/parts/page.html",
        "steerwright/page/style.css",
        "tasks/fit.py",
    ]


def test_a_package_of_ones_own_beside_tasks_counts(modules: Path, write_module: Write) -> None:
    write_module("mine/metric.py", "VALUE = 1\n")
    write_module("alone.py", "from mine.metric import VALUE\n")
    assert closure(modules, write_module, "import alone\n") == ["alone.py", "mine/metric.py", "tasks/fit.py"]


def test_libraries_are_the_packages_that_are_neither_ours_nor_pythons(modules: Path, write_module: Write) -> None:
    write_module("steerwright/vectors/mean.py", "def fit():\n    import torch.nn\n    from PIL import Image\n")
    write_module("tasks/fit.py", "import json\nimport steerwright.vectors.mean\nfrom numpy import linalg\n")
    assert libraries_of("tasks.fit", modules).libraries == ["PIL", "numpy", "torch"]
