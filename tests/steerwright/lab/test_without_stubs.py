"""In an interpreter of its own, against an installed package that is written to at its import as gradio is."""

import subprocess
import sys
from pathlib import Path

WRITER = """
from pathlib import Path
def create_or_modify_pyi(component, name, events):
    Path(__file__).with_suffix(".pyi").write_text(name)
"""


def _imported(folder: Path, first: str) -> list[str]:
    package = folder / "gradio"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import gradio.component_meta\ngradio.component_meta.create_or_modify_pyi(None, 'Button', [])\n"
    )
    (package / "component_meta.py").write_text(WRITER)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {first}; import gradio; print(gradio.__file__)"
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(package / "__init__.py")
    return sorted(path.name for path in package.iterdir())


def test_gradio_writes_nothing_beside_its_sources(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    wanted = "from steerwright.lab.app import import_without_stubs; import_without_stubs()"
    assert _imported(tmp_path / "with", "pass") == ["__init__.py", "component_meta.py", "component_meta.pyi"]
    assert _imported(tmp_path / "without", wanted) == ["__init__.py", "component_meta.py"]


def test_the_installed_gradio_has_its_components_all_the_same() -> None:
    code = (
        "from steerwright.lab.app import import_without_stubs; import_without_stubs(); "
        "import gradio.component_meta as meta, gradio as gr, sys; "
        "left = [finder for finder in sys.meta_path if type(finder).__module__.startswith('steerwright')]; "
        "print(meta.create_or_modify_pyi.__module__, gr.Button('go').value, len(left))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["steerwright.lab.app", "go", "0"]
