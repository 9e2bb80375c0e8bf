"""Pictures of the tabs of the lab, and how long a visitor waits: `python -m benchmarks.lab_pictures [--output FOLDER]`.

Starts `steerwright lab` in a project of its own (the checkout's models and texts, nothing run), opens it in
headless Chromium as a visitor does, uses every tab, and takes a picture of each. Prints seconds from the command to a
page on which a button can be pressed, and from pressing it to a steered answer of 30 tokens; the first one is asked for
at once, while the model is still being loaded. Needs playwright and chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steerwright.loopback import go_direct

ROOT = Path(__file__).resolve().parents[1]
SLOWEST = 180_000
TABS = ("Playground", "Concepts", "Layers", "Analysis", "Mixer", "Comparison", "Images", "Tutorials", "Library")


def main() -> None:
    go_direct()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "pictures", help="where the pictures go")
    parser.add_argument("--only", nargs="*", choices=TABS, default=TABS, help="these tabs")
    parser.add_argument("--phone", action="store_true", help="every tab as a phone shows it, too")
    parser.add_argument("--times", action="store_true", help="measure the two waits and take no pictures")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        project = _project(Path(folder))
        began = time.perf_counter()
        process, address = _lab(project)
        try:
            page = _visit(browser, address)
            print(f"usable after {time.perf_counter() - began:.1f} s")
            page.screenshot(path=str(project / "empty.png"))
            for number in range(3):
                when = "asked for at once" if number == 0 else "later"
                print(f"steered answer of 30 tokens, {when}: {_answer_seconds(address):.2f} s")
            if not arguments.times:
                arguments.output.mkdir(parents=True, exist_ok=True)
                for title in arguments.only:
                    _take(page, title, arguments.output / f"lab-{title.lower()}.png")
                _take(_visit(browser, address, dark=True), "Playground", arguments.output / "lab-dark.png")
                small = _visit(browser, address, phone=True)
                _take(small, "Playground", arguments.output / "lab-phone.png")
                for title in arguments.only if arguments.phone else ():
                    # A concept cannot be made twice under one name; its form is what there is to see.
                    _take(small, title, arguments.output / f"lab-phone-{title.lower()}.png", used=title != "Concepts")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        browser.close()


def _project(folder: Path) -> Path:
    for name in ("models", "data", "params.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "tasks" / "demo").mkdir(parents=True)
    (folder / "tasks" / "demo" / "pipeline.py").touch()
    return folder


def _lab(project: Path) -> tuple[subprocess.Popen[str], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "steerwright.cli.main", "lab", "--port", str(port), "--no-browser"],
        cwd=project, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    print(process.stdout.readline().strip())
    return process, f"http://127.0.0.1:{port}/"


def _visit(browser: Any, address: str, *, dark: bool = False, phone: bool = False) -> Any:
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
    context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", device_scale_factor=1)
    page = context.new_page()
    page.set_default_timeout(SLOWEST)
    page.on("console", lambda told: print("console:", told.text) if told.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("#play-go:enabled")
    return page


def _answer_seconds(address: str) -> float:
    """As any client asks: prompt in, both answers and all that is measured on them out."""
    from gradio_client import Client

    client = Client(address, verbose=False, analytics_enabled=False)
    began = time.perf_counter()
    client.predict(prompt="Tell me about the lake.", concepts="pirate", tokens=30, seed=3, api_name="/steer")
    return time.perf_counter() - began


def _take(page: Any, title: str, path: Path, *, used: bool = True) -> None:
    page.locator(".lab-tabs > .tab-wrapper > :not(.visually-hidden) button:visible").get_by_text(
        title, exact=True
    ).first.click()
    page.wait_for_timeout(1500)
    steps: dict[str, Callable[[Any], None]] = {
        "Playground": _playground, "Concepts": _concepts, "Layers": _layers, "Analysis": _analysis, "Mixer": _mixer,
        "Comparison": _comparison, "Images": _images, "Tutorials": _tutorials,
    }  # fmt: skip
    if title in steps and used:
        steps[title](page)
    page.wait_for_timeout(1200)
    page.mouse.move(4, 4)
    page.screenshot(path=str(path), full_page=True)
    print(path)


def _playground(page: Any) -> None:
    box = page.locator("#play-concepts")
    while box.locator(".token-remove:not(.remove-all)").count():
        box.locator(".token-remove:not(.remove-all)").first.click()
        page.wait_for_timeout(300)
    box.locator("input").first.click()
    page.get_by_role("option", name="pirate · personality", exact=True).click()
    page.keyboard.press("Escape")
    page.wait_for_timeout(800)
    page.click("#play-go")
    page.wait_for_selector("#play-facts .facts")


def _concepts(page: Any) -> None:
    page.click("#make-example")
    page.wait_for_function("document.querySelector('#make-pair-5 textarea')?.value")
    page.click("#make-go")
    page.wait_for_selector("#make-result table")


def _layers(page: Any) -> None:
    page.get_by_role("button", name="Look inside").click()
    page.wait_for_selector(".lab-chart:visible")


def _analysis(page: Any) -> None:
    page.get_by_label("both").check()
    page.wait_for_timeout(700)
    page.click("#sweep-go")
    page.wait_for_selector("#sweep-result summary")


def _mixer(page: Any) -> None:
    page.click("#mix-go")
    page.wait_for_selector("#mix-result h3")


def _comparison(page: Any) -> None:
    page.get_by_role("button", name="Compare token by token").click()
    page.wait_for_selector(".lab-chart:visible table.heat")


def _images(page: Any) -> None:
    page.click("#sd-go")
    page.wait_for_selector("#sd-facts .verdict")


def _tutorials(page: Any) -> None:
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main()
