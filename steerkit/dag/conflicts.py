"""Conflict markers that a merge left in a file."""

from __future__ import annotations

from steerkit.errors import UserError

BEGIN, BASE, MIDDLE, END = "<<<<<<<", "|||||||", "=======", ">>>>>>>"


def line(text: str) -> int | None:
    """The number of the first line that is a marker, counted from 1; None if there is none."""
    for number, one in enumerate(text.split("\n"), start=1):
        if _marker(one):
            return number
    return None


def refuse(text: str, file: str, then: str) -> None:
    """Raise if there is a marker; ``then`` says what to do.

    Raises:
        UserError: it names the file and the first line.
    """
    number = line(text)
    if number is not None:
        raise UserError(f"{file}, line {number}: conflict markers of a merge; {then}")


def sides(text: str) -> tuple[str, str] | None:
    """The text as either side of the merge has it, this one's first; None if the markers do not fit together."""
    here: list[str] = []
    there: list[str] = []
    taking = {"": (here, there), BEGIN: (here,), BASE: (), MIDDLE: (there,)}
    after = {"": (BEGIN,), BEGIN: (BASE, MIDDLE), BASE: (MIDDLE,), MIDDLE: (END,)}
    within = ""
    for one in text.splitlines(keepends=True):
        marker = _marker(one)
        if not marker:
            for side in taking[within]:
                side.append(one)
        elif marker not in after[within]:
            return None
        else:
            within = "" if marker == END else marker
    return None if within or line(text) is None else ("".join(here), "".join(there))


def _marker(one: str) -> str:
    mark, rest = one[:7], one[7:].rstrip()
    # Git writes a name after all but the middle one.
    return mark if mark in (BEGIN, BASE, MIDDLE, END) and (not rest or (mark != MIDDLE and rest[0] == " ")) else ""
