"""`steerkit generate`: pictures from prompts, plain or steered, for whoever only wants the picture."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from steerkit.errors import UserError

if TYPE_CHECKING:
    from steerkit.steering.pictures import Change, Picture
    from steerkit.vectors.steering_vectors import SteeringVectors

_ORDER = "steerkit.generate.order"
_ACTIONS = {"add": "--add", "erase": "--erase", "replace_by": "--replace-by"}
# Settings that vectors of the text encoder take as well.
_FOR_TEXT = {"branch", "units"}
_IN_ORDER = ("vectors", *_ACTIONS, "strength")


class InOrder(TyperCommand):
    """A command that knows in which order options were written: an action belongs to the `--vectors` before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_ORDER] = [str(option.name) for option in order if option.name in _IN_ORDER]
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class Asked:
    """One `--vectors FILE` with its action (a name of `_ACTIONS`); `target` is the file of --replace-by."""

    file: Path
    action: str
    strength: float
    target: Path | None


def generate(
    context: typer.Context,
    prompt: Annotated[list[str], typer.Option(metavar="TEXT", help="What to show; may be given several times.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PNG", help="Where to write; of several, OUT-0.png, OUT-1.png ...")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER", help="An entry of params.yaml, or a folder (default: the project's model)."
        ),
    ] = None,
    vectors: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Steer with these vectors, by the action that follows; may be repeated."),
    ] = None,
    add: Annotated[
        list[float] | None, typer.Option(metavar="STRENGTH", help="Add the concept of the --vectors before, so far.")
    ] = None,
    erase: Annotated[
        list[float] | None,
        typer.Option(
            metavar="STRENGTH", help="Erase the concept of the --vectors before: 1 removes it, 2 reflects it."
        ),
    ] = None,
    replace_by: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Turn it into the concept of this file.")
    ] = None,
    strength: Annotated[
        list[float] | None, typer.Option(metavar="STRENGTH", help="Of the --replace-by before (default: 1).")
    ] = None,
    places: Annotated[str | None, typer.Option(help="down, mid, up or single blocks: up,mid (default: all).")] = None,
    window: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="Denoising steps, from 0, both inside (default: all).")
    ] = None,
    branch: Annotated[
        str | None,
        typer.Option(help="cond, uncond, both or opposed (default: both; cond in the text encoder)."),
    ] = None,
    bound: Annotated[
        str | None, typer.Option(help="norm keeps each token's norm; none; or the largest change, 0.3 (default: norm).")
    ] = None,
    units: Annotated[
        str | None, typer.Option(help="Of --add: unit, raw or relative (default: unit; raw in the text encoder).")
    ] = None,
    gate: Annotated[
        float | None, typer.Option(help="Only tokens with more of the concept than this (0: without it, 1: with it).")
    ] = None,
    gate_at: Annotated[
        str | None,
        typer.Option("--gate-at", help="With --gate: only pictures whose mean at this block (mid.0) has more."),
    ] = None,
    gate_until: Annotated[
        int | None,
        typer.Option("--gate-until", metavar="STEP", help="With --gate-at: decided at this step, from 0, and held."),
    ] = None,
    two_sided: Annotated[bool, typer.Option("--two-sided", help="Erase what lies on the negative side too.")] = False,
    centred: Annotated[
        bool, typer.Option("--centred", help="Erase and replace from where prompts without the concept are.")
    ] = False,
    layers: Annotated[
        str | None, typer.Option(metavar="0,6", help="For vectors of the text encoder: which layers.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps (default: the model's own).")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale (default: the model's own).")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Pixels, multiples of 8 (default: the model's own).")
    ] = None,
    negative: Annotated[str, typer.Option(metavar="TEXT", help="What not to show.")] = "",
    seed: Annotated[
        list[int] | None, typer.Option(metavar="NUMBER", help="Seed of the noise; may be repeated (default: 42).")
    ] = None,
    count: Annotated[int | None, typer.Option(help="So many seeds, from --seed upwards.")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="One picture: a row per prompt, a column per seed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Make pictures: plain ones, or with concepts added, erased or replaced.

    steerkit generate --prompt "a house by a lake" --vectors winter.safetensors --add 10 --places mid,up -o out.png
    """
    if any(not text.strip() for text in prompt):
        raise UserError("A --prompt is empty; say what to show.")
    seeds = _seeds(seed, count)
    targets = _targets(output, 1 if grid else len(prompt) * len(seeds), force)
    width, height = _size(size)
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: a picture takes at least 1 step.")
    if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
        raise UserError(f"--guidance {guidance}: give a number that is not negative; 1 or less runs no guidance.")
    values = {"vectors": vectors, "add": add, "erase": erase, "replace_by": replace_by, "strength": strength}
    asked = _asked(context.meta.get(_ORDER, []), {name: found or [] for name, found in values.items()})
    recipe = _recipe(places, window, branch, bound, units, gate, gate_at, gate_until, two_sided, centred)
    _check_recipe(recipe, layers, asked)
    from steerkit.cli.model_choice import choose_model

    spec = choose_model(model)
    changes = _changes(asked, recipe, _layers(layers))

    from steerkit.models.load import load_model
    from steerkit.steering.pictures import as_grid, make_pictures

    try:
        loaded = load_model(spec)
        loaded.pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())
        pictures = make_pictures(
            loaded, prompt, seeds, changes, negative_prompt=negative, steps=steps, guidance=guidance,
            height=height, width=width,
        )  # fmt: skip
        if grid:
            pictures = [as_grid(pictures, len(seeds))]
        _save(pictures, targets)
    except KeyboardInterrupt:
        typer.echo("steerkit: stopped before the pictures were complete; nothing half-written is left.", err=True)
        raise typer.Exit(130) from None


def _save(pictures: Sequence[Picture], paths: Sequence[Path]) -> None:
    for picture, path in zip(pictures, paths, strict=True):
        try:
            picture.save(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
        typer.echo(path)


def _seeds(seeds: Sequence[int] | None, count: int | None) -> list[int]:
    seeds = list(seeds or [42])
    if count is not None:
        if count < 1 or len(seeds) > 1:
            raise UserError("--count is at least 1, and goes with a single --seed; or give every --seed yourself.")
        seeds = list(range(seeds[0], seeds[0] + count))
    wrong = [seed for seed in seeds if not 0 <= seed < 2**63]
    if wrong:
        raise UserError(f"--seed {wrong[0]}: a seed is a whole number from 0 to 2^63 - 1.")
    return seeds


def _targets(output: Path, count: int, force: bool) -> list[Path]:
    if output.suffix.lower() != ".png":
        raise UserError(f"-o {output}: pictures are written as PNG; give a name that ends in .png.")
    if not output.parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}; make it first, or choose another.")
    paths = [output.with_name(f"{output.stem}-{i}{output.suffix}") for i in range(count)] if count > 1 else [output]
    folders = [path for path in paths if path.is_dir()]
    if folders:
        raise UserError(f"{folders[0]} is a folder; choose another name.")
    there = [path for path in paths if path.exists()]
    if there and not force:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise UserError(f"{there[0]} exists{more}. Choose another name, or add --force to overwrite.")
    return paths


def _size(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if found is None:
        raise UserError(f"--size {size}: write width and height in pixels, as 512x768.")
    width, height = int(found[1]), int(found[2])
    # Below 64 pixels some models have less than one latent left at their coarsest level.
    if width % 8 or height % 8 or min(width, height) < 64:
        raise UserError(f"--size {size}: width and height must be multiples of 8, and at least 64.")
    return width, height


def _asked(order: Sequence[str], values: dict[str, list[Any]]) -> list[Asked]:
    """Pair each file with the action that was written after it."""
    left = {name: iter(found) for name, found in values.items()}
    groups: list[dict[str, Any]] = []
    for name in order:
        option = "--" + name.replace("_", "-")
        if name == "vectors":
            groups.append({})
        elif not groups:
            raise UserError(f"{option} stands before any --vectors; write --vectors FILE {option} ...")
        elif name in groups[-1]:
            raise UserError(
                f"{option} is given twice for {groups[-1]['vectors']}; give --vectors again for a second edit."
            )
        groups[-1][name] = next(left[name])
    return [_paired(group) for group in groups]


def _paired(group: dict[str, Any]) -> Asked:
    file = group["vectors"]
    actions = [name for name in _ACTIONS if name in group]
    if not actions:
        raise UserError(f"--vectors {file} has no action; let --add 10, --erase 1 or --replace-by FILE follow it.")
    if len(actions) > 1:
        both = " and ".join(_ACTIONS[name] for name in actions)
        raise UserError(f"--vectors {file} has {both}; for two edits, give --vectors again before the second.")
    (action,) = actions
    if action != "replace_by" and "strength" in group:
        raise UserError(f"--strength is for --replace-by; write the strength after {_ACTIONS[action]} itself.")
    strength = group.get("strength", 1.0) if action == "replace_by" else group[action]
    if not math.isfinite(strength):
        raise UserError(f"The strength {strength} of {file} is not a finite number.")
    return Asked(file, action, strength, group.get("replace_by"))


def _recipe(
    places: str | None,
    window: str | None,
    branch: str | None,
    bound: str | None,
    units: str | None,
    gate: float | None,
    gate_at: str | None,
    gate_until: int | None,
    two_sided: bool,
    centred: bool,
) -> dict[str, Any]:
    """The settings that were given, by their names in AttentionRecipe."""
    recipe: dict[str, Any] = {}
    if places is not None:
        recipe["places"] = tuple(place.strip() for place in places.split(","))
    if window is not None:
        found = re.fullmatch(r"(\d+)-(\d+)", window)
        if found is None:
            raise UserError(f"--window {window}: write the first and the last step, from 0, as 0-10.")
        recipe["window"] = (int(found[1]), int(found[2]))
    if branch is not None:
        recipe["branch"] = _one_of("--branch", branch, ("cond", "uncond", "both", "opposed"))
    if units is not None:
        recipe["units"] = _one_of("--units", units, ("unit", "raw", "relative", "seed000"))
    if bound is not None:
        recipe["bound"] = bound if bound in ("norm", "none") else _share(bound)
    if gate is not None:
        if not math.isfinite(gate):
            raise UserError(f"--gate {gate}: give a finite number, such as 0.5.")
        recipe["gate"] = gate
    if gate_at is not None:
        if gate is None:
            raise UserError(f"--gate-at {gate_at} says where --gate is measured; give --gate too, such as 0.75.")
        recipe["gate_at"] = gate_at
    if gate_until is not None:
        if gate_at is None or gate_until < 0:
            raise UserError(f"--gate-until {gate_until}: give a step, 0 or later, and --gate-at the block to look at.")
        recipe["gate_until"] = gate_until
    return recipe | ({"two_sided": True} if two_sided else {}) | ({"centred": True} if centred else {})


def _one_of(option: str, given: str, choices: Sequence[str]) -> str:
    if given not in choices:
        raise UserError(f"{option} {given} does not exist; choose one of {', '.join(choices)}.")
    return given


def _share(bound: str) -> float:
    try:
        share = float(bound)
    except ValueError:
        share = math.nan
    if not (math.isfinite(share) and share > 0):
        raise UserError(f"--bound {bound}: give norm, none, or a share of the token's norm above 0, such as 0.3.")
    return share


def _check_recipe(recipe: dict[str, Any], layers: str | None, asked: Sequence[Asked]) -> None:
    """Refuse settings that nothing would use."""
    if (recipe or layers is not None) and not asked:
        raise UserError("Settings of an edit are given, but no --vectors; without vectors the picture is plain.")
    actions = {one.action for one in asked}
    needs = {"units": {"add"}, "two_sided": {"erase"}, "centred": {"erase", "replace_by"}}
    for name, useful in needs.items():
        if name in recipe and not useful & actions:
            means = " and ".join(_ACTIONS[action] for action in sorted(useful))
            raise UserError(f"--{name.replace('_', '-')} is for {means}, which is not asked for; leave it away.")


def _layers(layers: str | None) -> tuple[int, ...] | None:
    if layers is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", layers):
        raise UserError(f"--layers {layers}: write numbers of layers with commas between them, as 0,6.")
    return tuple(int(layer) for layer in layers.split(","))


def _changes(asked: Sequence[Asked], recipe: dict[str, Any], layers: tuple[int, ...] | None) -> list[Change]:
    """What the library makes of it. Settings hold for all vectors that they fit; none may fit no vectors."""
    from steerkit.steering.pictures import is_for_text
    from steerkit.vectors.vectors_file import load_vectors

    opened = [load_vectors(one.file) for one in asked]
    for_text = [is_for_text(vectors) for vectors in opened]
    if layers is not None and not any(for_text):
        raise UserError("--layers is for vectors of the text encoder, but these are for the UNet; use --places.")
    foreign = sorted(set(recipe) - _FOR_TEXT)
    if foreign and all(for_text):
        named = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UserError(f"{named}: this is for vectors of the UNet, but these are for the text encoder; leave it away.")
    return [
        _text_change(one, vectors, {name: recipe[name] for name in recipe if name in _FOR_TEXT}, layers)
        if text
        else _attention_change(one, recipe)
        for one, vectors, text in zip(asked, opened, for_text, strict=True)
    ]


def _text_change(
    one: Asked, vectors: SteeringVectors, recipe: dict[str, Any], layers: tuple[int, ...] | None
) -> Change:
    from steerkit.steering.pictures import add_to_text
    from steerkit.vectors.steering_vectors import layer_number

    if one.action != "add":
        raise UserError(f"{one.file} is for the text encoder, where vectors can only be added: use --add.")
    if layers is None:
        known = {number for point in vectors.hookpoints if (number := layer_number(point)) is not None}
        choices = ", ".join(map(str, sorted(known)))
        raise UserError(f"{one.file} is for the text encoder; choose --layers among {choices}.")
    return add_to_text(one.file, one.strength, layers=layers, **recipe)


def _attention_change(one: Asked, recipe: dict[str, Any]) -> Change:
    from steerkit.steering import pictures

    match one.action:
        case "add":
            return pictures.add(one.file, one.strength, **recipe)
        case "erase":
            return pictures.erase(one.file, one.strength, **recipe)
        case _:
            assert one.target is not None, "parsed together with the action"
            return pictures.replace(one.file, one.target, one.strength, **recipe)
