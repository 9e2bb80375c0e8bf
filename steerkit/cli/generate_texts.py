"""What `steerkit generate` does with a language model: the text as it would be, and as it is when steered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from steerkit.cli.vector_actions import bound_share, one_of, read_actions, read_layers, read_seeds
from steerkit.errors import UserError

if TYPE_CHECKING:
    from steerkit.models.language.load import LanguageModel
    from steerkit.steering.edit import Edit
    from steerkit.vectors.steering_vectors import SteeringVectors


def generate_texts(asked: Mapping[str, Any], order: Sequence[str]) -> None:
    """Print a text for each prompt and seed, and with --vectors the steered one under it, of the same seed.

    `asked` are the options by name, `order` how --vectors and their actions were written.
    """
    from steerkit.cli.model_choice import choose_language_model
    from steerkit.models.language.generate import Sampling, complete
    from steerkit.models.language.load import load_or_fall_back

    options = {"max_new_tokens": "tokens", "temperature": "temperature", "top_p": "top_p"}
    sampling = Sampling(**{field: asked[name] for field, name in options.items() if asked[name] is not None})
    layers, seeds = read_layers(asked["layers"]), read_seeds(asked["seed"], asked["count"])
    _check(asked, layers)
    if asked["mix"] is None:
        read_actions(order, asked)  # before the model is loaded: whoever mistypes hears so at once
    chat_settings = _chat_settings(asked)
    spec, models = choose_language_model(asked["model"])
    # Whatever it falls back to is asked in the same way.
    models = {name: {**entry, **chat_settings} if entry.get("family") == "language" else entry
              for name, entry in models.items()}  # fmt: skip
    spec = spec.model_copy(update=chat_settings)
    loaded = load_or_fall_back(spec, models, lambda words: typer.echo(f"steerkit: {words}", err=True))
    edits = _edits(asked, order, layers or (), loaded)
    prompts = [prompt for prompt in asked["prompt"] for _ in seeds]
    each = seeds * len(asked["prompt"])
    chat = False if asked["raw"] else None
    plain = complete(loaded, prompts, each, sampling, chat=chat)
    steered = complete(loaded, prompts, each, sampling, edits, chat=chat) if edits else None
    for index, one in enumerate(plain):
        typer.echo(("\n" if index else "") + f"{one.prompt}  (seed {one.seed})")
        if steered is None:
            typer.echo(one.text.strip())
            continue
        typer.echo(f"  unsteered: {one.text.strip()}")
        typer.echo(f"  steered:   {steered[index].text.strip()}")


def _chat_settings(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say in place of the model's entry of its system turn and its template's arguments."""
    found: dict[str, Any] = {} if asked["system"] is None else {"system": asked["system"]}
    for one in asked["template"] or []:
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--template {one!r}: write NAME=VALUE, as enable_thinking=false.")
        try:
            found.setdefault("template", {})[name] = json.loads(value)
        except ValueError:
            found.setdefault("template", {})[name] = value  # a word, which JSON would want in quotes
    if found and asked["raw"]:
        raise UserError("--raw continues the prompt without a chat template; leave it or --system and --template away.")
    return found


def _check(asked: Mapping[str, Any], layers: tuple[int, ...] | None) -> None:
    """Refuse what does not go together."""
    if not asked["vectors"]:
        for name in ("add", "erase", "mix", "layers", "units", "bound", "on"):
            if asked[name]:
                raise UserError(f"--{name} is given, but no --vectors; without vectors the text is plain.")
    elif layers is None:
        raise UserError("Choose where to steer with --layer, as --layer 4; `steerkit vectors inspect FILE` lists them.")
    if asked["mix"] is not None and (len(asked["add"] or []) != 1 or asked["erase"]):
        raise UserError("--mix makes one concept of all --vectors; write one --add STRENGTH with it, and no --erase.")


def _edits(asked: Mapping[str, Any], order: Sequence[str], layers: tuple[int, ...], model: LanguageModel) -> list[Edit]:
    from steerkit.steering.language.text_edits import text_edits
    from steerkit.steering.language.turns import Turns
    from steerkit.vectors.mixing import mix, parse_mix, takes_turns

    settings: dict[str, Any] = {
        "units": one_of("--units", asked["units"] or "relative", ("unit", "raw", "relative")),
        "tokens": asked["on"] or "last",
        "bound": _bound(asked["bound"]),
        "model": model,
    }
    if asked["mix"] is not None:
        weights = parse_mix(asked["mix"])
        parts = {found.concept: found for found in (_open(file, model) for file in asked["vectors"])}
        if takes_turns(asked["mix"]):
            if asked["on"] is not None:
                raise UserError("--on does not go with concepts that take turns: each steers sentences of its own.")
            return Turns(parts, weights).edits(
                layers, asked["add"][0], units=settings["units"], bound=settings["bound"]
            )
        return text_edits(mix(parts, weights), layers, asked["add"][0], **settings)
    edits: list[Edit] = []
    for one in read_actions(order, asked):
        action: Literal["add", "remove"] = "add" if one.action == "add" else "remove"
        edits += text_edits(_open(one.file, model), layers, one.strength, action=action, **settings)
    return edits


def _open(file: Path, model: LanguageModel) -> SteeringVectors:
    from steerkit.vectors.vectors_file import load_vectors

    return load_vectors(file, model.fingerprint)


def _bound(bound: str | None) -> str:
    if bound in (None, "none"):
        return "none"
    return "keep" if bound == "norm" else f"cap:{bound_share(bound or '')}"
