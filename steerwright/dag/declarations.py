"""The wiring: which function a stage runs, and where its inputs come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, get_args, get_origin

from steerwright.errors import UserError

# What the parameters of a stage function mean, written as ``Annotated[type, marker]``.

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


# The engine's own stage: dag/environment.py.
RESERVED = "environment"
# DVC keeps `@` for foreach and matrix, and allows nothing else beside these.
STAGE_NAME = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class StageOutput:
    """One output of a declared stage; bound to another stage's Dep it is an edge of the graph."""

    stage: str
    argument: str
    path: str
    marker: Out


Binding = StageOutput | File | list["StageOutput | File"] | None


@dataclass(frozen=True)
class Stage:
    """A declared stage: a function, its inputs, the keys of params.yaml that it reads, and its outputs."""

    name: str
    function: Callable[..., None]
    section: str
    deps: dict[str, Binding]
    params: dict[str, str]
    outs: dict[str, StageOutput]
    types: dict[str, Any] = field(repr=False)
    desc: str = ""
    tags: tuple[str, ...] = ()
    retries: int = 0
    frozen: bool = False

    @property
    def pipeline(self) -> str:
        """The name up to the first hyphen: `winter` for `winter-vectors`."""
        return self.name.partition("-")[0]

    @property
    def command(self) -> str:
        """What dvc.yaml says to run."""
        return f"sh tasks/run.sh {self.name}"

    def out(self, argument: str) -> StageOutput:
        """The output that the stage writes for this argument of its function.

        Raises:
            UserError: the function has no such Out; its Outs are listed.
        """
        if argument not in self.outs:
            known = ", ".join(self.outs) or "none"
            raise UserError(
                f"stage {self.name}: {self.function.__name__}() has no Out named {argument!r} (has: {known})"
            )
        return self.outs[argument]

    def dep_paths(self) -> list[str]:
        """Paths of all bound inputs, relative to the root, sorted, without the code."""
        paths: set[str] = set()
        for binding in self.deps.values():
            several = binding if isinstance(binding, list) else [binding]
            paths.update(one.path for one in several if one is not None)
        return sorted(paths)


declared: dict[str, Stage] = {}


def stage(
    name: str,
    function: Callable[..., None],
    *,
    outs: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    section: str | None = None,
    frozen: bool = False,
    tags: tuple[str, ...] = (),
    retries: int = 0,
    **inputs: Binding,
) -> Stage:
    """Declare that ``function`` is run as the stage ``name``, with these inputs for its Dep arguments.

    ``outs`` puts an Out elsewhere than in artifacts/<pipeline>/<stage>/; ``params`` gives a Param another key;
    ``section`` replaces <pipeline>.<stage> as the place of its parameters; a ``frozen`` stage is verified, not run.

    Raises:
        UserError: a name that DVC refuses or that is taken, an argument without marker, or one that is not wired.
    """
    if not STAGE_NAME.fullmatch(name):
        raise UserError(f"stage name {name!r}: only letters, digits, `_` and single `-` between them are allowed")
    if name == RESERVED:
        raise UserError(f"stage name {name!r}: the engine has a stage of this name (library versions, device, sources)")
    pipeline, _, rest = name.partition("-")
    folder = PurePosixPath("artifacts", pipeline, rest) if rest else PurePosixPath("artifacts", name)
    where = section if section is not None else f"{pipeline}.{rest}" if rest else name
    places, keys = dict(outs or {}), dict(params or {})
    problems: list[str] = []
    deps: dict[str, Binding] = {}
    wanted: dict[str, str] = {}
    written: dict[str, StageOutput] = {}
    types: dict[str, Any] = {}
    for argument, (kind, marker) in _marked_arguments(function).items():
        types[argument] = kind
        if isinstance(marker, Dep):
            if argument not in inputs:
                problems.append(f"its input `{argument}` is not wired; add {argument}=STAGE.out(...) or File(...)")
                continue
            deps[argument] = inputs.pop(argument)
        elif isinstance(marker, Param):
            wanted[argument] = _absolute_key(keys.pop(argument, marker.key), where, argument)
        elif isinstance(marker, Out):
            path = places.pop(argument, None) or str(folder / (marker.path or argument))
            written[argument] = StageOutput(name, argument, path, marker)
        else:
            problems.append(f"argument `{argument}` has no marker; annotate it with Dep, Param or Out")
    problems += [f"{function.__name__}() has no Dep named `{argument}`" for argument in inputs]
    problems += [f"{function.__name__}() has no Out named `{argument}`" for argument in places]
    problems += [f"{function.__name__}() has no Param named `{argument}`" for argument in keys]
    if not written:
        problems.append("it writes nothing; a stage needs at least one Out")
    if problems:
        raise UserError(f"stage {name}: " + "; ".join(problems))
    description = (function.__doc__ or "").strip().partition("\n")[0]
    made = Stage(name, function, where, deps, wanted, written, types, description, tuple(tags), retries, frozen)
    known = declared.get(name)
    if known is not None and _origin(known.function) != _origin(function):
        raise UserError(f"stage {name} is declared twice: for {_origin(known.function)} and for {_origin(function)}")
    declared[name] = made
    return made


def _marked_arguments(function: Callable[..., None]) -> dict[str, tuple[Any, Any]]:
    import inspect
    import typing

    hints = typing.get_type_hints(function, include_extras=True)
    found: dict[str, tuple[Any, Any]] = {}
    for argument in inspect.signature(function).parameters:
        hint = hints.get(argument, Any)
        kind, marker = hint, None
        if get_origin(hint) is typing.Annotated:
            kind, *metadata = get_args(hint)
            marker = next((one for one in metadata if isinstance(one, (Dep, Param, Out))), None)
            # What is left are validators of pydantic's.
            if rest := tuple(one for one in metadata if one is not marker):
                kind = typing.Annotated[(kind, *rest)]
        found[argument] = (kind, marker)
    return found


def _absolute_key(key: str | None, section: str, argument: str) -> str:
    if key is not None and key.startswith("/"):
        return key.removeprefix("/")
    return f"{section}.{key or argument}"


def _origin(function: Callable[..., None]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
