"""The app as its clients see it: through HTTP, on this machine, several at once."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from steerwright.errors import UserError
from steerwright.lab.api import plain_json
from steerwright.lab.app import close, launch
from steerwright.lab.jobs import MOST_JOBS, follow
from steerwright.lab.operations.steer_text import steer_text
from steerwright.lab.workbench import Workbench

PAIRS = [
    ["Tell me about the lake.", "the lake is full of ice", "the lake is wide"],
    ["Tell me about the boat.", "snow lies on the boat", "the boat lies by the market"],
    ["Tell me about the stone.", "the stone is white with frost", "the stone is in the garden"],
]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def app(workbench: Workbench) -> Iterator[str]:
    """The address of a lab with a random model."""
    page, address = launch(workbench, _free_port())
    yield address
    close(workbench, page)


def _post(address: str, endpoint: str, data: list[Any]) -> str:
    """Ask as a program without gradio's client does; the id under which the answer can be fetched."""
    request = urllib.request.Request(
        f"{address}gradio_api/call/{endpoint}",
        json.dumps({"data": data}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["event_id"])


def _jobs() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "lab-job"}


def _busy() -> int:
    return len(_jobs())


def _until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _client(address: str) -> Any:
    from gradio_client import Client

    return Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 120})


@pytest.mark.slow
def test_twenty_requests_of_five_clients_at_once_are_answered_as_if_each_were_alone(
    app: str, workbench: Workbench
) -> None:
    prompts = ("Tell me about the lake.", "about the old boat", "the stone house", "Tell me about the market.")
    asked = [
        {"prompt": prompts[number % 4], "concepts": ("happy", "sad", "pirate", "happy:0.5,sad:0.5", "sad")[number % 5],
         "layer": number % 4, "strength": 0.2 * (1 + number % 5), "tokens": 12, "temperature": (0.0, 0.9)[number % 2],
         "seed": number}
        for number in range(20)
    ]  # fmt: skip
    alone = [
        plain_json(steer_text(workbench, one["prompt"], one["concepts"], one["layer"], one["strength"],
                              tokens=one["tokens"], temperature=one["temperature"], seed=one["seed"]))
        for one in asked
    ]  # fmt: skip
    clients = [_client(app) for _ in range(5)]
    with ThreadPoolExecutor(20) as together:
        jobs = [
            together.submit(clients[number % 5].predict, **one, api_name="/steer") for number, one in enumerate(asked)
        ]
        answers = [job.result(300) for job in jobs]
    assert answers == json.loads(json.dumps(alone))
    assert len({json.dumps(answer) for answer in answers}) == 20


@pytest.mark.slow
def test_mistakes_are_told_nothing_is_written_and_the_app_goes_on(app: str, lab_project: Path) -> None:
    from gradio_client.exceptions import AppError

    client = _client(app)
    good = {"prompt": "about the lake", "concepts": "happy", "layer": 1, "strength": 0.4, "tokens": 4}
    for wrong, named in (
        ({"strength": 1e9}, "strength must be a number"),
        ({"strength": "nan"}, "strength must be a number"),
        ({"layer": 99}, "layer must be a whole number from 0 to 3"),
        ({"concepts": "../../etc/passwd"}, "no concept"),
        ({"prompt": "x" * 5000}, "5000 characters"),
        ({"tokens": 100000}, "number of tokens"),
    ):
        with pytest.raises(AppError, match=named):
            client.predict(**(good | wrong), api_name="/steer")
    for name in ("../evil", "a/b", "/tmp/evil", "..", "x" * 41, "EVIL"):
        with pytest.raises(AppError, match="cannot be a concept's name"):
            client.predict(name=name, pairs=PAIRS, api_name="/make_concept")
    with pytest.raises(AppError, match="pairs are too many"):
        client.predict(name="many", pairs=PAIRS * 40, api_name="/make_concept")
    assert not (lab_project / "lab" / "concepts").exists()
    assert client.predict(**good, api_name="/steer")["steered"]["tokens"]


@pytest.mark.slow
def test_a_concept_that_one_client_makes_is_there_for_the_others(app: str, lab_project: Path) -> None:
    made = _client(app).predict(name="wintry", pairs=PAIRS, contrast="answers", api_name="/make_concept")
    assert made["concept"]["origin"] == "yours"
    other = _client(app)
    assert "wintry" in [entry["name"] for entry in other.predict(api_name="/concepts")]
    assert other.predict(prompt="about the lake", concepts="wintry", api_name="/steer")["concepts"] == "wintry"
    written = {str(path.relative_to(lab_project)) for path in lab_project.rglob("*") if path.is_file()}
    assert {name for name in written if not name.startswith(("data/", "lab/.cache/"))} == {
        f"lab/concepts/{folder.name}/wintry.{ending}"
        for folder in (lab_project / "lab" / "concepts").iterdir()
        for ending in ("json", "safetensors")
    }


