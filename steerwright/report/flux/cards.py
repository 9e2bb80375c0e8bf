"""The cards of features: pictures with their heat, what steering does, every number with what it means."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from steerwright.report.flux.features import Example, Feature, clear_label, feature_key, seen_of, value_name
from steerwright.report.flux.report_folder import Pictures
from steerwright.report.flux.statistics import Ends
from steerwright.report.flux.words import between, chip, density, points_between
from steerwright.report.html.labelled_grid import signed
from steerwright.report.html.overlays import SCALE
from steerwright.report.html.page import Html, el
from steerwright.report.html.theme import decimal, percent

NEIGHBOURS, HIGHEST = 5, 4


def card(feature: Feature, pictures: Pictures, place: int, end: Ends | None, named: Mapping[str, str]) -> Html:
    """The card as an item of the gallery's list. `named`: key of a selected feature -> its label, for links to it."""
    where = f"rank {feature.selected['rank']}" if feature.chosen else "not selected, steered for its label"
    title = el("h3", f"Latent {feature.latent}", el("small", f"layer {feature.layer.name}, {where}"), _label(feature))
    parts = [
        _pairs(feature, pictures), _range(feature, pictures), _strip(feature, pictures), _told(feature, end),
        _top(feature, pictures), _neighbours(feature, named),
    ]  # fmt: skip
    return el("li", title, *parts, id=feature.key, **_data(feature, place))


def _data(feature: Feature, place: int) -> dict[str, str]:
    """What the controls sort and filter by; a number that is not known is an empty text."""
    label = feature.label
    words = [str(feature.latent), feature.layer.name, feature.value, *(one.prompt for one in feature.examples)]
    told: dict[str, Any] = {
        "place": place, "rank": feature.selected["rank"], "latent": feature.latent, "layer": feature.layer.name,
        "z": feature.selected["z"], "coherence": feature.selected["coherence"], "auroc": label.get("auroc"),
        "density": feature.statistics.get("frequency"), "bin": feature.statistics.get("bin"),
        "label": label.get("label"), "value": feature.value or None,
        "kind": "selected" if feature.chosen else "steered", "text": " ".join(words).lower(),
    }  # fmt: skip
    return {f"data_{name}": "" if value is None else f"{value}" for name, value in told.items()}


def _label(feature: Feature) -> Html:
    if not feature.value:
        return el("span", "no known label", class_="chip")
    if feature.interpretable:
        return chip(feature.label["label"], feature.value)
    return el("span", "no clear label", el("small", f" closest: {feature.value}"), class_="chip")


def _told(feature: Feature, end: Ends | None) -> Html:
    items = [*_about_label(feature), *_about_coherence(feature), *_about_activity(feature), *_about_peak(feature)]
    if end is not None:
        items.append((
            "Steering",
            f"{percent(end.rate_minus)} at {signed(end.minus)}, {percent(end.rate_plus)} at {signed(end.plus)}",
            f"of pictures show {feature.label['value']}; difference {points_between(end.low, end.high)}",
        ))  # fmt: skip
    items += _about_decoder(feature)
    parts = [el("div", el("dt", name), el("dd", value, el("small", words))) for name, value, words in items]
    return el("dl", *parts, _histogram(feature), class_="told")


Told = Iterable[tuple[str, str, str]]


def _about_label(feature: Feature) -> Told:
    label = feature.label
    if label.get("auroc") is None:
        return
    interval = between(label.get("low"), label.get("high"))
    words = f"of its score for pictures that show {label['value']} (0.5: none, 1: perfect)"
    if label.get("chance") is not None:
        words += f"; at most {decimal(label['chance'], 2)} with the pictures shuffled"
    if label.get("second_value") is not None:
        words += f"; next best {label['second_label']}: {label['second_value']}, {decimal(label['second_auroc'], 2)}"
    yield "Match with its label", f"AUROC {decimal(label['auroc'], 2)}" + (f" ({interval})" if interval else ""), words


