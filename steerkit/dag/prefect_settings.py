"""Where Prefect lives for this checkout, and whether its server answers. Imports nothing of Prefect."""

from __future__ import annotations

import json
import os
import urllib.error
from pathlib import Path

from steerkit.loopback import go_direct, opener_for

DEFAULT_API_URL = "http://127.0.0.1:4200/api"


def configure(root: Path) -> None:
    """Keep Prefect's files inside the project and its telemetry off; values already in the environment stay.

    Must run before Prefect is first imported in the process. Prefect's command line, which starts without us,
    reads the same values from prefect.toml. Prefect's clients then reach a server on this machine past any proxy.
    """
    os.environ.setdefault("PREFECT_HOME", str(root / ".prefect"))
    os.environ.setdefault("PREFECT_API_URL", DEFAULT_API_URL)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # Libraries log from threads of their own, which belong to no run.
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    go_direct(api_url())


def records_folder(root: Path) -> Path:
    """Where flow runs note their process, for the reaper; a relative PREFECT_HOME (prefect.toml) counts from `root`."""
    return root / os.environ.get("PREFECT_HOME", ".prefect") / "steerkit-runs"


def api_url() -> str:
    """The address of the API that flows report to."""
    return os.environ.get("PREFECT_API_URL") or DEFAULT_API_URL


def server_answers(timeout_seconds: float = 1.0) -> bool:
    """Whether a Prefect server answers at `api_url()`; False on anything but its own health reply."""
    url = f"{api_url()}/health"
    try:
        with opener_for(url).open(url, timeout=timeout_seconds) as reply:
            return json.load(reply) is True
    except (OSError, ValueError, urllib.error.URLError):
        return False