@pytest.mark.slow
def test_only_the_named_endpoints_are_open(app: str) -> None:
    endpoints = _client(app).view_api(return_format="dict", print_info=False)
    assert set(endpoints["named_endpoints"]) == {
        "/concepts", "/steer", "/make_concept", "/analyse_layers", "/sweep_strengths", "/sweep_grid", "/mix",
        "/save_mix", "/layers", "/compare", "/plane", "/picture_options", "/steer_picture", "/steer_feature",
    }  # fmt: skip
    assert endpoints["unnamed_endpoints"] == {}


@pytest.mark.slow
def test_the_page_names_no_other_machine_and_its_files_go_with_it(workbench: Workbench, lab_project: Path) -> None:
    page, address = launch(workbench, _free_port())
    try:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address + "config") as found:
            config = json.load(found)
        assert config["analytics_enabled"] is False
        assert config["run_history"] is False
        assert "http" not in json.dumps([config["stylesheets"], config["css"]]).replace("http://www.w3.org", "")
        with pytest.raises(UserError, match="is taken; choose another with --port"):
            launch(workbench, int(address.rstrip("/").rpartition(":")[2]))
    finally:
        close(workbench, page)
    assert not (lab_project / "lab" / ".cache").exists()


@pytest.mark.slow
def test_a_sweep_ends_when_its_client_leaves(app: str) -> None:
    # 400 points of 40 tokens on twelve requests: longer than the second that the client stays.
    strengths = [step / 100 for step in range(1, 101)]
    before = _jobs()  # of an earlier test one may still be ending
    event = _post(app, "sweep_grid", ["happy", [0, 1, 2, 3], strengths, "", 40, 0.7, 0])
    answer = urllib.request.urlopen(f"{app}gradio_api/call/sweep_grid/{event}", timeout=60)
    _until(lambda: bool(_jobs() - before))
    sweep = _jobs() - before
    time.sleep(1)
    assert _jobs() & sweep, answer.read1(2000)
    answer.close()
    _until(lambda: not _jobs() & sweep, 120)
    assert _client(app).predict(api_name="/concepts")


@pytest.mark.slow
def test_programs_beyond_the_bound_are_told_that_the_lab_is_busy_and_the_page_goes_on(
    app: str, workbench: Workbench
) -> None:
    asked = ["about the lake", "happy", 1, 0.4, "add", 2, 0.0, 0, None, "none"]
    workbench.concepts()
    with workbench.turn("language"):
        events = [_post(app, "steer", asked) for _ in range(MOST_JOBS)]
        _until(lambda: _busy() == MOST_JOBS)
        refused = _post(app, "steer", asked)
        with urllib.request.urlopen(f"{app}gradio_api/call/steer/{refused}", timeout=60) as reply:
            told = reply.read().decode()
        assert "event: error" in told
        assert f"The lab is busy: {MOST_JOBS} requests" in told
        with urllib.request.urlopen(f"{app}config", timeout=10) as page:
            assert page.status == 200
        assert [update for update in follow(lambda _: "a visitor is served")][-1].result == "a visitor is served"
    for event in events:
        with urllib.request.urlopen(f"{app}gradio_api/call/steer/{event}", timeout=60) as reply:
            assert "event: complete" in reply.read().decode()


@pytest.mark.slow
def test_the_page_starts_behind_a_proxy_and_answers_its_own_names_only(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelling in (name, name.upper()):
            # Set first, so that monkeypatch takes away afterwards what the lab sets.
            monkeypatch.setenv(spelling, "http://127.0.0.1:9")
            if name == "no_proxy":
                monkeypatch.delenv(spelling)
    page, address = launch(workbench, _free_port(), hosts=["lab.example.org"])
    try:
        found = {}
        for host in ("127.0.0.1", "lab.example.org", "evil.example"):
            request = urllib.request.Request(f"{address}config", headers={"Host": host})
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    found[host] = reply.status
            except urllib.error.HTTPError as error:
                found[host] = error.code
        assert found == {"127.0.0.1": 200, "lab.example.org": 200, "evil.example": 403}
    finally:
        close(workbench, page)
    with pytest.raises(UserError, match="give the name alone"):
        launch(workbench, _free_port(), hosts=["http://lab.example.org"])
