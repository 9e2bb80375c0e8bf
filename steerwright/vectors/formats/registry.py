"""Files of steering vectors other than our own, by the name of their format.

A new format is a subclass of `VectorFormat`, given to `register`: `vectors import` and `export` then know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.vectors.steering_vectors import SteeringVectors


@dataclass(frozen=True, slots=True)
class Asked:
    """What is said of a file beside it; None where nothing is."""

    model: str | None = None
    """An entry of params.yaml, or a folder: what the vectors were made with."""
    concept: str | None = None
    steps: int | None = None
    layers: tuple[int, ...] | None = None

    @property
    def given(self) -> list[str]:
        """The options that were given, as the command line writes them."""
        return [f"--{name}" for name in self.__slots__ if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True)
class Imported:
    """Vectors that were read, what they are for (`layers`, `blocks and 50 steps`), and what a person should know."""

    vectors: SteeringVectors
    what: str
    notes: tuple[str, ...] = ()
    content: bytes | None = None
    """The bytes of our own file, where the foreign one had them as they are."""


class VectorFormat:
    """A format; `name` is what `export --format` takes, `reads` and `writes` are for its help."""

    name: str
    reads: str = ""
    writes: str = ""

    def recognises(self, file: Path, model: str | None) -> bool:  # noqa: ARG002
        """Whether `file`, which exists, is of this format, as far as can be told; vectors of `model`."""
        return False

    def read(self, file: Path, asked: Asked) -> Imported:  # noqa: ARG002
        """The vectors in `file`. Nothing in it is run. UserError for what cannot be read."""
        raise UserError(f"{file} is of the format {self.name}, which is not read, only written.")

    def write(self, vectors: SteeringVectors, source: Path, output: Path, model: str | None) -> str:  # noqa: ARG002
        """Write `vectors`, which come from our file `source`, to `output`; what was done, in words."""
        raise UserError(f"Vectors cannot be written as {self.name}; choose {', '.join(writers())}.")


FORMATS: dict[str, VectorFormat] = {}


def register(made: VectorFormat) -> None:
    """Add a format; of two that recognise a file the later one reads it."""
    FORMATS[made.name] = made


def writers() -> list[str]:
    """Names of the formats that can be written."""
    return [name for name, known in FORMATS.items() if type(known).write is not VectorFormat.write]


def recognised(file: Path, model: str | None) -> VectorFormat | None:
    """The format of `file`, or None."""
    return next((known for known in reversed(FORMATS.values()) if known.recognises(file, model)), None)
