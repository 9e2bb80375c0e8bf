"""`steerkit lab`: the interactive page."""

from __future__ import annotations

from typing import Annotated

import typer


def lab(
    port: Annotated[
        int, typer.Option(min=1024, max=65535, help="Where the page is served, on this machine only.")
    ] = 7860,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="The language model (default: the embedded one).")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Answer to this host's name too, for a proxy that hands the lab on; may be repeated."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open the steering lab: a page for steering texts and pictures, layer by layer and step by step."""
    import gc
    import signal
    import threading

    # What is made until the models stand stays: looking through it again and again is a tenth of the start.
    gc.disable()

    from steerkit.dag.params import load_params
    from steerkit.dag.project import find_root
    from steerkit.lab.app import close, launch
    from steerkit.lab.fitting import Recipe
    from steerkit.lab.workbench import Workbench
    from steerkit.models.hub import EMBEDDED_LANGUAGE
    from steerkit.models.language.select import select_language_model

    root = find_root()
    params = load_params(root)
    models = params.get("models", {})
    spec = select_language_model(model or EMBEDDED_LANGUAGE, models)
    workbench = Workbench(root, spec, models, Recipe.of_params(params))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    page, address = launch(workbench, port, open_browser=browser, hosts=allow_host or ())
    typer.echo(f"The lab is at {address} (only from this machine). Stop it with Ctrl-C.")
    try:
        workbench.load_ahead().join()
        gc.enable()
        ended.wait()
    except KeyboardInterrupt:
        typer.echo("The lab is closed.")
    finally:
        close(workbench, page)
