"""The tabs that teach (Layers, Comparison, Tutorials) as a visitor uses them, in headless Chromium."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")
SLOWEST = 120_000  # milliseconds that a step may take on a busy machine
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The whole page on a free port of this machine, in a project of its own."""
    from steerwright.lab.app import close, launch
    from steerwright.lab.workbench import Workbench
    from steerwright.models.identify import EMBEDDED_LANGUAGE
    from steerwright.models.language.spec import LanguageSpec

    root = tmp_path_factory.mktemp("lab")
    for name in ("models", "data"):
        (root / name).symlink_to(ROOT / name)
    source = str(ROOT / "models" / EMBEDDED_LANGUAGE)
    workbench = Workbench(root, LanguageSpec(name=EMBEDDED_LANGUAGE, source=source), {})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page, found = launch(workbench, port)
    yield found
    close(workbench, page)


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """A visitor with the page open; whatever the browser complains of or asks others for fails the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        opened.set_default_timeout(SLOWEST)
        complaints: list[str] = []
        opened.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((address, "data:", "blob:")) else complaints.append(f"asked {asked.url}")
            ),
        )
        opened.goto(address)
        opened.wait_for_selector("button[role=tab]")
        yield opened
        browser.close()
    assert complaints == []


def _open(page: Any, title: str) -> None:
    page.get_by_role("tab", name=title, exact=True).first.click()


def test_layers_are_shown_at_once_and_anew_for_another_prompt(page: Any) -> None:
    _open(page, "Layers")
    # Nobody has pressed anything yet.
    page.wait_for_selector("#layers-charts table.heat")
    assert page.locator("#layers-card h3").inner_text() == "Layer 4: deciding"
    page.locator("#layers-at input[type=number]").fill("7")
    page.locator("#layers-at input[type=number]").press("Enter")
    page.get_by_text("Layer 7: speaking").wait_for()
    page.locator("#layers-prompt textarea, #layers-prompt input").first.fill("Describe ${1+1} {{value}} <b id=x>it</b>")
    page.click("#layers-go")
    page.wait_for_function("!document.querySelector('#layers-charts q').innerText.includes('lake')")
    assert page.locator("#layers-card h3").inner_text() == "Layer 7: speaking"
    assert page.locator("#x").count() == 0


def test_a_comparison_is_drawn_three_ways_and_a_map_with_its_path(page: Any) -> None:
    _open(page, "Comparison")
    page.click("#compare-go")
    page.wait_for_selector("#compare-grids table.heat")
    cells = page.locator("#compare-grids table.heat tbody tr").first.locator("td")
    # The first layer lies before the edit: no cell has any colour.
    assert set(cells.evaluate_all("all => all.map(one => one.style.getPropertyValue('--share'))")) == {"0.000"}
    page.get_by_label("What is drawn").click()
    page.get_by_role("option", name="lengths before and after").click()
    page.wait_for_function("document.querySelectorAll('#compare-grids table.heat').length === 2")
    page.get_by_role("tab", name="Map of concepts", exact=True).click()
    page.click("#map-go")
    page.wait_for_selector("#map-drawing svg.map polyline.line")
    assert page.locator("#map-drawing .path-texts li").count() == 6
    names = page.locator("#map-drawing svg.map text.name").all_text_contents()
    assert {"unsteered", "happy", "pirate"} <= set(names)


def test_a_lesson_says_not_yet_then_done_and_leads_on(page: Any) -> None:
    _open(page, "Tutorials")
    page.wait_for_selector("#lesson-go:visible")
    page.click("#lesson-go")
    page.wait_for_selector("#lesson-outcome .lesson-verdict:not(.passed)")
    ratio = page.locator("#lesson-outcome .lesson-verdict").inner_text().split(", ")[1].split(" ")[0]
    guess = page.get_by_label("My guess: times longer").locator("visible=true").first
    guess.fill(ratio)
    guess.press("Enter")
    page.click("#lesson-go")
    page.wait_for_selector("#lesson-outcome .lesson-verdict.passed")
    assert page.get_by_text("A vector for every token ✓").count() >= 1
    page.click("#lesson-next")
    page.get_by_role("heading", name="When the next word is decided").wait_for()
    assert page.locator("#lesson-outcome .lesson-verdict").count() == 0


def test_a_mistake_is_told_and_the_page_goes_on(page: Any) -> None:
    _open(page, "Tutorials")
    page.get_by_label("4. Where to push").click()
    page.get_by_role("heading", name="Too early, too late").wait_for()
    page.get_by_label("Each layer its own vector").click()
    page.get_by_role("heading", name="Each layer its own vector").wait_for()
    page.click("#lesson-go")
    page.get_by_text("Choose an answer first").first.wait_for()
    page.get_by_label("at least half of the effect is kept").click()
    page.click("#lesson-go")
    page.wait_for_selector("#lesson-outcome .lesson-verdict")
