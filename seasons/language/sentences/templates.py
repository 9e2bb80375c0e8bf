"""The sentence templates of one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Templates:
    """Templates with slots of grammar: what an answer opens with, goes on with, is short with.

    Every opening names the topic. A short one stands alone in a brief answer.
    """

    openings: tuple[str, ...]
    further: tuple[str, ...]
    short: tuple[str, ...]


def templates(openings: str, further: str, short: str) -> Templates:
    """Templates that are written one a line; a backslash at a line's end joins the next to it."""

    def listed(text: str) -> tuple[str, ...]:
        return tuple(" ".join(line.split()) for line in text.strip().splitlines())

    return Templates(listed(openings), listed(further), listed(short))
