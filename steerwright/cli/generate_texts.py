"""What `steerwright generate` does with a language model: the text as it would be, and as it is when steered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from steerwright.arguments import bound_words
from steerwright.cli.choices import (
    AskedChange,
    one_of,
    option,
    read_actions,
    read_layers,
    read_mix,
    read_seeds,
)
from steerwright.errors import UserError
from steerwright.steering.idle_settings import check_given, misplaced

if TYPE_CHECKING:
    from steerwright.models.language.load import LanguageModel
    from steerwright.steering.algebra import Edit
    from steerwright.steering.language.generate import Sampling
    from steerwright.vectors.steering_vectors import SteeringVectors


def generate_texts(asked: Mapping[str, Any], order: Sequence[str]) -> None:
    """Print a text for each prompt and seed, and with --vectors the steered one under it, of the same seed.

    `asked` are the options by name, `order` how --vectors and their actions were written.
    """
    from steerwright.cli.choices import choose_language_model
    from steerwright.models.language.load import load_or_fall_back
    from steerwright.steering.language.generate import Sampling, complete

    options = {"max_new_tokens": "tokens", "temperature": "temperature", "top_p": "top_p"}
    sampling = Sampling(**{field: asked[name] for field, name in options.items() if asked[name] is not None})
    seeds = read_seeds(asked["seed"], asked["count"])
    _check(asked)
    _check_greedy(asked, sampling, seeds)
    # Before the model is loaded, so that a mistyped option is refused at once.
    settings = [read_mix(order, asked)] if asked["mix"] is not None else _settings(read_actions(order, asked))
    for found in settings:
        read_layers(found.get("layers"))
        _algebra(found)
        if found.get("on") == "generated" and sampling.max_new_tokens == 1:
            raise UserError("--on generated: with --tokens 1 no written token is read again, so nothing would change.")
    chat_settings = _chat_settings(asked)
    spec, models = choose_language_model(asked["model"])
    # Whatever it falls back to is asked in the same way.
    models = {name: {**entry, **chat_settings} if entry.get("family") == "language" else entry
              for name, entry in models.items()}  # fmt: skip
    spec = spec.model_copy(update=chat_settings)
    loaded = load_or_fall_back(spec, models, lambda words: typer.echo(f"steerwright: {words}", err=True))
    edits = _mixed(asked, settings[0], loaded) if asked["mix"] is not None else _edits(
        read_actions(order, asked), settings, loaded
    )  # fmt: skip
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
        raise UserError("--raw continues the prompt without a chat template; leave it or --system and --template out.")
    return found


def _check(asked: Mapping[str, Any]) -> None:
    """Refuse what does not go together."""
    if not asked["vectors"]:
        for name in ("add", "erase", "mix", "layers", "units", "bound", "on"):
            if asked[name]:
                raise UserError(f"--{name} is given, but no --vectors; without vectors the text is plain.")
    if asked["mix"] is not None and (len(asked["add"] or []) != 1 or asked["erase"]):
        raise UserError("--mix makes one concept of all --vectors; write one --add STRENGTH with it, and no --erase.")


def _check_greedy(asked: Mapping[str, Any], sampling: Sampling, seeds: Sequence[int]) -> None:
    """Refuse what greedy decoding makes nothing of, and say that a seed is nothing to it."""
    if sampling.temperature != 0:
        return
    if len(seeds) > 1:
        raise UserError(
            f"--temperature 0 takes the likeliest token each time, so the texts of {len(seeds)} seeds would be one; "
            "give one seed, or a temperature above 0."
        )
    if asked["top_p"] is not None:
        raise UserError("--top-p: --temperature 0 takes the likeliest token each time; leave one of them out.")
    if asked["seed"]:
        typer.echo("steerwright: --temperature 0 takes the likeliest token each time, whatever --seed is.", err=True)


def _settings(edits: Sequence[AskedChange]) -> list[dict[str, Any]]:
    """The settings of each edit: its own, and of those for all what its action uses."""
    actions = {one.action for one in edits}
    found = []
    for one in edits:
        idle = misplaced(actions) & set(one.common)
        check_given({name: one.common[name] for name in idle}, actions, option)
        own = {name: value for name, value in one.common.items() if name not in misplaced([one.action])} | dict(one.own)
        check_given(own, [one.action], option)
        if "layers" not in own:
            raise UserError(
                f"Choose where to steer with --layer, as --layer 4, after --vectors {one.file} or before all vectors; "
                "`steerwright vectors inspect FILE` lists them."
            )
        found.append(own)
    return found


def _algebra(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `text_edits` takes besides the layers."""
    return {
        "units": one_of("--units", settings.get("units", "relative"), ("unit", "raw", "relative")),
        "tokens": settings.get("on", "last"),
        "bound": bound_words(settings.get("bound", "none"), "--bound"),
    }


def _mixed(asked: Mapping[str, Any], settings: Mapping[str, Any], model: LanguageModel) -> list[Edit]:
    """The edits of one concept out of all vectors."""
    from steerwright.steering.language.edits import Alternation, text_edits
    from steerwright.vectors.mixing import mix, parse_mix, takes_turns

    weights = parse_mix(asked["mix"])
    layers = read_layers(settings.get("layers"))
    if layers is None:
        raise UserError(
            "Choose where to steer with --layer, as --layer 4; `steerwright vectors inspect FILE` lists them."
        )
    parts: dict[str, SteeringVectors] = {}
    for file in asked["vectors"]:
        found = _open(file, model)
        if found.concept in parts:
            raise UserError(f"Two --vectors are of the concept {found.concept!r}, so --mix cannot tell them apart.")
        parts[found.concept] = found
    idle = [name for name in parts if name not in weights]
    if idle and set(weights) <= set(parts):
        raise UserError(f"--mix {asked['mix']} says nothing of {', '.join(idle)}; name it, or leave its --vectors out.")
    algebra = _algebra(settings)
    (strength,) = asked["add"]
    if takes_turns(asked["mix"]):
        if "on" in settings:
            raise UserError("--on does not go with concepts that take turns: each steers sentences of its own.")
        return Alternation(parts, weights).edits(layers, strength, units=algebra["units"], bound=algebra["bound"])
    return text_edits(mix(parts, weights), layers, strength, model=model, **algebra)


def _edits(asked: Sequence[AskedChange], settings: Sequence[Mapping[str, Any]], model: LanguageModel) -> list[Edit]:
    """The edits of each --vectors by itself, in the order written."""
    from steerwright.steering.language.edits import text_edits

    edits: list[Edit] = []
    for one, own in zip(asked, settings, strict=True):
        action: Literal["add", "erase"] = "add" if one.action == "add" else "erase"
        layers = read_layers(own["layers"]) or ()
        edits += text_edits(
            _open(one.file, model), layers, one.strength, action=action, model=model, **_algebra(own)
        )  # fmt: skip
    return edits


def _open(file: Path, model: LanguageModel) -> SteeringVectors:
    from steerwright.vectors.formats.vectors_file import load_vectors

    return load_vectors(file, model.fingerprint)
