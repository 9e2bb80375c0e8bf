"""This machine's own addresses, which no HTTP client of ours may look for at a proxy."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import urllib.request
from urllib.parse import urlsplit

from steerwright.errors import UserError

_NAMES = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str | None) -> bool:
    """Whether a host's name or address, without port and brackets, can only be this machine."""
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def go_direct(*urls: str) -> None:
    """Put the loopback addresses, and those hosts of `urls` that are some, into this process's `no_proxy`.

    httpx, requests, urllib, websockets and gRPC read it, so Prefect's, gradio's, Dask's and Ray's own clients do, too;
    processes that we start inherit it. What a person has set there stays.
    """
    # Clients disagree on which spelling wins; we write both, from the one that Python's own library prefers.
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    # An address in brackets is what people write, and what httpx raises on.
    entries = [entry.strip().strip("[]") for entry in known.split(",") if entry.strip()]
    if "*" not in entries:
        hosts = [host for url in urls if is_loopback(host := _host(url))]
        entries += [host for host in dict.fromkeys([*_NAMES, *hosts]) if host and host not in entries]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(entries)


def refuse_socks_without_support() -> None:
    """Raise UserError where httpx could not be used at all, not even for loopback addresses.

    It reads every proxy of the environment when a client is made, and raises ImportError on one by SOCKS where the
    package socksio is missing.
    """
    if importlib.util.find_spec("socksio") is not None:
        return
    for scheme, proxy in urllib.request.getproxies_environment().items():
        if scheme in ("http", "https", "all") and proxy.startswith("socks"):
            name = f"{scheme}_proxy"
            name = name if os.environ.get(name) else name.upper()
            raise UserError(
                f"{name} is {proxy}, a SOCKS proxy, with which httpx cannot start as long as the package socksio is "
                f"missing. Install it (`pip install socksio`), or run the command with {name} unset."
            )


def opener_for(url: str) -> urllib.request.OpenerDirector:
    """An opener of urllib that asks loopback addresses themselves, and others as the environment says."""
    direct = [urllib.request.ProxyHandler({})] if is_loopback(_host(url)) else []
    return urllib.request.build_opener(*direct)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
