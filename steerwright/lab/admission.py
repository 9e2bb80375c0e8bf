"""Which HTTP requests the lab answers: those for its own hosts, from its own pages, and of a size that it can hold."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from steerwright.errors import UserError
from steerwright.loopback import is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Refusal = tuple[int, str]

LARGEST_BODY = 4 * 2**20
"""Bytes of a request: 64 pairs of the longest texts take a fifth of it."""
LARGEST_UPLOAD = 17 * 2**20
"""Bytes of a request that uploads: one file of the size that the lab takes, and what HTTP puts around it."""
MOST_IN_PASSING = 256 * 2**20
"""Bytes of the files that the page takes in and hands out; gradio removes those that are an hour old."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def checked_hosts(names: Iterable[str]) -> frozenset[str]:
    """Names of hosts under which a proxy hands the lab on, in small letters.

    Raises UserError for what is no plain name, such as an address with a scheme, a port or a star.
    """
    found = {name.strip().lower() for name in names}
    for name in sorted(found):
        if not _NAME.fullmatch(name):
            raise UserError(f"{name[:60]!r} is no host's name; give the name alone, as in lab.example.org.")
    return frozenset(found)


class Admission:
    """ASGI middleware in front of the page and its endpoints.

    A page of another site may lead its own name to this machine (DNS rebinding), or send requests from a visitor's
    browser. Browsers name the host that they believe they talk to, and the page that sends: both must be ours. `hosts`
    are names that are ours beside those of this machine; `cache` is the folder of what is uploaded and handed out.
    """

    def __init__(self, app: Any, hosts: frozenset[str], cache: Path) -> None:
        self._app, self._hosts, self._cache = app, hosts, cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(scope, send, *refusal)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._with_bounded_body(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        hosts = _headers(scope, b"host")
        host = _host_of(hosts[0]) if len(hosts) == 1 else None
        if host is None or not (is_loopback(host) or host in self._hosts):
            found = ", ".join(hosts)[:80] or "a request without a host"
            return 403, (
                f"The lab answers to 127.0.0.1 and localhost, not to {found}. To put it behind a name of yours, start "
                "it with `steerwright lab --allow-host NAME`."
            )
        for origin in _headers(scope, b"origin"):
            authority = origin.partition("://")[2].lower()
            # Another port of this machine is another program's page, so the port counts; behind a proxy it is its own.
            if authority != hosts[0].lower() and _host_of(authority) not in self._hosts:
                return 403, f"The lab takes no requests from pages of other sites; this one came from {origin[:80]}."
        fetch = {name: _headers(scope, b"sec-fetch-" + name.encode()) for name in ("site", "mode")}
        if fetch["site"] == ["cross-site"] and fetch["mode"] != ["navigate"]:
            return 403, "The lab takes no requests from pages of other sites."
        return None

    async def _with_bounded_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")
        most = LARGEST_UPLOAD if upload else LARGEST_BODY
        if upload and folder_bytes(self._cache) + LARGEST_UPLOAD > MOST_IN_PASSING:
            await _refuse(scope, send, 507, full(self._cache))
            return
        large = f"The request is larger than the {most // 2**20} MB that the lab takes; ask for less at once."
        told = _headers(scope, b"content-length")
        if told and told[0].isdecimal() and int(told[0]) > most:
            await _refuse(scope, send, 413, large)
            return
        taken, begun, refused = 0, False, False

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken, refused
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most and not refused:
                refused = True
                if not begun:
                    await _refuse(scope, send, 413, large)
            # For the app as if the client had gone; what it says to that goes nowhere.
            return {"type": "http.disconnect"} if refused else message

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            if not refused:
                await send(message)

        await self._app(scope, bounded, watched)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`; files may come and go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def full(folder: Path) -> str:
    """What somebody is told when the files in passing take all the room that they may."""
    return (
        f"The files that the lab took in and handed out fill {folder_bytes(folder) // 2**20} of "
        f"{MOST_IN_PASSING // 2**20} MB. They go after an hour: try again later, or start the lab again."
    )


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key.lower() == name]


def _host_of(authority: str) -> str | None:
    """The host of `host:port` or `[address]:port` in small letters; None for anything else."""
    if not authority or any(sign in authority for sign in "@/\\?# ,"):
        return None
    try:
        parts = urlsplit(f"//{authority}")
        parts.port  # noqa: B018  (raises where it is no number)
    except ValueError:
        return None
    return parts.hostname


async def _refuse(scope: Scope, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": 1008, "reason": words[:120]})
        return
    body = words.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
