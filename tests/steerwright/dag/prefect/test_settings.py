"""Where Prefect lives, told without importing it."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from steerwright.dag.prefect import settings as prefect_settings

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def health():
    """A web server whose answer to /api/health the test chooses."""
    answer = {"body": b"true"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api", answer
    server.shutdown()
    server.server_close()


def test_a_server_answers_only_with_its_own_word(monkeypatch, health):
    url, answer = health
    monkeypatch.setenv("PREFECT_API_URL", url)

    assert prefect_settings.server_answers()
    answer["body"] = b"<html>something else lives on this port</html>"
    assert not prefect_settings.server_answers()


def test_nobody_listening_is_not_an_error(monkeypatch):
    # Port 9 (discard) is not served; a refused connection answers at once.
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    assert not prefect_settings.server_answers()


def test_files_stay_in_the_project_and_a_persons_own_settings_win(monkeypatch, tmp_path):
    for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"):
        # Set first, so that monkeypatch takes away afterwards what configure() sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_API_URL", "http://10.0.0.5:4200/api")

    prefect_settings.configure(tmp_path)

    import os

    assert os.environ["PREFECT_HOME"] == str(tmp_path / ".prefect")
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert prefect_settings.api_url() == "http://10.0.0.5:4200/api"


def test_a_relative_home_counts_from_the_project(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_HOME", ".prefect")

    assert prefect_settings.records_folder(tmp_path) == tmp_path / ".prefect" / "steerwright-runs"


def test_importing_the_settings_imports_nothing_heavy():
    code = (
        "import sys, steerwright.dag.prefect.settings; sys.exit(bool({'prefect', 'dvc', 'torch'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_prefects_own_commands_read_the_same_from_prefect_toml():
    settings = tomllib.loads((REPOSITORY / "prefect.toml").read_text())

    assert settings["home"] == ".prefect"
    assert settings["api"]["url"] == prefect_settings.DEFAULT_API_URL
    assert settings["server"]["api"]["host"] == "127.0.0.1"
    assert settings["server"]["analytics_enabled"] is False
    assert ".prefect/" in (REPOSITORY / ".gitignore").read_text().split()
