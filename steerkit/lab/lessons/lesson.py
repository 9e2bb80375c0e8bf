"""What a lesson is: steps with a text, a task, a few controls, an experiment, and what the reader is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from steerkit.errors import UserError
from steerkit.lab.checks import checked_choice, checked_number, checked_text, checked_whole
from steerkit.report.html import Html

if TYPE_CHECKING:
    from steerkit.lab.lessons.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Number:
    """A number that the reader sets, from `low` to `high` in steps of `step`."""

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float

    def checked(self, given: Any, known: tuple[str, ...]) -> float | int:  # noqa: ARG002
        """The number that was given; UserError outside the range. Whole where the steps are."""
        if float(self.step).is_integer() and float(self.low).is_integer():
            return checked_whole(given, self.label.lower(), int(self.low), int(self.high))
        return checked_number(given, self.label.lower(), self.low, self.high)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the model; `value` is the share of its depth that is set first."""

    name: str
    label: str
    value: float = 0.5

    def checked(self, given: Any, known: tuple[str, ...]) -> int:  # noqa: ARG002
        """A whole number; whether the model has the layer, the experiment says."""
        return checked_whole(given, self.label.lower(), 0, 10_000)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers; without `options` one of the concepts that the lab can recognise in texts.

    `value` is set first; "" leaves it open, as a prediction must be the reader's own.
    """

    name: str
    label: str
    options: tuple[str, ...] = ()
    value: str = ""

    def checked(self, given: Any, known: tuple[str, ...]) -> str:
        """The answer that was chosen; UserError for any other, and for none. `known` are the concepts."""
        if given in ("", None):
            raise UserError(f"Choose an answer first: {self.label.lower()}.")
        return checked_choice(given, self.options or known, self.label.lower())


@dataclass(frozen=True, slots=True)
class Words:
    """A text that the reader writes."""

    name: str
    label: str
    value: str

    def checked(self, given: Any, known: tuple[str, ...]) -> str:  # noqa: ARG002
        """The text; UserError for none or a very long one."""
        return checked_text(given, self.label.lower(), 600)


Control = Number | Layer | Choice | Words


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an experiment found: whether the reader's task is done, what is said of it, and what is drawn.

    `measured`: the numbers behind, by name, for whoever calls the lessons from a program.
    """

    passed: bool
    said: str
    shown: tuple[Html, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `text` teaches (paragraphs), `task` asks for something, `run` measures and judges it."""

    name: str
    title: str
    text: tuple[str, ...]
    task: str
    button: str
    controls: tuple[Control, ...]
    run: Callable[[Experiment, Mapping[str, Any]], Outcome]

    def checked(self, values: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
        """The values of all controls, checked; what is missing is what the page sets first."""
        return {
            control.name: control.checked(values.get(control.name, start(control, known, None)), known)
            for control in self.controls
        }


@dataclass(frozen=True, slots=True)
class Lesson:
    """A few steps on one idea; `name` is how programs call it, `promise` what the reader will know."""

    name: str
    title: str
    promise: str
    minutes: int
    steps: tuple[Step, ...]


def start(control: Control, known: tuple[str, ...], layers: int | None) -> Any:
    """What a control is set to first. `layers`: how many the model has, None where that is not asked."""
    match control:
        case Number() | Words():
            return control.value
        case Layer():
            return 0 if layers is None else int(control.value * (layers - 1))
        case Choice(options=(), value=value):
            return value if value in known else next(iter(known), "")
        case Choice(value=value):
            return value
        case _:
            assert_never(control)
