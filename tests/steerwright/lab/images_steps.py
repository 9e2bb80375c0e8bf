"""Steps of a visitor in the Images and Library tabs, for tests that run the page in a browser (playwright)."""

from pathlib import Path
from typing import Any

SLOWEST = 120_000
"""Milliseconds that a step may take on a busy machine."""


def open_tab(page: Any, title: str) -> None:
    """Show a tab of the page, whose button stands in the row or behind its menu."""
    page.get_by_role("tab", name=title, exact=True).first.click(timeout=SLOWEST)


def draw_an_edit(page: Any, method: str, edit: str) -> str:
    """In the Images tab: choose a method and an edit by their titles, draw, and return what is said of the change."""
    page.locator("#sd-method").get_by_text(method, exact=True).click()
    page.wait_for_timeout(1500)
    if page.locator("#sd-edit input").input_value() != edit:
        page.locator("#sd-edit input").click()
        page.get_by_role("option", name=edit, exact=True).click()
        page.wait_for_timeout(1500)
    before = page.locator("#sd-pictures img").evaluate_all("all => all.map(one => one.src).join()")
    page.click("#sd-go")
    page.wait_for_function(
        "before => { const all = [...document.querySelectorAll('#sd-pictures img')].map(one => one.src);"
        " return all.length === 2 && all.join() !== before"
        " && document.querySelectorAll('#sd-progress .lab-progress i').length === 0 }",
        arg=before,
        timeout=SLOWEST,
    )
    return str(page.locator("#sd-facts .verdict").inner_text())


def stop_a_strip(page: Any) -> tuple[int, str]:
    """Compare strengths, stop when two pictures are there; how many there are in the end, and what is told then."""
    page.click("#sd-sweep")
    page.wait_for_function("document.querySelectorAll('#sd-strip img').length >= 2", timeout=SLOWEST)
    page.click("#sd-stop")
    page.wait_for_function("document.querySelector('#sd-progress').innerText.includes('Stopped')", timeout=SLOWEST)
    page.wait_for_timeout(3000)
    return page.locator("#sd-strip img").count(), str(page.locator("#sd-progress").inner_text()).strip()


def draw_a_feature(page: Any) -> str:
    """In the Images tab: draw with the first FLUX feature, and return what is said of the change."""
    page.get_by_role("tab", name="FLUX features", exact=True).click()
    page.click("#flux-go")
    page.wait_for_selector("#flux-facts .verdict", timeout=SLOWEST)
    page.get_by_role("tab", name="Stable Diffusion", exact=True).click()
    return str(page.locator("#flux-facts .verdict").text_content())


def export(page: Any, kind: str, folder: Path) -> Path:
    """In the Library tab: download the chosen concept as `safetensors` or `gguf` into `folder`."""
    with page.expect_download(timeout=SLOWEST) as download:
        page.click(f"#library-export-{kind}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def import_as(page: Any, file: Path, name: str) -> None:
    """In the Library tab: upload `file` under `name`; whether it was taken is for the caller to see."""
    page.locator("#library-import-name").locator("input, textarea").fill(name)
    with page.expect_file_chooser() as chooser:
        page.click("#library-import")
    chooser.value.set_files(str(file))


def chosen_concept(page: Any) -> str:
    """Whose details the Library tab shows."""
    return str(page.locator("#library-details h3").first.inner_text())


def wait_for_concept(page: Any, name: str) -> None:
    """Until the Library tab shows the details of `name`."""
    page.wait_for_function(
        "name => document.querySelector('#library-details h3')?.innerText === name", arg=name, timeout=SLOWEST
    )


def rename_to(page: Any, name: str) -> None:
    """In the Library tab: call the chosen concept, one of the visitor's own, `name`."""
    page.locator("#library-new-name").locator("input, textarea").fill(name)
    page.click("#library-rename")
    wait_for_concept(page, name)


def delete_for_good(page: Any) -> None:
    """In the Library tab: delete the chosen concept, and say yes when asked again."""
    page.click("#library-delete")
    page.wait_for_selector("#library-sure:visible", timeout=SLOWEST)
    page.click("#library-confirm")
    page.wait_for_selector("#library-own", state="hidden", timeout=SLOWEST)
