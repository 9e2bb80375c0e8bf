"""Addresses of this machine are never looked for at a proxy, by no client."""

from __future__ import annotations

import http.server
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from steerwright.dag.prefect import settings as prefect_settings
from steerwright.errors import UserError
from steerwright.loopback import go_direct, is_loopback, refuse_socks_without_support

PROXY = "http://10.1.2.3:3128"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def proxied(monkeypatch):
    """The environment of somebody behind a proxy who has said nothing of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        # Set first, so that monkeypatch takes away afterwards what the code sets.
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, PROXY)
            if name == "no_proxy":
                monkeypatch.delenv(spelling)
    return monkeypatch


def connections(monkeypatch):
    """The addresses that are asked for from now on; nobody answers."""
    asked = []

    def connect(address, *_, **__):
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    return asked


@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:4200/api", "http://localhost:4200/api", "http://[::1]:4200/api"]
)
def test_whether_a_server_runs_here_is_asked_here(proxied, url):
    proxied.delenv("PREFECT_API_URL", raising=False)
    if url:
        proxied.setenv("PREFECT_API_URL", url)
    asked = connections(proxied)

    assert not prefect_settings.server_answers()
    host = {None: "127.0.0.1"}.get(url) or urllib.request.urlsplit(url).hostname
    assert asked == [(host, 4200)]


def test_a_server_elsewhere_is_asked_through_the_proxy(proxied):
    proxied.setenv("PREFECT_API_URL", "http://prefect.example.org:4200/api")
    asked = connections(proxied)

    assert not prefect_settings.server_answers()
    assert asked == [("10.1.2.3", 3128)]


def test_every_library_goes_past_the_proxy_to_this_machine_and_only_there(proxied, tmp_path):
    httpx, requests = pytest.importorskip("httpx"), pytest.importorskip("requests")
    proxied.setenv("PREFECT_API_URL", "http://127.0.1.1:4200/api")
    for name in ("PREFECT_HOME", "PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"):
        proxied.setenv(name, str(tmp_path))
    prefect_settings.configure(tmp_path)

    with httpx.Client() as client:
        for host in ("127.0.0.1:1", "localhost", "[::1]:2", "127.0.1.1:4200"):
            assert client._transport_for_url(httpx.URL(f"http://{host}/")) is client._transport, host
            assert requests.utils.should_bypass_proxies(f"http://{host}/", None), host
            if not host.startswith("["):  # urllib has no way to say it; `opener_for` does without
                assert urllib.request.proxy_bypass(host), host
        for host in ("example.org", "10.0.0.5:4200", "127.0.0.1.example.org"):
            assert client._transport_for_url(httpx.URL(f"http://{host}/")) is not client._transport, host
            assert not urllib.request.proxy_bypass(host), host


def test_prefects_own_client_asks_this_machine(proxied, tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # In a process of its own: Prefect reads its settings when it is imported.
        code = (
            "from pathlib import Path; from steerwright.dag.prefect.settings import configure; configure(Path('.'))\n"
            "from prefect.client.orchestration import get_client\n"
            "with get_client(sync_client=True) as client: print(client.api_healthcheck())"
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        api = f"http://127.0.0.1:{server.server_port}/api"
        child = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=kept | {"PREFECT_API_URL": api, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        server.shutdown()

    assert child.stdout.strip() == "None", child.stderr[-2000:]
    assert "/api/health" in asked


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (None, "127.0.0.1,localhost,::1"),
        ("example.org, 127.0.0.1", "example.org,127.0.0.1,localhost,::1"),
        ("[::1]", "::1,127.0.0.1,localhost"),  # httpx raises on brackets
        ("*", "*"),
    ],
)
def test_what_a_person_has_set_stays(proxied, said, then):
    if said is not None:
        proxied.setenv("NO_PROXY", said)

    go_direct("http://192.168.0.7:4200", "http://localhost:1")

    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == then
    go_direct()
    assert os.environ["no_proxy"] == then


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("lab.localhost", True), ("::1", True),
     ("10.0.0.5", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False), ("0.0.0.0", False),
     ("", False), (None, False)],
)  # fmt: skip
def test_what_is_this_machine(host, here):
    assert is_loopback(host) is here


def test_a_socks_proxy_that_httpx_cannot_use_is_one_message(proxied):
    find = importlib.util.find_spec
    proxied.setattr(importlib.util, "find_spec", lambda name: None if name == "socksio" else find(name))

    refuse_socks_without_support()
    proxied.setenv("all_proxy", "socks5://127.0.0.1:7890")
    with pytest.raises(UserError, match=r"all_proxy is socks5://127.0.0.1:7890.*pip install socksio"):
        refuse_socks_without_support()
    proxied.setattr(importlib.util, "find_spec", lambda _: object())
    refuse_socks_without_support()
