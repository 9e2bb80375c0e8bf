"""The page: its frame and tabs, and serving it to this machine alone."""

from __future__ import annotations

import html
import importlib.machinery
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.lab.admission import Admission, checked_hosts
from steerwright.loopback import go_direct, refuse_socks_without_support

if TYPE_CHECKING:
    import gradio as gr

    from steerwright.lab.workbench import Workbench

HOST = "127.0.0.1"
UPLOAD_LIMIT = "16mb"
_TITLE = "Steering lab"
_PURPOSE = (
    "Change what a model writes or paints by changing what goes on inside it: pick a concept, a place inside the "
    "model and a strength, and see what happens, token by token."
)


def prepare(cache: Path) -> None:
    """Set gradio up before it is imported: files only in `cache`, and not a word to anyone outside."""

    # It asks its own address whether it is there, and gives up where a proxy answers in its place.
    refuse_socks_without_support()
    go_direct()
    import_without_stubs()
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(cache / "examples")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"


def _tabs() -> list[tuple[str, Callable[[Any, Any], None]]]:
    """Every tab by its title, in the order of the page."""
    from steerwright.lab.tabs import (
        analysis,
        comparison,
        creator,
        explorer,
        images,
        library,
        mixer,
        playground,
        tutorials,
    )

    return [
        ("Playground", playground.tab),
        ("Concepts", creator.tab),
        ("Layers", explorer.tab),
        ("Analysis", analysis.tab),
        ("Mixer", mixer.tab),
        ("Comparison", comparison.tab),
        ("Images", images.tab),
        ("Tutorials", tutorials.tab),
        ("Library", library.tab),
    ]


def build(workbench: Workbench) -> gr.Blocks:
    """The page as gradio Blocks; `prepare` must have come before."""
    import gradio as gr

    from steerwright.lab.api import add_endpoints
    from steerwright.lab.operations.library import SECONDS_KEPT
    from steerwright.lab.page_state import PageState

    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(600, SECONDS_KEPT)) as page:
        # First, so that no event of a tab takes one of their names.
        add_endpoints(workbench)
        gr.HTML(_head(workbench))
        shared = PageState(workbench)
        opened = []
        with gr.Tabs(elem_classes="lab-tabs"):
            for title, tab in _tabs():
                with gr.Tab(title, id=title.lower()) as here:
                    shared.here = here
                    tab(workbench, shared)
                opened.append(here)
        shared.connect(page, opened)
    _hide_events(page)
    # Not past the queue, which knows when a client has gone away.
    page.queue(default_concurrency_limit=None, max_size=256, api_open=False)
    return page


def _hide_events(page: gr.Blocks) -> None:
    """Leave only the named endpoints open; what a tab does at a click or on loading is its own."""
    from gradio.components.api_component import Api

    for event in page.fns.values():
        if not any(isinstance(output, Api) for output in event.outputs):
            event.api_visibility = "private"


def launch(
    workbench: Workbench, port: int, *, open_browser: bool = False, hosts: Iterable[str] = ()
) -> tuple[gr.Blocks, str]:
    """Serve the page at `port` of this machine alone, and return at once with the page and its address.

    The language model comes after it, while the browser draws the page; a request that comes sooner waits for it.
    Requests are answered that name this machine, or one of `hosts`: the names under which a proxy of yours hands the
    page on.

    Raises UserError for a port that is taken, for a page that cannot be reached, and for what is no host's name.
    `close` ends it.
    """
    known = checked_hosts(hosts)
    cache = workbench.cache
    cache.mkdir(parents=True, exist_ok=True)
    prepare(cache)
    import httpx
    from starlette.middleware import Middleware

    from steerwright.lab.charts.style import CHART_STYLE
    from steerwright.lab.style import SHEET, theme

    page = build(workbench)
    try:
        _, address, _ = page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            max_file_size=UPLOAD_LIMIT,
            app_kwargs={"middleware": [Middleware(Admission, hosts=known, cache=cache)]},
            theme=theme(),
            css=SHEET + CHART_STYLE,
        )
    except OSError as error:
        close(workbench, page)
        raise UserError(f"Port {port} of {HOST} is taken; choose another with --port.") from error
    except (ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        close(workbench, page)
        raise UserError(
            f"The lab cannot reach its own page at {HOST}:{port}: {error} Look at the proxies that the environment "
            "names (http_proxy, all_proxy, no_proxy)."
        ) from error
    return page, address


def close(workbench: Workbench, page: gr.Blocks) -> None:
    """End the page and remove the files that it handed out."""
    page.close(verbose=False)
    shutil.rmtree(workbench.cache, ignore_errors=True)


def _head(workbench: Workbench) -> str:
    model = workbench.outline()
    facts = f"{html.escape(model.name)} · {model.layers} layers · width {model.width}"
    notes = "".join(f'<p class="lab-note">{html.escape(note)}</p>' for note in workbench.notes)
    return f'<header class="lab-head"><h1>{_TITLE}</h1><p>{_PURPOSE}</p><p>{facts}</p>{notes}</header>'


# Importing gradio without the type stubs that it writes beside its own sources each time.
#
# For every component gradio parses its source and rewrites a .pyi file in the installation. That is half the time of
# its import, and the lab writes nothing outside the project's folder.

_MODULE, _WRITER = "gradio.component_meta", "create_or_modify_pyi"


def import_without_stubs() -> None:
    """Let the next import of gradio write no stubs; nothing where it was imported already, or writes none."""
    if _MODULE not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if hasattr(module, _WRITER):
            setattr(module, _WRITER, _write_nothing)


def _write_nothing(*_: object) -> None:
    """Stands where the writer of stubs was."""
