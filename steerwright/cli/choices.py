"""`--vectors FILE`, the action that follows it and its settings, as `steerwright generate` reads them in written order.

An option belongs to the `--vectors` before it; a setting that stands before all of them is for each that it fits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperOption

from steerwright.arguments import seed_list, strength_number
from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.models.language.spec import LanguageSpec
    from steerwright.models.spec import ModelSpec

# What all commands share: an option that takes one value may be written once.


class OnceEach(TyperCommand):
    """A command that refuses an option of one value that is written twice: the first would be dropped in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen: set[str] = set()
        for written in order:
            # An argument is written once as it is, and a switch written twice drops nothing.
            if not isinstance(written, TyperOption) or written.multiple or written.is_flag:
                continue
            if written.name in seen:
                raise UserError(f"{max(written.opts, key=len)} is given twice; give it once.")
            seen.add(str(written.name))
        return super().parse_args(ctx, args)


class CommandLine(typer.Typer):
    """A Typer whose commands are `OnceEach`, unless they say what else they are."""

    def command(self, name: str | None = None, *, cls: Any = OnceEach, **rest: Any) -> Any:
        return super().command(name, cls=cls, **rest)


_ORDER = "steerwright.generate.order"
ACTIONS = {"add": "--add", "erase": "--erase", "replace_by": "--replace-by"}
# Settings of an edit by the names of the options; each may be written once for each --vectors.
SETTINGS = (
    "places", "attention", "window", "branch", "bound", "units", "gate", "gate_at", "gate_until", "two_sided",
    "centred", "layers", "on",
)  # fmt: skip
_FLAGS = ("two_sided", "centred")
_IN_ORDER = ("vectors", *ACTIONS, "strength", *SETTINGS)


class InOrder(OnceEach):
    """A command that knows in which order options were written: an action belongs to the `--vectors` before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [str(option.name) for option in order if option.name in _IN_ORDER]
        return super().parse_args(ctx, args)


def written_order(context: Any) -> list[str]:
    """The names of `--vectors`, actions and settings in the order in which they were written, with repetitions."""
    return list(context.meta.get(_ORDER, []))


@dataclass(frozen=True, slots=True)
class AskedChange:
    """One `--vectors FILE` with its action (a name of `ACTIONS`); `target` is the file of --replace-by.

    `own` are the settings written after it, by name, and `common` those written before all vectors.
    """

    file: Path
    action: str
    strength: float
    target: Path | None
    own: Mapping[str, Any] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)


def option(name: str) -> str:
    """How the option of this name is written."""
    return "--" + {"replace": "replace-by"}.get(name, name).replace("_", "-")


def read_actions(order: Sequence[str], asked: Mapping[str, Any]) -> list[AskedChange]:
    """Pair each file with what was written after it; `asked` are the options by name."""
    common, groups = _groups(order, asked)
    if common and not groups:
        raise UserError(f"{_named(common)}: a setting of an edit is given, but no --vectors, and without them no edit.")
    return [_paired(group, common) for group in groups]


def read_mix(order: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of --mix, which makes one concept of all vectors: each once, wherever it is written."""
    common, groups = _groups(order, asked)
    found = dict(common)
    for group in groups:
        for name in SETTINGS:
            if name in group and name in found:
                raise UserError(f"{option(name)} is given twice, but --mix makes one concept of all --vectors.")
            if name in group:
                found[name] = group[name]
    return found


