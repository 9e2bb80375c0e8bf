from collections.abc import Iterator

import gradio as gr
import pytest

from steerwright.errors import UserError
from steerwright.lab import page_state as shared
from steerwright.lab.jobs import Cancelled
from steerwright.lab.page_state import guarded


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is shown to the visitor: title and message."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(shared.gr, "Warning", lambda text, title, **_: found.append((title, text)))
    return found


def test_a_mistake_is_a_message_and_leaves_the_page_as_it_is(told: list[tuple[str, str]]) -> None:
    def handler(value: str) -> str:
        raise UserError(f"no {value}\nat all")

    assert guarded(handler)("<b>") == gr.skip()
    assert told == [("Not done", "no &lt;b&gt;<br>at all")]


def test_what_a_generator_gave_before_its_mistake_stays(told: list[tuple[str, str]]) -> None:
    def handler() -> Iterator[str]:
        yield "half"
        raise UserError("no more")

    assert list(guarded(handler, lambda words: ("kept", words))()) == ["half", ("kept", "")]
    assert told == [("Not done", "no more")]


def test_a_stop_is_no_mistake(told: list[tuple[str, str]]) -> None:
    def handler() -> Iterator[str]:
        yield "half"
        raise Cancelled

    assert list(guarded(handler, lambda words: words)()) == ["half", "Stopped."]
    assert told == []


def test_a_fault_of_ours_is_told_without_its_inside(told: list[tuple[str, str]], caplog) -> None:
    def handler() -> None:
        raise ZeroDivisionError("secret path /home/x")

    assert guarded(handler)() == gr.skip()
    ((title, text),) = told
    assert title == "A fault of the lab"
    assert "secret" not in text
    assert "ZeroDivisionError" in text
    assert "secret" in caplog.text


def test_a_handler_that_works_is_not_changed() -> None:
    assert guarded(lambda value: value * 2)(21) == 42
