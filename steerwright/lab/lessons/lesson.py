"""What a lesson is: steps with a text, a task, a few controls, an experiment, and what the reader is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from steerwright.errors import UserError
from steerwright.lab.checks import checked_choice, checked_number, checked_text, checked_whole
from steerwright.lab.lessons.experiment import Answers, AnswerShare
from steerwright.report.html.page import Html, el

if TYPE_CHECKING:
    from steerwright.lab.lessons.experiment import Experiment


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
class LayerSlider:
    """A layer of the model; `value` is the share of its depth that is set first."""

    name: str
    label: str
    value: float = 0.5

    def checked(self, given: Any, known: tuple[str, ...]) -> int:  # noqa: ARG002
        """A whole number; whether the model has the layer, the experiment says."""
        return checked_whole(given, self.label.lower(), 0, 10_000)


@dataclass(frozen=True, slots=True)
class OneOf:
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


Control = Number | LayerSlider | OneOf | Words


@dataclass(frozen=True, slots=True)
class LessonOutcome:
    """What an experiment found: whether the reader's task is done, what is said of it, and what is drawn.

    `measured`: the numbers behind, by name, for callers from a program.
    """

    passed: bool
    said: str
    shown: tuple[Html, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LessonStep:
    """One step: `text` teaches (paragraphs), `task` asks for something, `run` measures and judges it."""

    name: str
    title: str
    text: tuple[str, ...]
    task: str
    button: str
    controls: tuple[Control, ...]
    run: Callable[[Experiment, Mapping[str, Any]], LessonOutcome]

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
    steps: tuple[LessonStep, ...]


def start(control: Control, known: tuple[str, ...], layers: int | None) -> Any:
    """What a control is set to first. `layers`: how many the model has, None where that is not asked."""
    match control:
        case Number() | Words():
            return control.value
        case LayerSlider():
            return 0 if layers is None else int(control.value * (layers - 1))
        case OneOf(options=(), value=value):
            return value if value in known else next(iter(known), "")
        case OneOf(value=value):
            return value
        case _:
            assert_never(control)


# What lessons show beside their drawings: a few answers, and shares as bars.


def quotes(title: str, answers: Answers, count: int = 3) -> Html:
    """The first `count` answers with what they answer."""
    rows = []
    for one in answers.completions[:count]:
        text = one.text.strip() or "(nothing)"
        rows.append(el("li", el("span", one.prompt), el("q", text)))
    return el("div", el("h4", title), el("ul", *rows), class_="lesson-quotes")


def bars(title: str, rows: Sequence[tuple[str, AnswerShare, str]], caption: str = "") -> Html:
    """One bar for each (name, share, colour), with its interval; colours as of the charts' series."""
    drawn = []
    for name, share, colour in rows:
        low, high = share.interval
        bar = el(
            "div",
            el("i", style=f"width:{100 * share.rate:.1f}%"),
            el("b", style=f"left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"),
            class_=f"bar {colour}",
            title=f"{100 * share.rate:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %",
        )
        drawn.append(el("div", el("span", name), bar, el("em", f"{100 * share.rate:.0f} % ({share})"), class_="row"))
    below = [el("figcaption", caption)] if caption else []
    return el("figure", el("h4", title), *drawn, *below, class_="lab-chart lesson-bars")


def percent(value: float) -> str:
    """0.934 as 93 %."""
    return f"{100 * value:.0f}\u202f%"


def times(value: float) -> str:
    """1.234 as 1.23 times; without decimals from a hundred on."""
    return f"{value:.0f} times" if value >= 100 else f"{value:.3g} times"


# The look of the lessons, beside that of the drawings.

LESSON_STYLE = Path(__file__).with_name("lessons.css").read_text(encoding="utf-8")