def _about_coherence(feature: Feature) -> Told:
    row = {**feature.selected, **{k: v for k, v in feature.coherence.items() if v is not None}}
    words = "mean cosine between the CLIP embeddings of its top pictures from distinct prompts"
    if row["coherence"] is None:
        return
    if row.get("null_mean") is not None:
        words += f"; random pictures: {decimal(row['null_mean'], 2)}"
        if interval := between(row.get("null_low"), row.get("null_high")):
            words += f" ({interval})"
    value = decimal(row["coherence"], 2)
    yield "Coherence", value if row["z"] is None else f"{value}, z = {decimal(row['z'], 1)}", words


def _about_activity(feature: Feature) -> Told:
    row = feature.statistics
    if row.get("frequency") is None:
        return
    yield "Density", density(row["frequency"]), f"of pictures make it active ({row['bin']})"
    words = f"largest; mean {decimal(row['mean'], 3)} over all pictures, each by its most active token"
    yield "Activation", decimal(row["largest"], 2), words


def _about_peak(feature: Feature) -> Told:
    row = feature.label
    if row.get("pointing") is None:
        return
    words = f"of its maps peak on the {row['region']}; a random place: {percent(row['base_rate'])}"
    if row.get("energy") is not None:
        words += f"; {percent(row['energy'])} of its activation lies there"
    yield "Where it peaks", percent(row["pointing"]), words


def _about_decoder(feature: Feature) -> Told:
    row = feature.decoder
    if row.get("norm") is None:
        return
    words = "cosine between the direction that it reads and the one that it writes"
    yield "Encoder and decoder", decimal(row["encoder_decoder_cosine"], 2), f"{words}; norm {decimal(row['norm'], 2)}"


def _histogram(feature: Feature) -> Html:
    rows = feature.distribution
    most = max((row["images"] for row in rows), default=0)
    if not most:
        return Html("")
    bars = [
        f'<rect x="{place + 0.08:g}" y="{40 - 38 * row["images"] / most:.2f}" width="0.84" '
        f'height="{38 * row["images"] / most:.2f}"/>'
        for place, row in enumerate(rows)
    ]
    line = f'<line x1="0" x2="{len(rows)}" y1="40" y2="40" stroke="var(--muted)" vector-effect="non-scaling-stroke"/>'
    svg = (
        f'<svg viewBox="0 0 {len(rows)} 40" class="bars" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(bars)}{line}</svg>"
    )
    total = sum(row["images"] for row in rows)
    caption = (
        f"scores of the {total} pictures that make it active, 0 to {decimal(rows[-1]['high'], 2)}; the tallest bar is "
        f"{most} pictures"
    )
    return el("div", el("dt", "Distribution"), el("dd", Html(svg), el("small", caption)))


def _neighbours(feature: Feature, named: Mapping[str, str]) -> Html:
    row = feature.decoder
    near = list(zip(row.get("neighbours") or [], row.get("neighbour_cosines") or [], strict=False))[:NEIGHBOURS]
    if not near:
        return Html("")
    latents = [latent for latent, _ in near]
    told = feature.layer.labels.filter(pl.col("latent").is_in(latents)).iter_rows(named=True)
    values = {one["latent"]: value_name(one) for one in told if clear_label(one, feature.threshold)}
    items = []
    for latent, cosine in near:
        key = feature_key(feature.layer.name, latent)
        name: Html | str = el("a", f"{latent}", href=f"index.html#{key}") if key in named else f"{latent}"
        text = f" {values[latent]}" if values.get(latent) else ""
        items.append(el("li", name, f", cosine {decimal(cosine, 2)}{',' if text else ''}{text}"))
    return el("details", el("summary", "Nearest decoder directions"), el("ul", *items, class_="near"))


def _pairs(feature: Feature, pictures: Pictures) -> Html:
    if not feature.examples:
        return Html("")
    shown = [_pair(one, pictures, feature.latent) for one in feature.examples]
    scale: list[Html | str] = []
    if feature.limit is not None:
        swatch = f"background:linear-gradient(90deg,{','.join(SCALE)})"
        scale = [", from 0 ", el("span", class_="scale", style=swatch, aria_hidden="true"),
                 f" to {decimal(feature.limit, 2)} and more"]  # fmt: skip
    text = el("p", "Examples with their heat", *scale, ". Bold: the picture's largest activation.")
    return el("div", text, el("div", *shown, class_="pairs-of"), class_="card-part")


