"""`steerwright generate`: pictures or texts from prompts, plain or steered, by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steerwright.arguments import text_list
from steerwright.cli.choices import InOrder, written_order
from steerwright.errors import UserError

__all__ = ["InOrder", "generate"]

_FOR_PICTURES = {
    "output", "places", "attention", "window", "branch", "gate", "gate_at", "gate_until", "two_sided", "centred",
    "steps", "guidance", "size", "negative", "grid", "force", "replace_by", "strength",
}  # fmt: skip
_FOR_TEXTS = {"mix", "on", "tokens", "temperature", "top_p", "raw", "system", "template"}


def generate(
    context: typer.Context,
    prompt: Annotated[
        list[str],
        typer.Option(metavar="TEXT", help="What to show, or to tell a language model; may be repeated."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PNG", help="Where to write pictures; of several, OUT-0.png, OUT-1.png ..."
        ),
    ] = None,
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
    places: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACES",
            help="down, mid, up or single blocks: up,mid (default: all).",
        ),
    ] = None,
    attention: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help="self, cross or both, where a file has vectors of both kinds (default: both)."
        ),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="FIRST-LAST", help="Denoising steps, from 0, both inside (default: all)."),
    ] = None,
    branch: Annotated[
        list[str] | None,
        typer.Option(metavar="BRANCH", help="cond, uncond, both or opposed (default: both; cond in the text encoder)."),
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOUND",
            help="none, keep_norm, or cap:0.3, the largest change (default: keep_norm; text encoder and texts: none).",
        ),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UNITS",
            help="Of --add: unit, raw or relative (default: unit; text encoder: raw; texts: relative).",
        ),
    ] = None,
    gate: Annotated[
        list[float] | None,
        typer.Option(
            metavar="NUMBER",
            help="Only tokens with more of the concept than this (0: without it, 1: with it).",
        ),
    ] = None,
    gate_at: Annotated[
        list[str] | None,
        typer.Option(
            "--gate-at", metavar="BLOCK", help="With --gate: only pictures whose mean at this block (mid.0) has more."
        ),
    ] = None,
    gate_until: Annotated[
        list[int] | None,
        typer.Option("--gate-until", metavar="STEP", help="With --gate-at: decided at this step, from 0, and held."),
    ] = None,
    two_sided: Annotated[bool, typer.Option("--two-sided", help="Erase what lies on the negative side too.")] = False,
    centred: Annotated[
        bool, typer.Option("--centred", help="Erase and replace from where prompts without the concept are.")
    ] = False,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers",
            "--layer",
            metavar="0,6|0-7",
            help="For vectors of a text encoder or language model: which layers.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps (default: the model's own).")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale (default: the model's own).")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Pixels, multiples of 8 (default: the model's own).")
    ] = None,
    negative: Annotated[str, typer.Option(metavar="TEXT", help="What not to show.")] = "",
    seed: Annotated[
        list[int] | None, typer.Option(metavar="NUMBER", help="Seed of the chance; may be repeated (default: 42).")
    ] = None,
    count: Annotated[int | None, typer.Option(help="So many seeds, from --seed upwards.")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="One picture: a row per prompt, a column per seed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:WEIGHT,...", help="For texts: one concept out of those of all --vectors, then --add how far."
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKENS",
            help="For texts: steer the last token, generated ones, or all (default: last).",
        ),
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="For texts: how many tokens to write (default: 30).")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="For texts: 0 takes the likeliest token each time (default: 0.7).")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="For texts: share of the probability to draw from (default: 0.9).")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="For texts: continue the prompt as it is, without chat.")] = False,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="For texts: what the system turn before each prompt says.")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="For texts: an argument of the chat template, as enable_thinking=false."
        ),
    ] = None,
) -> None:
    """Make pictures or texts: plain ones, or with concepts added, erased or replaced.

    steerwright generate --prompt "a house by a lake" --vectors winter.safetensors --add 10 --places mid,up -o out.png
    steerwright generate --model seasons-lm --prompt "Tell me about the lake." --vectors v.safetensors --add 1 --layer 4

    Actions and their settings (places, layers, units ...) are for the --vectors before them; a setting before all
    --vectors is for each that it fits.
    """
    asked = {name: value for name, value in locals().items() if name != "context"}
    from steerwright.cli.choices import is_language

    language = is_language(model)
    given = {name for name in asked if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    foreign = sorted(given & (_FOR_PICTURES if language else _FOR_TEXTS))
    if foreign:
        named = ", ".join("--" + name.replace("_", "-") for name in foreign)
        kind, other = ("texts", "pictures") if language else ("pictures", "texts")
        raise UserError(f"{named}: this is for {other}, but the model makes {kind}; leave it out.")
    for text in prompt:
        text_list(text, "--prompt")
    if language:
        from steerwright.cli.generate_texts import generate_texts

        generate_texts(asked, written_order(context))
    else:
        from steerwright.cli.generate_pictures import generate_pictures

        generate_pictures(asked, written_order(context))
