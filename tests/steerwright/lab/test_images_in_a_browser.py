"""The Images and Library tabs as a visitor uses them, in headless Chromium."""

import importlib.util
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


def _steps() -> Any:
    # Tests are no package, so a file beside this one is loaded by its path.
    spec = importlib.util.spec_from_file_location("images_steps", Path(__file__).with_name("images_steps.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


steps = _steps()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """The whole page on a free port of this machine, in a project of its own."""
    import yaml

    from steerwright.lab.app import close, launch
    from steerwright.lab.workbench import Workbench
    from steerwright.models.identify import EMBEDDED_LANGUAGE
    from steerwright.models.language.spec import select_language_model

    root = tmp_path_factory.mktemp("lab")
    for name in ("models", "data"):
        (root / name).symlink_to(ROOT / name)
    models = yaml.safe_load((ROOT / "params.yaml").read_text())["models"]
    workbench = Workbench(root, select_language_model(EMBEDDED_LANGUAGE, models), models)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page, address = launch(workbench, port)
    yield workbench, address
    close(workbench, page)


@pytest.fixture
def page(lab: tuple[Any, str]) -> Iterator[Any]:
    """A visitor with the page open; whatever the browser complains of fails the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True).new_page()
        complaints: list[str] = []
        opened.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(lab[1])
        opened.wait_for_selector("button[role=tab]", timeout=steps.SLOWEST)
        yield opened
        browser.close()
    assert complaints == []


def test_pictures_are_steered_by_every_method_and_a_strip_is_stopped(page: Any) -> None:
    steps.open_tab(page, "Images")
    assert "object cat → horse" in steps.draw_an_edit(page, "Cross-attention", "Replace cat by horse")
    assert "season summer → winter" in steps.draw_an_edit(page, "Text encoder", "Add winter")
    assert "object cat →" in steps.draw_an_edit(page, "SAE latents", "Erase cat")
    count, told = steps.stop_a_strip(page)
    assert 2 <= count < 6 and told == "Stopped"
    assert "season autumn → summer" in steps.draw_a_feature(page)


def test_a_mistake_is_told_and_the_page_goes_on(page: Any) -> None:
    steps.open_tab(page, "Images")
    page.locator("#sd-prompt textarea").fill("   ")
    page.click("#sd-go")
    page.get_by_text("The prompt is empty").wait_for(timeout=steps.SLOWEST)
    page.locator("#sd-prompt textarea").fill("a yellow cat on a street")
    assert "cat → horse" in steps.draw_an_edit(page, "Cross-attention", "Replace cat by horse")


def test_a_concept_goes_out_comes_in_is_renamed_and_deleted(page: Any, lab: tuple[Any, str], tmp_path: Path) -> None:
    workbench = lab[0]
    steps.open_tab(page, "Library")
    first = next(iter(workbench.concepts()))
    steps.wait_for_concept(page, first)
    files = [steps.export(page, kind, tmp_path) for kind in ("safetensors", "gguf")]
    assert [file.name for file in files] == [f"{first}.safetensors", f"{first}.gguf"]
    for file, name in zip(files, ("copy-one", "copy-two"), strict=True):
        steps.import_as(page, file, name)
        steps.wait_for_concept(page, name)
    steps.import_as(page, files[0], "../../evil")
    page.get_by_text("cannot be a concept's name").wait_for(timeout=steps.SLOWEST)
    steps.rename_to(page, "copy-three")
    own = [name for name, entry in workbench.concepts().items() if entry.origin == "yours"]
    assert own == ["copy-one", "copy-three"]
    steps.delete_for_good(page)
    assert "copy-three" not in workbench.concepts()
    assert sorted(path.name for path in workbench.folder.iterdir()) == ["copy-one.json", "copy-one.safetensors"]
    assert not list(workbench.root.rglob("*evil*"))
