"""The cards of latents: top pictures, heat maps over them and over denoising steps, density and scores."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from PIL import Image

from steerwright.report.attention.tables import slug
from steerwright.report.html.overlays import grey_overlay, png, shown_steps, strip
from steerwright.report.html.page import SMALL, Html, el, picture
from steerwright.report.html.theme import DASH, THIN, decimal
from steerwright.report.latents.content import LatentCard, TopPicture, concept_name

WIDTH, HEIGHT = 300, 72
COLOURS = ("adaptive", "random", "fixed", "prompt")


def card_id(card: LatentCard) -> str:
    """What links lead to: `latent-mid-17`."""
    return f"latent-{slug(card.sae)}-{card.latent}"


def card_html(card: LatentCard) -> Html:
    """One card; the heat of all its maps is on one scale, from 0 to its largest activation."""
    top = max((float(one.maps.max()) for one in card.top), default=0.0)
    title = el("h4", f"Latent {card.latent}", el("small", f"{concept_name(card.concept)}, {card.sae}"))
    facts = {"Density": density(card.density)} | {name: decimal(value, 2) for name, value in card.scores.items()}
    numbers = el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts.items()), class_="facts")
    shown = [_top(one, top) for one in card.top]
    parts = [title, numbers, el("div", *shown, class_="tops")]
    if card.top and len(card.steps) > 1:
        parts.append(_strip(card, top))
    if any(card.by_step.values()) and len(card.steps) > 1:
        parts.append(_sparkline(card))
    return el("li", *parts, id=card_id(card))


def density(value: float | None) -> str:
    """A share of tokens in per cent, with as many places as it needs."""
    if value is None:
        return DASH
    return f"{100 * value:.2g}{THIN}%" if value < 0.1 else f"{100 * value:.0f}{THIN}%"


def cards_table(cards: Sequence[LatentCard]) -> pl.DataFrame:
    """What the cards show, one row for each top picture and step: the mean and the largest activation of its tokens."""
    rows = [
        {"sae": card.sae, "latent": card.latent, "concept": card.concept, "density": card.density, "rank": rank,
         "prompt": one.prompt, "seed": one.seed, "activation": one.activation, "step": step,
         "mean": float(values.mean()), "largest": float(values.max())}
        for card in cards for rank, one in enumerate(card.top, 1)
        for step, values in zip(card.steps, one.maps, strict=True)
    ]  # fmt: skip
    schema = {"sae": pl.String, "latent": pl.Int64, "concept": pl.String, "density": pl.Float64, "rank": pl.Int64,
              "prompt": pl.String, "seed": pl.Int64, "activation": pl.Float64, "step": pl.Int64, "mean": pl.Float64,
              "largest": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _top(one: TopPicture, top: float) -> Html:
    source, size = picture(one.path)
    small = "small" if max(size) <= SMALL else None
    with Image.open(one.path) as opened:
        covered = grey_overlay(opened, one.maps.max(0), top)
    plain = el("img", src=source, width=size[0], height=size[1], class_=small, alt=one.prompt, loading="lazy")
    heated = el("img", src=png(covered), width=covered.width, height=covered.height, class_=small, loading="lazy",
                alt=f"Where it is active: {one.prompt}")  # fmt: skip
    return el("figure", plain, heated, el("figcaption", el("b", decimal(one.activation, 2)), " ", one.prompt))


def _strip(card: LatentCard, top: float) -> Html:
    places = shown_steps(card.steps)
    image = strip(np.asarray(card.top[0].maps)[places], top)
    names = [el("span", str(card.steps[place])) for place in places]
    alt = f"Activations of latent {card.latent} on the first picture at steps {card.steps[0]} to {card.steps[-1]}"
    shown = el("img", src=png(image), width=image.width, height=image.height, class_="strip", alt=alt, loading="lazy")
    return el("figure", shown, el("div", *names, class_="steps", aria_hidden="true"),
              el("figcaption", "The first picture's tokens, by denoising step"), class_="by-step")  # fmt: skip


def _sparkline(card: LatentCard) -> Html:
    """Mean activation over steps, a line for each group of pictures; its scale is the largest value."""
    largest = max((max(values) for values in card.by_step.values() if len(values)), default=0.0) or 1.0
    first, last = min(card.steps), max(card.steps)
    lines: list[str] = []
    keys: list[Html] = []
    for (name, values), shade in zip(card.by_step.items(), COLOURS, strict=False):
        points = [
            (WIDTH * (step - first) / (last - first), HEIGHT - 4 - (HEIGHT - 8) * max(value, 0.0) / largest)
            for step, value in zip(card.steps, values, strict=True)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if keys else ""
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="var(--{shade})" stroke-width="2" '
            f'vector-effect="non-scaling-stroke"{dashes}/>'
        )
        swatch = el("span", class_="key", style=f"background:var(--{shade})", aria_hidden="true")
        keys.append(el("span", swatch, name))
    base = f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT - 4}" y2="{HEIGHT - 4}" stroke="var(--rule)"/>'
    opened = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="spark" preserveAspectRatio="none" aria-hidden="true">'
    drawn = f"{opened}{base}{''.join(lines)}</svg>"
    caption = el("figcaption", "Mean activation by step, at most ", decimal(largest, 3), "; ", *_spaced(keys))
    return el("figure", Html(drawn), caption, class_="by-step")


def _spaced(parts: Sequence[Html]) -> list[str]:
    found: list[str] = [*parts[:1]]
    for _, part in pairwise(parts):
        found += [" ", part]
    return found


def by_concept(cards: Sequence[LatentCard]) -> Mapping[str, list[LatentCard]]:
    """The cards of each concept, in order of first appearance."""
    found: dict[str, list[LatentCard]] = {}
    for card in cards:
        found.setdefault(card.concept, []).append(card)
    return found
