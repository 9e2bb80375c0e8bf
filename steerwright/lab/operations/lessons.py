"""Taking the lessons: which there are, and running one step's experiment with what the reader set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steerwright.lab.checks import checked_choice
from steerwright.lab.jobs import Job
from steerwright.lab.lessons.lesson import Lesson, LessonOutcome, LessonStep

if TYPE_CHECKING:
    from steerwright.lab.workbench import Workbench


def lesson(name: Any) -> Lesson:
    """A lesson by its name; UserError that names those there are."""
    from steerwright.lab.lessons import LESSONS

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
    from steerwright.lab.lessons.experiment import Experiment, known_concepts

    step = step_of(lesson(lesson_name), step_name)
    experiment = Experiment(workbench, job)
    return step.run(experiment, step.checked(values, known_concepts(workbench)))
