"""What `steerwright generate` does with a model that makes pictures."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from steerwright.arguments import bound_words, number, picture_settings, whole
from steerwright.cli.choices import AskedChange, one_of, option, read_actions, read_layers, read_seeds
from steerwright.errors import UserError
from steerwright.steering.idle_settings import check_given, misplaced

if TYPE_CHECKING:
    from steerwright.steering.pictures import Change, Picture
    from steerwright.vectors.steering_vectors import SteeringVectors

# Settings that vectors of the text encoder take.
_FOR_TEXT = {"layers", "branch", "units"}


def generate_pictures(asked: Mapping[str, Any], order: Sequence[str]) -> None:
    """Make what the options `asked` (by name) say; `order` is how --vectors and their actions were written."""
    prompt, steps, guidance = asked["prompt"], asked["steps"], asked["guidance"]
    seeds = read_seeds(asked["seed"], asked["count"])
    targets = _targets(asked["output"], 1 if asked["grid"] else len(prompt) * len(seeds), asked["force"])
    width, height = _size(asked["size"])
    picture_settings(steps=steps, guidance=guidance, height=height, width=width)
    edits = read_actions(order, asked)
    recipes = _recipes(edits)
    from steerwright.cli.choices import choose_model

    spec = choose_model(asked["model"])
    changes = _changes(edits, recipes)

    from steerwright.models.load import load_model
    from steerwright.steering.pictures import as_grid, make_pictures

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
        typer.echo("steerwright: stopped before the pictures were complete; nothing half-written is left.", err=True)
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
    return int(found[1]), int(found[2])


def _recipes(edits: Sequence[AskedChange]) -> list[dict[str, Any]]:
    """The settings of each edit, by their names in AttentionRecipe: its own, and of those for all what its action uses.

    Raises UserError for what cannot be read, and for what would change nothing.
    """
    actions = {_action(one) for one in edits}
    found = []
    for one in edits:
        common, own = _parsed(one.common), _parsed(one.own)
        idle = misplaced(actions) & set(common)
        check_given({name: common[name] for name in idle}, actions, option)
        recipe = {name: value for name, value in common.items() if name not in misplaced([_action(one)])} | own
        check_given(recipe, [_action(one)], option)
        found.append(recipe)
    return found


def _action(one: AskedChange) -> str:
    return "replace" if one.action == "replace_by" else one.action


def _parsed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings say, as AttentionRecipe takes it; layers as numbers."""
    found = dict(settings)
    if "places" in found:
        found["places"] = tuple(place.strip() for place in found["places"].split(","))
    if "attention" in found:
        one_of("--attention", found["attention"], ("self", "cross", "both"))
    if "window" in found:
        written = re.fullmatch(r"(\d+)-(\d+)", found["window"])
        if written is None:
            raise UserError(f"--window {found['window']}: write the first and the last step, from 0, as 0-10.")
        found["window"] = (int(written[1]), int(written[2]))
    if "branch" in found:
        one_of("--branch", found["branch"], ("cond", "uncond", "both", "opposed"))
    if "units" in found:
        one_of("--units", found["units"], ("unit", "raw", "relative", "half_raw"))
    if "bound" in found:
        bound_words(found["bound"], "--bound")
    if "gate" in found:
        number(found["gate"], "--gate", "give a finite number, such as 0.5.")
    if "gate_until" in found:
        whole(found["gate_until"], "--gate-until", 0, "give a step, 0 or later.")
    if "layers" in found:
        found["layers"] = read_layers(found["layers"])
    return found


def _changes(edits: Sequence[AskedChange], recipes: Sequence[dict[str, Any]]) -> list[Change]:
    """What the library makes of it. A setting of one --vectors must fit them; one for all must fit some."""
    from steerwright.steering.pictures import is_for_text
    from steerwright.vectors.formats.vectors_file import load_vectors

    opened = [load_vectors(one.file) for one in edits]
    for_text = [is_for_text(vectors) for vectors in opened]
    changes = []
    for one, recipe, vectors, text in zip(edits, recipes, opened, for_text, strict=True):
        foreign = sorted(name for name in recipe if (name not in _FOR_TEXT if text else name == "layers"))
        # What is written before all vectors may be for the others among them.
        mixed = len(set(for_text)) > 1
        wrong = [name for name in foreign if name in one.own or not mixed]
        if wrong and text:
            named = ", ".join(map(option, wrong))
            kinds = "this is for vectors of the UNet, but these are for the text encoder"
            raise UserError(f"{one.file}: {named}: {kinds}; leave it out.")
        if wrong:
            raise UserError(
                f"{one.file}: --layers is for vectors of the text encoder, but these are for the UNet; use --places."
            )
        recipe = {name: value for name, value in recipe.items() if name not in foreign}
        changes.append(_text_change(one, vectors, recipe) if text else _attention_change(one, recipe))
    return changes


def _text_change(one: AskedChange, vectors: SteeringVectors, recipe: dict[str, Any]) -> Change:
    from steerwright.steering.pictures import add_to_text
    from steerwright.vectors.steering_vectors import layer_number

    if one.action != "add":
        raise UserError(f"{one.file} is for the text encoder, where vectors can only be added: use --add.")
    if "layers" not in recipe:
        known = {layer for point in vectors.hookpoints if (layer := layer_number(point)) is not None}
        choices = ", ".join(map(str, sorted(known)))
        raise UserError(
            f"{one.file} is for the text encoder; choose --layers among {choices}, after its --vectors, or before all."
        )
    return add_to_text(one.file, one.strength, **recipe)


def _attention_change(one: AskedChange, recipe: dict[str, Any]) -> Change:
    from steerwright.steering import pictures

    match one.action:
        case "add":
            return pictures.add(one.file, one.strength, **recipe)
        case "erase":
            return pictures.erase(one.file, one.strength, **recipe)
        case _:
            assert one.target is not None, "parsed together with the action"
            return pictures.replace(one.file, one.target, one.strength, **recipe)
