"""What a user can get wrong: one message that says what was found, where, and what to do."""

from typing import Any


class UserError(Exception):
    """A mistake that the user can mend. The command line prints the message alone and exits with 2."""


class ArgumentError(UserError, ValueError):
    """A value that a caller gave cannot be used: a mistake of a user's on the command line, a ValueError in Python."""


class UserErrors(UserError):
    """Several mistakes found at once, one line each, under one heading."""

    def __init__(self, heading: str, problems: list[str]) -> None:
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in problems)]))
        self.problems = problems


def problems_at(error: Any, *where: object, skip: int = 0) -> list[str]:
    """What a ValidationError of pydantic found, a line each: `where.key: message`.

    `skip`: this many parts of each key are left out, such as the value of a discriminator, which is no key of a file.
    """
    return [
        f"{'.'.join(map(str, (*where, *one['loc'][skip:])))}: {one['msg'].removeprefix('Value error, ')}"
        for one in error.errors()
    ]