def _pair(one: Example, pictures: Pictures, latent: int) -> Html:
    value = one.most if one.most is not None else one.score
    caption = el("figcaption", el("b", decimal(value, 2)), " ", one.prompt)
    return el(
        "figure", pictures.image(one.picture, one.prompt),
        pictures.image(one.overlay, f"Where latent {latent} is active: {one.prompt}", "no overlay"), caption,
    )  # fmt: skip


def _strip(feature: Feature, pictures: Pictures) -> Html:
    """The first prompt of the steered pictures (added direction), or else of the grids, strength by strength."""
    layer = feature.layer
    for table, folder, page in (
        (layer.steering.filter(latent=feature.latent, mode="add"), layer.steering_folder, "steering.html"),
        (layer.grids.filter(latent=feature.latent), layer.grid_folder, "demos.html"),
    ):
        if table.height:
            prompt, seed = table["prompt"][0], table["seed"][0]
            rows = table.filter(prompt=prompt, seed=seed).unique("strength", maintain_order=True).sort("strength")
            link = el("a", "All steered pictures", href=f"{page}#{feature.key}")
            words = f"Steered, “{prompt}”: its direction is added at each strength, in units of the mean norm there. "
            text = el("p", words, link, ".")
            cells = steered_strip(rows.to_dicts(), folder, pictures, feature.wanted, prompt)
            return el("div", text, cells, class_="card-part")
    return el("div", el("p", f"It was not steered. {layer.why_empty.get('steering', '')}"), class_="card-part")


def steered_strip(
    rows: Sequence[Mapping[str, Any]], folder: Any, pictures: Pictures, wanted: tuple[str, str] | None, prompt: str
) -> Html:
    """Pictures side by side, the strength under each with what the judge sees; one that was not made says so."""
    shown = []
    for row in rows:
        strength = float(row["strength"])
        path = folder / row["file"] if row["file"] is not None else None
        image = pictures.image(path, f"{prompt}, strength {signed(strength)}", "not made")
        seen = str(row.get(wanted[0]) or "") if wanted else ", ".join(seen_of(row)[:1])
        mark = el("span", seen, class_="shows" if wanted and seen == wanted[1] else None)
        caption = el("figcaption", signed(strength) if strength else "unsteered", " ", el("br"), mark)
        shown.append(el("figure", image, caption, class_=None if strength else "unsteered"))
    return el("div", *shown, class_="strip-of", tabindex=0, role="group", aria_label=f"Strengths: {prompt}")


def _range(feature: Feature, pictures: Pictures) -> Html:
    """From the highest scores down: whether the latent means the same at every level."""
    lower = ((f"near {percent(level)} of the largest", examples) for level, examples in feature.levels if examples)
    groups = [("highest scores", feature.top[:HIGHEST]), *lower]
    if not feature.top:
        return Html("")
    shown = [el("div", el("p", name, class_="note"), _many(examples, pictures)) for name, examples in groups]
    text = el("p", "Down the scores: a latent that means one thing means it at every level.")
    return el("div", text, el("div", *shown, class_="range"), class_="card-part")


def _top(feature: Feature, pictures: Pictures) -> Html:
    if not feature.top:
        return Html("")
    summary = el("summary", f"The {len(feature.top)} pictures with the highest scores")
    return el("details", summary, _many(feature.top, pictures))


def _many(examples: Sequence[Example], pictures: Pictures) -> Html:
    shown = []
    for one in examples:
        seen = ", ".join(one.seen[:2]) or one.prompt
        alt = f"{one.prompt}, score {decimal(one.score, 2)}"
        caption = el("figcaption", el("b", decimal(one.score, 2)), " ", seen)
        shown.append(el("figure", pictures.image(one.picture, alt), caption))
    return el("div", *shown, class_="many")
