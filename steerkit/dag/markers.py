"""What the parameters of a stage function mean, written as ``Annotated[type, marker]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OutKind = Literal["data", "metrics", "plots"]


@dataclass(frozen=True)
class Dep:
    """The argument is a file or folder that the stage reads; the wiring says which. It arrives as an absolute Path."""


@dataclass(frozen=True)
class Param:
    """The argument is a key of params.yaml.

    Without ``key`` it is the argument's own name in the stage's section; ``"a.b"`` is a key below that section;
    ``"/a.b"``, with a leading slash, is a key counted from the top of the file.
    """

    key: str | None = None


@dataclass(frozen=True)
class Out:
    """The argument is a file or folder that the stage writes; it arrives as a Path below ``artifacts/.tmp``.

    ``path`` is relative to the stage's folder (default: the argument's name). ``cache=False`` leaves the file to git.
    ``resume=True`` hands a folder back as a killed run with the same inputs left it; every other output starts absent.
    ``x``, ``y``, ``template`` and ``title`` are for ``kind="plots"``, as in dvc.yaml.
    """

    path: str | None = None
    kind: OutKind = "data"
    cache: bool = True
    resume: bool = False
    x: str | None = None
    y: str | None = None
    template: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class File:
    """A source file or folder, relative to the root of the project, as a dependency."""

    path: str
