"""What `steerkit generate` does with a model that makes pictures."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from steerkit.cli.vector_actions import ACTIONS, Asked, bound_share, one_of, read_actions, read_layers, read_seeds
from steerkit.errors import UserError

if TYPE_CHECKING:
    from steerkit.steering.pictures import Change, Picture
    from steerkit.vectors.steering_vectors import SteeringVectors

# Settings that vectors of the text encoder take as well.
_FOR_TEXT = {"branch", "units"}
_RECIPE = (
    "places", "attention", "window", "branch", "bound", "units", "gate", "gate_at", "gate_until", "two_sided",
    "centred",
)  # fmt: skip


def generate_pictures(asked: Mapping[str, Any], order: Sequence[str]) -> None:
    """Make what the options `asked` (by name) say; `order` is how --vectors and their actions were written."""
    prompt, steps, guidance = asked["prompt"], asked["steps"], asked["guidance"]
    seeds = read_seeds(asked["seed"], asked["count"])
    targets = _targets(asked["output"], 1 if asked["grid"] else len(prompt) * len(seeds), asked["force"])
    width, height = _size(asked["size"])
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: a picture takes at least 1 step.")
    if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
        raise UserError(f"--guidance {guidance}: give a number that is not negative; 1 or less runs no guidance.")
    edits = read_actions(order, asked)
    recipe = _recipe(*(asked[name] for name in _RECIPE))
    _check_recipe(recipe, asked["layers"], edits)
    from steerkit.cli.model_choice import choose_model

    spec = choose_model(asked["model"])
    changes = _changes(edits, recipe, read_layers(asked["layers"]))

    from steerkit.models.load import load_model
    from steerkit.steering.pictures import as_grid, make_pictures

    try:
        loaded = load_model(spec)
        loaded.pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())
        pictures = make_pictures(
            loaded, prompt, seeds, changes, negative_prompt=asked["negative"], steps=steps, guidance=guidance,
            height=height, width=width,
        )  # fmt: skip
        if asked["grid"]:
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


def _targets(output: Path | None, count: int, force: bool) -> list[Path]:
    if output is None:
        raise UserError("-o is missing: say where to write the picture, as -o out.png.")
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


def _recipe(
    places: str | None,
    attention: str | None,
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
    if attention is not None:
        recipe["attention"] = one_of("--attention", attention, ("self", "cross", "both"))
    if window is not None:
        found = re.fullmatch(r"(\d+)-(\d+)", window)
        if found is None:
            raise UserError(f"--window {window}: write the first and the last step, from 0, as 0-10.")
        recipe["window"] = (int(found[1]), int(found[2]))
    if branch is not None:
        recipe["branch"] = one_of("--branch", branch, ("cond", "uncond", "both", "opposed"))
    if units is not None:
        recipe["units"] = one_of("--units", units, ("unit", "raw", "relative", "seed000"))
    if bound is not None:
        recipe["bound"] = bound if bound in ("norm", "none") else bound_share(bound)
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


def _check_recipe(recipe: dict[str, Any], layers: str | None, asked: Sequence[Asked]) -> None:
    """Refuse settings that nothing would use."""
    if (recipe or layers is not None) and not asked:
        raise UserError("Settings of an edit are given, but no --vectors; without vectors the picture is plain.")
    actions = {one.action for one in asked}
    needs = {"units": {"add"}, "two_sided": {"erase"}, "centred": {"erase", "replace_by"}}
    for name, useful in needs.items():
        if name in recipe and not useful & actions:
            means = " and ".join(ACTIONS[action] for action in sorted(useful))
            raise UserError(f"--{name.replace('_', '-')} is for {means}, which is not asked for; leave it away.")


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
