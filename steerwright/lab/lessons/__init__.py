"""Lessons of the lab: short texts whose steps run real experiments and check what the reader found."""

from steerwright.lab.lessons import asking, depth, directions, mixing, strength, vectors
from steerwright.lab.lessons.lesson import Lesson

LESSONS: tuple[Lesson, ...] = (
    vectors.LESSON,
    directions.LESSON,
    strength.LESSON,
    depth.LESSON,
    asking.LESSON,
    mixing.LESSON,
)
"""In the order in which they build on one another."""
