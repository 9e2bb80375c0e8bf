"""The tutorials tab: lessons whose steps run experiments and check what the reader found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from steerwright.lab.checks import checked_choice
from steerwright.lab.jobs import Job, Stop, follow
from steerwright.lab.lessons import LESSONS
from steerwright.lab.lessons.experiment import Experiment, known_concepts
from steerwright.lab.lessons.lesson import (
    LESSON_STYLE,
    Control,
    LayerSlider,
    Lesson,
    LessonOutcome,
    LessonStep,
    Number,
    OneOf,
    Words,
    start,
)
from steerwright.lab.page_state import PageState, ask_to_stop, guarded, status_line, stop_state
from steerwright.lab.style import lead, progress
from steerwright.lab.workbench import Workbench
from steerwright.report.html.page import Html, el

# Taking the lessons: which there are, and running one step's experiment with what the reader set.


def lesson_named(name: Any) -> Lesson:
    """A lesson by its name; UserError that names those there are."""
    known = {one.name: one for one in LESSONS}
    return known[checked_choice(name, known, "lesson")]


def step_of(lesson: Lesson, name: Any) -> LessonStep:
    """A step of `lesson` by its name; UserError that names those there are."""
    known = {one.name: one for one in lesson.steps}
    return known[checked_choice(name, known, "step")]


def run_step(
    workbench: Workbench, lesson_name: Any, step_name: Any, values: Mapping[str, Any], job: Job | None = None
) -> LessonOutcome:
    """Run the experiment of a step on the model, with `values` by the names of the step's controls.

    What is missing in `values` is as the page sets it first. Raises UserError for an unknown lesson, step or value, and
    where the lab's model is one whose texts it cannot judge; Cancelled when the job is stopped.
    """
    step = step_of(lesson_named(lesson_name), step_name)
    experiment = Experiment(workbench, job)
    return step.run(experiment, step.checked(values, known_concepts(workbench)))


_LEAD = (
    "Six lessons. Each step asks you to find something out, runs the experiment on the model that is loaded here, and "
    "tells you whether you found it. Nothing is prepared: every number is measured when you press the button."
)
_SLOTS = max(len(step.controls) for lesson in LESSONS for step in lesson.steps)
_KINDS = 4  # each slot is a picker, a radio, a slider and a text field, of which a step shows one
# How many answers fit side by side as a radio; longer lists are a picker.
_FEW = 4

Passed = frozenset[tuple[str, str]]


def tab(workbench: Workbench, shared: PageState) -> None:  # noqa: ARG001
    """Build the tab inside the current Blocks."""
    known, layers = known_concepts(workbench), workbench.outline().layers
    gr.HTML(f"<style>{LESSON_STYLE}</style>" + lead("Learn by measuring", _LEAD))
    if not known:
        gr.HTML(
            el("p", "The lessons need the embedded model, whose texts the lab can judge. Start the lab with --model "
               "seasons-lm to take them.", class_="muted")
        )  # fmt: skip
        return
    opening = LESSONS[0]
    passed = gr.State(frozenset())
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=250):
            lessons = gr.Radio(_lesson_choices(frozenset()), value=opening.name, label="Lesson",
                               elem_classes="lesson-list")  # fmt: skip
            steps = gr.Radio(_step_choices(opening, frozenset()), value=opening.steps[0].name, label="Step",
                             elem_classes="lesson-list")  # fmt: skip
        with gr.Column(scale=3, min_width=320):
            text = gr.HTML(_text(opening, opening.steps[0]))
            with gr.Row():
                slots = [piece for number in range(_SLOTS) for piece in _slot(opening.steps[0], number, known, layers)]
            with gr.Row():
                run = gr.Button(opening.steps[0].button, variant="primary", scale=0, min_width=220, elem_id="lesson-go")
                stop = gr.Button("Stop", visible=False, scale=0, min_width=90)
                onward = gr.Button("Next step", visible=False, scale=0, min_width=140, elem_id="lesson-next")
            outcome = status_line("lesson-outcome")
    wish = stop_state()
    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    page = [lessons, steps, text, *slots, run, stop, onward, outcome]

    def opened(lesson: Lesson, step: LessonStep, done: Passed) -> list[Any]:
        fields: list[Any] = []
        for number in range(_SLOTS):
            fields += _slot_updates(step, number, known, layers)
        return [
            gr.update(value=lesson.name), gr.update(choices=_step_choices(lesson, done), value=step.name),
            _text(lesson, step), *fields, gr.update(value=step.button, visible=True), gr.update(visible=False),
            gr.update(visible=False), "",
        ]  # fmt: skip

    def open_lesson(name: str, done: Passed) -> list[Any]:
        lesson = lesson_named(name)
        return opened(lesson, lesson.steps[0], done)

    def open_step(name: str, step: str, done: Passed) -> list[Any]:
        lesson = lesson_named(name)
        return opened(lesson, step_of(lesson, step), done)

    def go_on(name: str, step: str, done: Passed) -> list[Any]:
        following = _following(lesson_named(name), step)
        return [gr.skip()] * len(page) if following is None else opened(*following, done)

    def measure(name: str, step_name: str, done: Passed, stop_: Stop, *fields: Any) -> Iterator[Any]:
        lesson = lesson_named(name)
        step = step_of(lesson, step_name)
        values = _values(step, fields)
        for update in follow(lambda job: run_step(workbench, name, step_name, values, job), stop_):
            if not update.done:
                yield (
                    gr.skip(), gr.skip(), gr.update(visible=False), gr.update(visible=True), gr.update(visible=False),
                    progress(update.share, update.words or "Measuring"), gr.skip(),
                )  # fmt: skip
                continue
            found: LessonOutcome = update.result
            now = done | {(name, step_name)} if found.passed else done
            more = found.passed and _following(lesson, step_name) is not None
            yield (
                gr.update(choices=_lesson_choices(now)), gr.update(choices=_step_choices(lesson, now)),
                gr.update(visible=True), gr.update(visible=False), gr.update(visible=more), outcome_html(found), now,
            )  # fmt: skip

    def failed(words: str) -> tuple[Any, ...]:
        return (
            gr.skip(), gr.skip(), gr.update(visible=True), gr.update(visible=False), gr.skip(), progress(None, words),
            gr.skip(),
        )  # fmt: skip

    lessons.input(guarded(open_lesson), [lessons, passed], page, **quiet)
    steps.input(guarded(open_step), [lessons, steps, passed], page, **quiet)
    onward.click(guarded(go_on), [lessons, steps, passed], page, **quiet)
    run.click(
        guarded(measure, failed), [lessons, steps, passed, wish, *slots],
        [lessons, steps, run, stop, onward, outcome, passed], **quiet,
    )  # fmt: skip
    stop.click(ask_to_stop, wish, None, queue=False, **quiet)


def outcome_html(found: LessonOutcome) -> Html:
    """The verdict, and what was measured."""
    title = "Done" if found.passed else "Not yet"
    look = "lesson-verdict passed" if found.passed else "lesson-verdict"
    verdict = el("div", el("b", title), found.said, class_=look)
    spoken = el("span", data_say=f"{title}. {found.said}", hidden=True)
    return el("div", spoken, verdict, el("div", *found.shown, class_="lesson-shown"))


def _text(lesson: Lesson, step: LessonStep) -> Html:
    number = lesson.steps.index(step) + 1
    place = f"Step {number} of {len(lesson.steps)} · {lesson.title}"
    # The lessons' words are ours and hold markup.
    paragraphs = [el("p", Html(text)) for text in step.text]
    task = el("div", el("b", "Your task"), step.task, class_="task")
    return el("div", el("p", place, class_="promise"), el("h3", step.title), *paragraphs, task, class_="lesson-text")


def _lesson_choices(done: Passed) -> list[tuple[str, str]]:
    found = []
    for number, lesson in enumerate(LESSONS, 1):
        count = sum((lesson.name, step.name) in done for step in lesson.steps)
        mark = " ✓" if count == len(lesson.steps) else f" ({count} of {len(lesson.steps)})" if count else ""
        found.append((f"{number}. {lesson.title}{mark}", lesson.name))
    return found


def _step_choices(lesson: Lesson, done: Passed) -> list[tuple[str, str]]:
    return [(step.title + (" ✓" if (lesson.name, step.name) in done else ""), step.name) for step in lesson.steps]


def _following(lesson: Lesson, step_name: str) -> tuple[Lesson, LessonStep] | None:
    """The step after this one, the next lesson's first after a lesson's last; None after the very last."""
    every = [(one, step) for one in LESSONS for step in one.steps]
    place = every.index((lesson, step_of(lesson, step_name)))
    return every[place + 1] if place + 1 < len(every) else None


def _slot(step: LessonStep, number: int, known: tuple[str, ...], layers: int) -> list[Any]:
    """The pieces of one slot, set for `step`."""
    picker, radio, slider, field = _settings(step, number, known, layers)
    return [
        gr.Dropdown(**{"choices": [], "filterable": True, "min_width": 180, **picker}),
        gr.Radio(**{"choices": [], "min_width": 260, **radio}),
        gr.Slider(**{"minimum": 0, "maximum": 1, "min_width": 180, **slider}),
        gr.Textbox(**{"lines": 2, "max_lines": 4, "min_width": 300, **field}),
    ]


def _slot_updates(step: LessonStep, number: int, known: tuple[str, ...], layers: int) -> list[Any]:
    return [gr.update(**settings) for settings in _settings(step, number, known, layers)]


def _settings(step: LessonStep, number: int, known: tuple[str, ...], layers: int) -> tuple[dict[str, Any], ...]:
    """What picker, radio, slider and text field of a slot are set to: one is the step's control, the rest hidden."""
    control = step.controls[number] if number < len(step.controls) else None
    found: list[dict[str, Any]] = [{"visible": False} for _ in range(_KINDS)]
    if control is None:
        return tuple(found)
    value = start(control, known, layers)
    own: dict[str, Any] = {"visible": True, "label": control.label, "value": None if value == "" else value}
    match control:
        case OneOf():
            options = list(control.options or known)
            found[_kind(control)] = own | {"choices": options}
        case Number():
            found[2] = own | {"minimum": control.low, "maximum": control.high, "step": control.step}
        case LayerSlider():
            found[2] = own | {"minimum": 0, "maximum": layers - 1, "step": 1}
        case Words():
            found[3] = own
    return tuple(found)


def _kind(control: Control) -> int:
    match control:
        case OneOf(options=options):
            return 1 if 0 < len(options) <= _FEW else 0
        case Number() | LayerSlider():
            return 2
        case Words():
            return 3


def _values(step: LessonStep, fields: tuple[Any, ...]) -> dict[str, Any]:
    """What the reader set, by the names of the step's controls."""
    return {control.name: fields[_KINDS * number + _kind(control)] for number, control in enumerate(step.controls)}