def _groups(order: Sequence[str], asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings before the first --vectors, and what each --vectors has, itself included."""
    left = {name: iter(asked[name] or []) for name in _IN_ORDER if name not in _FLAGS}
    common: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    for name in order:
        if name == "vectors":
            groups.append({})
        elif not groups and name not in SETTINGS:
            raise UserError(f"{option(name)} stands before any --vectors; write --vectors FILE {option(name)} ...")
        here = groups[-1] if groups else common
        if name in here:
            where = f" for {here['vectors']}; give --vectors again for a second edit." if groups else "; give it once."
            raise UserError(f"{option(name)} is given twice{where}")
        here[name] = True if name in _FLAGS else next(left[name])
    return common, groups


def _paired(group: dict[str, Any], common: Mapping[str, Any]) -> AskedChange:
    file = group["vectors"]
    actions = [name for name in ACTIONS if name in group]
    if not actions:
        raise UserError(f"--vectors {file} has no action; let --add 10, --erase 1 or --replace-by FILE follow it.")
    if len(actions) > 1:
        both = " and ".join(ACTIONS[name] for name in actions)
        raise UserError(f"--vectors {file} has {both}; for two edits, give --vectors again before the second.")
    (action,) = actions
    if action != "replace_by" and "strength" in group:
        raise UserError(f"--strength is for --replace-by; write the strength after {ACTIONS[action]} itself.")
    strength = strength_number(group.get("strength", 1.0) if action == "replace_by" else group[action], str(file))
    own = {name: group[name] for name in SETTINGS if name in group}
    return AskedChange(file, action, strength, group.get("replace_by"), own, common)


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(option(name) for name in sorted(settings))


def read_seeds(seeds: Sequence[int] | None, count: int | None) -> list[int]:
    """The seeds that --seed and --count mean; 42 without them."""
    seeds = list(seeds or [42])
    if count is not None:
        if count < 1 or len(seeds) > 1:
            raise UserError("--count is at least 1, and goes with a single --seed; or give every --seed yourself.")
        seeds = list(range(seeds[0], seeds[0] + count))
    return seed_list(seeds)


def one_of(option: str, given: str, choices: Sequence[str]) -> str:
    """`given`, if it is one of `choices`."""
    if given not in choices:
        raise UserError(f"{option} {given} does not exist; choose one of {', '.join(choices)}.")
    return given


def read_layers(layers: str | None) -> tuple[int, ...] | None:
    """The numbers of --layers, in their order: 0,6 or 0-7, or both with commas."""
    return read_numbers("--layers", layers, "numbers of layers")


def read_numbers(option: str, text: str | None, what: str) -> tuple[int, ...] | None:
    """The numbers that `option` was given, in their order; None without it. UserError says what is to be written."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        written = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        ends = [int(end or written[1]) for end in written.groups()] if written else [1, 0]
        if ends[0] > ends[1]:
            raise UserError(f"{option} {text}: write {what} with commas between them, as 0,6 or 0-7.")
        found += range(ends[0], ends[1] + 1)
    return tuple(found)


# The model that `--model NAME|FOLDER` means, inside a project or outside of one.


def choose_model(name: str | None) -> ModelSpec:
    """The spec of an entry of params.yaml, or of a folder; without a name the project's own model.

    Folders of params.yaml are relative to the project; here they come out relative to the working directory.
    Raises UserError for a name that is neither, and outside of a project for everything but a folder.
    """
    from steerwright.models.identify import EMBEDDED
    from steerwright.models.select import select_model

    project = _project()
    if project is None:
        if name is None or not (Path(name) / "model_index.json").is_file():
            raise _outside(name, "model_index.json", "a pipeline")
        return select_model(name, {})
    root, params = project
    models = params.get("models", {})
    spec = select_model(name or params.get("model", EMBEDDED), models)
    return spec.model_copy(update=_from_here(root, spec.source, named=spec.name in models))


def choose_language_model(name: str | None) -> tuple[LanguageSpec, Mapping[str, Mapping[str, Any]]]:
    """As `choose_model`, of a language model, without a name the embedded one; with what it may fall back to."""
    from steerwright.models.identify import EMBEDDED_LANGUAGE
    from steerwright.models.language.spec import is_language_folder, select_language_model

    project = _project()
    if project is None:
        if name is None or not is_language_folder(Path(name)):
            raise _outside(name, "config.json of a language model", "a model")
        return select_language_model(name, {}), {}
    root, params = project
    entries = params.get("models", {})
    models = {
        known: {**entry, **_from_here(root, str(entry.get("source", "")), named=True)}
        for known, entry in entries.items()
    }
    return select_language_model(name or EMBEDDED_LANGUAGE, models), models


def is_language(name: str | None) -> bool:
    """Whether the model of this name, or the project's own, writes texts rather than makes pictures.

    UserError, as of `choose_model`, for a name that is no model.
    """
    from steerwright.models.language.spec import is_language_folder

    project = _project()
    params = {} if project is None else project[1]
    entry = params.get("models", {}).get(name or params.get("model"))
    if entry is not None:
        return bool(entry.get("family") == "language")
    if name is not None and is_language_folder(Path(name)):
        return True
    choose_model(name)
    return False


def _project() -> tuple[Path, dict[str, Any]] | None:
    """Root and params.yaml of the project around the working directory; None outside of one."""
    from steerwright.dag.params import load_params
    from steerwright.dag.project import find_root

    try:
        root = find_root()
    except UserError:
        return None
    return root, load_params(root)


def _from_here(root: Path, source: str, *, named: bool) -> dict[str, str]:
    inside = root / source
    if source and named and inside.is_dir():
        # Relative, because the source is written into files that others read.
        return {"source": os.path.relpath(inside)}
    return {}


def _outside(name: str | None, index: str, kind: str) -> UserError:
    found = "no --model is given" if name is None else f"{name} is no folder with a {index}"
    return UserError(
        f"This is outside of a steerwright project, and {found}. The installed package holds no models: give "
        f"--model FOLDER, {kind} that save_pretrained wrote, or work inside a checkout."
    )
