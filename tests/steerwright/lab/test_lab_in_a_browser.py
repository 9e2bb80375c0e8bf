"""`steerwright lab` as a visitor meets it: the command, then the page in headless Chromium."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")
TABS = ("Playground", "Concepts", "Layers", "Analysis", "Mixer", "Comparison", "Images", "Tutorials", "Library")
SLOWEST = 120_000  # milliseconds that a step may take on a busy machine
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]


def _steps() -> Any:
    # Tests are no package, so a file beside this one is loaded by its path.
    spec = importlib.util.spec_from_file_location("images_steps", Path(__file__).with_name("images_steps.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


steps = _steps()


@dataclass
class Lab:
    """A lab that was started by the command, in a project of its own."""

    root: Path
    address: str
    process: subprocess.Popen[str]

    def written(self) -> set[str]:
        """Every file of the project that is the lab's own, without what it hands out."""
        found = {str(path.relative_to(self.root)) for path in (self.root / "lab").rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith("lab/.cache/")}


@dataclass
class Visit:
    """A page in a browser, and what the browser complained of or asked others for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    abroad: list[str] = field(default_factory=list)

    def open(self, title: str) -> None:
        self.page.locator(".lab-tabs > .tab-wrapper > :not(.visually-hidden) button:visible").get_by_text(
            title, exact=True
        ).first.click(timeout=SLOWEST)
        self.page.wait_for_timeout(700)

    def press(self, button: str) -> None:
        self.page.click(f"#{button}")

    def fill(self, box: str, text: str) -> None:
        self.page.locator(f"#{box}").locator("input, textarea").first.fill(text)

    def pick(self, picker: str, shown: str) -> None:
        """Choose from a list by what stands in it; of several that can be chosen, this one alone."""
        box = self.page.locator(f"#{picker}")
        while box.locator(".token-remove:not(.remove-all)").count():
            box.locator(".token-remove:not(.remove-all)").first.click()
            self.page.wait_for_timeout(200)
        box.locator("input").first.click()
        self.page.get_by_role("option", name=shown, exact=True).click()
        self.page.keyboard.press("Escape")
        self.page.wait_for_timeout(700)

    def fill_in_the_example(self) -> None:
        """In the Concepts tab: five pairs, and a name."""
        self.press("make-example")
        self.page.wait_for_function(
            "document.querySelector('#make-pair-5 textarea')?.value && document.querySelector('#make-name "
            "input, #make-name textarea').value",
            timeout=SLOWEST,
        )

    def wait(self, selector: str) -> Any:
        self.page.wait_for_selector(selector, timeout=SLOWEST)
        return self.page.locator(selector)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # A folder deeper, so that what a name might have escaped to is the lab's alone, and not full of other tests' files.
    root = tmp_path_factory.mktemp("lab") / "around" / "project"
    root.mkdir(parents=True)
    for name in ("models", "data", "params.yaml"):
        (root / name).symlink_to(ROOT / name)
    (root / "tasks" / "demo").mkdir(parents=True)
    (root / "tasks" / "demo" / "pipeline.py").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path_factory.mktemp("home"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "steerwright.cli.main", "lab", "--port", str(port), "--no-browser"],
        cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    assert f"http://127.0.0.1:{port}/" in first, first + (process.stdout.read() if process.poll() else "")
    yield Lab(root, f"http://127.0.0.1:{port}/", process)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert not (root / "lab" / ".cache").exists(), "what was handed out is removed at the end"
    with process.stdout:
        assert process.stdout.read() == "", "nothing went wrong in the terminal"


@pytest.fixture
def visit(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visitor; whatever the browser complains of, and whatever it asks of another machine, fails the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    width, height, dark = getattr(request, "param", (1280, 900, False))
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        visitor = Visit(context.new_page())
        visitor.page.on("console", lambda told: visitor.complaints.append(told.text) if told.type == "error" else None)
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("request", lambda asked: visitor.abroad.append(asked.url) if _abroad(asked.url) else None)
        visitor.page.goto(lab.address)
        visitor.wait(".lab-head")
        visitor.page.wait_for_timeout(1000)
        yield visitor
        browser.close()
    assert visitor.complaints == []
    assert visitor.abroad == []


def _abroad(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def test_a_concept_is_made_steered_with_and_mixed(visit: Visit, lab: Lab) -> None:
    visit.open("Concepts")
    visit.fill_in_the_example()
    visit.fill("make-name", "cheery")
    visit.press("make-go")
    assert "cheery is saved" in visit.wait("#make-result .lead").inner_text()
    assert visit.page.locator("#make-result tbody tr").count() == 8
    (folder,) = (lab.root / "lab" / "concepts").iterdir()
    assert lab.written() == {f"lab/concepts/{folder.name}/cheery.{ending}" for ending in ("json", "safetensors")}

    # At once in the lists of every tab.
    visit.open("Playground")
    visit.pick("play-concepts", "cheery · yours")
    visit.press("play-go")
    facts = visit.wait("#play-facts .facts")
    assert "cheery shows" in facts.inner_text()
    assert "Steered by cheery" in visit.page.locator("#play-steered").inner_text()
    assert visit.page.locator("#play-steered .tok").count() > 0
    assert visit.page.locator("#play-steered .tok[style*=background]").count() > 0
    tip = visit.page.locator("#play-steered .tok").first.get_attribute("data-tip")
    assert "→" in tip

    visit.open("Mixer")
    visit.fill("mix-text", "cheery:0.5,pirate:0.5")
    visit.press("mix-go")
    mixed = visit.wait("#mix-result tbody")
    assert mixed.first.locator("tr").count() == 2
    visit.fill("mix-name", "cheery-pirate")
    visit.press("mix-keep")
    visit.page.get_by_text("cheery-pirate is saved").wait_for(timeout=SLOWEST)
    assert "cheery-pirate.safetensors" in {Path(name).name for name in lab.written()}


def test_a_concept_is_made_from_answers_too(visit: Visit, lab: Lab) -> None:
    visit.open("Concepts")
    visit.page.get_by_label("answers that have it").check()
    visit.page.locator("#make-tokens").wait_for(timeout=SLOWEST)
    visit.fill_in_the_example()
    assert visit.page.locator("#make-pair-1 textarea:visible").count() == 3
    visit.press("make-go")
    assert "seafarer is saved" in visit.wait("#make-result .lead").inner_text()
    assert "seafarer.safetensors" in {Path(name).name for name in lab.written()}


def test_a_built_in_concept_turns_an_answer(visit: Visit) -> None:
    visit.pick("play-concepts", "pirate · personality")
    visit.press("play-go")
    visit.wait("#play-facts .facts")
    value = visit.page.locator("#play-facts dd").first.inner_text()
    before, after = (int("".join(sign for sign in part if sign.isdigit())) for part in value.split("\n")[0].split("→"))
    assert before <= 30
    assert after >= 80


def test_every_layer_is_measured(visit: Visit) -> None:
    visit.open("Analysis")
    visit.pick("sweep-concept", "pirate · personality")
    visit.press("sweep-go")
    visit.wait("#sweep-result summary")
    # Eight layers below the unsteered answers.
    assert visit.page.locator("#sweep-result tbody tr").count() == 9
    assert visit.page.locator("#sweep-result svg").count() == 2
    assert "works best" in visit.page.locator("#sweep-result .lead").inner_text()


def test_a_sweep_is_stopped_and_what_there_was_stays(visit: Visit) -> None:
    visit.open("Analysis")
    visit.page.get_by_label("both").check()
    visit.page.wait_for_timeout(700)
    visit.fill("sweep-strengths", ", ".join(str(step / 20) for step in range(1, 41)))
    visit.press("sweep-go")
    visit.wait("#sweep-result figure")
    visit.press("sweep-stop")
    began = time.monotonic()
    visit.page.wait_for_function(
        "document.querySelector('#sweep-progress').innerText.includes('Stopped')", timeout=SLOWEST
    )
    assert time.monotonic() - began < 20, "320 points would take minutes"
    assert visit.page.locator("#sweep-result figure").count() == 2
    assert visit.page.locator("#sweep-result summary").count() == 0


def test_an_image_is_steered(visit: Visit) -> None:
    visit.open("Images")
    assert "object cat → horse" in steps.draw_an_edit(visit.page, "Cross-attention", "Replace cat by horse")


@pytest.mark.parametrize(
    ("name", "told"),
    [("../../evil", "cannot be a concept's name"), ("happy", "already"), ("Evil Name", "cannot be a concept's name")],
)
def test_a_bad_name_is_told_and_writes_nothing(visit: Visit, lab: Lab, name: str, told: str) -> None:
    before = lab.written()
    visit.open("Concepts")
    visit.fill_in_the_example()
    visit.fill("make-name", name)
    visit.press("make-go")
    visit.page.get_by_text(told).wait_for(timeout=SLOWEST)
    assert lab.written() == before
    around = lab.root.parents[1]
    assert not [path for path in around.rglob("*") if "evil" in path.name.lower()]


def test_nothing_that_a_visitor_writes_becomes_markup(visit: Visit) -> None:
    visit.fill("play-prompt", "<img src=x onerror=\"document.title='taken'\"> ${1+1} {{value}}")
    visit.press("play-go")
    visit.wait("#play-facts .facts")
    assert visit.page.title() == "Steering lab"
    visit.open("Mixer")
    visit.fill("mix-text", "<script>document.title='taken'</script>:1")
    visit.press("mix-go")
    visit.page.get_by_text("cannot be read").first.wait_for(timeout=SLOWEST)
    assert visit.page.title() == "Steering lab"


@pytest.mark.parametrize("visit", [(390, 844, False), (1280, 900, True)], indirect=True, ids=["phone", "dark"])
def test_every_tab_fits_a_phone_and_opens_in_the_dark(visit: Visit) -> None:
    for title in TABS:
        visit.open(title)
        wide = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{title} is {wide} pixels too wide"
        assert visit.page.locator(".lead:visible").count() >= 1


@pytest.mark.parametrize("visit", [(1400, 900, False), (1024, 768, False)], indirect=True, ids=["1400", "1024"])
def test_nothing_scrolls_sideways_also_with_more_settings(visit: Visit) -> None:
    """The triangle of a closed accordion stands on its side, wider than its place: a scroll bar came of it."""
    for title in TABS:
        visit.open(title)
        for _ in range(2):
            assert visit.page.evaluate(_SIDEWAYS) == [], title
            for accordion in visit.page.locator(".gr-accordion > button:visible").all():
                accordion.click()
            visit.page.wait_for_timeout(500)


_SIDEWAYS = """[document.documentElement, ...document.querySelectorAll('.lab-tabs *')].filter(
    element => element.scrollWidth > element.clientWidth && (element === document.documentElement
        || element.offsetParent && ['auto', 'scroll'].includes(getComputedStyle(element).overflowX))
).map(element => element.outerHTML.slice(0, 120))"""


def test_screen_readers_are_told_how_far_it_is_and_what_came_of_it(visit: Visit) -> None:
    visit.page.evaluate(_LISTEN)
    for tab, button, told in (
        ("Playground", "play-go", r"Left alone: .+ Steered by happy: "),
        ("Layers", "layers-go", r"Every layer is measured\. The answer: "),
        ("Analysis", "sweep-go", r"Layer \d at strength .+ works best|No point kept the answers within"),
        ("Mixer", "mix-go", r"Of 12 answers, \d+.% show everything"),
        ("Comparison", "compare-go", r"Compared\. Unsteered: .+ Steered: "),
        ("Images", "sd-go", r"Drawn\. (Changed: |The picture moved|Both pictures)"),
        ("Tutorials", "lesson-go", r"(Done|Not yet)\. "),
    ):
        visit.open(tab)
        visit.page.evaluate("heard.length = 0")
        visit.press(button)
        visit.page.wait_for_function(f"heard.some(words => /{told}/s.test(words))", timeout=SLOWEST)
        heard = visit.page.evaluate("heard")
        assert re.search(told, heard[-1]), (tab, heard)
        # Progress is said too where there is time for it, though not a dozen times a second.
        assert len(heard) <= 40, tab
        if tab == "Analysis":
            # A fast machine has left the first line before it is said; each that is said is one of the sweep's own.
            progress = r"Answers without steering|Layer \d, strength -?[\d.]+|Stopped.*"
            assert all(re.fullmatch(progress, words) for words in heard[:-1]), heard


# Text that comes into a region which was in the page before: that is what screen readers say.
_LISTEN = """window.heard = [];
new MutationObserver(changes => changes.forEach(({target}) => {
    const region = (target.nodeType === 3 ? target.parentElement : target).closest('[role=status]');
    if (region && region.textContent && getComputedStyle(region).display !== 'none') heard.push(region.textContent);
})).observe(document.body, {subtree: true, childList: true, characterData: true})"""


def test_a_mistake_and_a_stop_leave_no_line_of_progress(visit: Visit) -> None:
    visit.open("Comparison")
    visit.fill("compare-prompt", " ")
    visit.press("compare-go")
    visit.page.get_by_text("is empty; write something").wait_for(timeout=SLOWEST)
    assert visit.page.locator(".lab-progress [role=progressbar]:visible").count() == 0


def test_only_this_machine_is_served(lab: Lab) -> None:
    with urllib.request.urlopen(lab.address + "config") as found:
        assert found.status == 200
    port = int(lab.address.rstrip("/").rpartition(":")[2])
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with socket.socket() as other, pytest.raises(OSError):
            other.settimeout(5)
            other.connect((own, port))
