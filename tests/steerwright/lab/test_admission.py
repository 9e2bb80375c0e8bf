"""Who is answered: this machine's own names and pages, with requests of a size that can be held."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from steerwright.errors import UserError
from steerwright.lab import admission
from steerwright.lab.admission import Admission, checked_hosts


def _ask(
    headers: dict[str, str], *, hosts: frozenset[str] = frozenset(), kind: str = "http", method: str = "POST",
    path: str = "/gradio_api/queue/join", body: tuple[bytes, ...] = (b"{}",), cache: Path = Path("nowhere"),
) -> tuple[int, str]:  # fmt: skip
    """The status and text that come back; 200 where the app was reached and read the whole body."""
    said: list[Any] = []
    pieces = [
        {"type": "http.request", "body": piece, "more_body": place < len(body)} for place, piece in enumerate(body, 1)
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (message := await receive()).get("more_body"):
                pass
            assert message["type"] in ("http.request", "http.disconnect")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"reached"})

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": kind, "method": method, "path": path,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(Admission(app, hosts, cache)(scope, receive, send))
    if said[0]["type"] == "websocket.close":
        return said[0]["code"], said[0]["reason"]
    return said[0]["status"], b"".join(one["body"] for one in said[1:]).decode()


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "127.0.0.1", "localhost:7860", "LOCALHOST", "[::1]:7860", "localhost:9000"]
)
def test_this_machines_own_names_are_answered(host: str, kind: str) -> None:
    assert _ask({"Host": host}, kind=kind)[0] == 200
    assert _ask({"Host": host, "Origin": f"http://{host}"}, kind=kind)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example:7860", "localhost.evil.example", "10.0.0.5:7860",
     "0.0.0.0:7860", "user@localhost", "localhost:7860, evil.example", "evil.example/localhost", "localhost:x", "",
     "[::1", "lab.example.org"],
)  # fmt: skip
def test_another_name_that_leads_here_is_not(host: str) -> None:
    """DNS rebinding: the browser believes that it talks to the host of the page that it shows."""
    status, words = _ask({"Host": host, "Origin": f"http://{host}"})
    assert status == 403
    assert "--allow-host" in words
    assert _ask({"Host": host}, method="GET")[0] == 403
    assert _ask({"Host": host}, kind="websocket")[0] == 1008


def test_a_request_without_a_host_is_not() -> None:
    assert _ask({})[0] == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://evil.example:7860", "null", "http://localhost:3000", "http://127.0.0.1:7860",
     "http://localhost:7860.evil.example"],
)  # fmt: skip
@pytest.mark.parametrize(("kind", "refused"), [("http", 403), ("websocket", 1008)])
def test_pages_of_other_sites_and_ports_are_not(origin: str, kind: str, refused: int) -> None:
    assert _ask({"Host": "localhost:7860", "Origin": origin}, kind=kind)[0] == refused
    assert _ask({"Host": "localhost:7860", "Origin": origin}, kind=kind, method="GET")[0] == refused


def test_what_a_foreign_page_embeds_is_not_but_its_links_lead_here() -> None:
    foreign = {"Host": "localhost:7860", "Sec-Fetch-Site": "cross-site"}
    assert _ask({**foreign, "Sec-Fetch-Mode": "no-cors"}, method="GET")[0] == 403
    assert _ask({**foreign, "Sec-Fetch-Mode": "navigate"}, method="GET", path="/")[0] == 200


def test_a_name_that_was_allowed_is_answered_as_it_is_and_behind_its_proxy() -> None:
    hosts = checked_hosts([" Lab.Example.org "])
    assert _ask({"Host": "lab.example.org", "Origin": "https://lab.example.org"}, hosts=hosts)[0] == 200
    # A proxy that writes its own target into Host.
    assert _ask({"Host": "127.0.0.1:7860", "Origin": "https://lab.example.org"}, hosts=hosts)[0] == 200
    assert _ask({"Host": "other.example.org"}, hosts=hosts)[0] == 403
    assert _ask({"Host": "lab.example.org", "Origin": "https://other.example.org"}, hosts=hosts)[0] == 403


@pytest.mark.parametrize("name", ["http://lab.example.org", "lab.example.org:443", "*", "*.example.org", "", "a b"])
def test_what_is_no_hosts_name_is_told(name: str) -> None:
    with pytest.raises(UserError, match="give the name alone"):
        checked_hosts([name])


def test_a_request_that_is_too_large_is_told_also_where_it_does_not_say_so() -> None:
    here = {"Host": "localhost"}
    most = admission.LARGEST_BODY
    assert _ask(here, body=(b"x" * most,))[0] == 200
    for headers in (here, {**here, "Content-Length": str(most + 1)}):
        status, words = _ask(headers, body=(b"x" * most, b"x"))
        assert status == 413
        assert words == "The request is larger than the 4 MB that the lab takes; ask for less at once."


def test_uploads_end_where_the_room_for_them_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, path = {"Host": "localhost"}, "/gradio_api/upload"
    assert _ask(here, path=path, cache=tmp_path, body=(b"x" * 2**24,))[0] == 200
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 1000)
    monkeypatch.setattr(admission, "MOST_IN_PASSING", admission.LARGEST_UPLOAD + 999)
    status, words = _ask(here, path=path, cache=tmp_path)
    assert status == 507
    assert "They go after an hour" in words
    assert _ask(here, cache=tmp_path)[0] == 200
