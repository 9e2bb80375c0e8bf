"""The page of decoder directions: norms, agreement with the encoder, the map, similarities, nearest neighbours."""

from collections.abc import Sequence

import polars as pl

from steerwright.report.attention.tables import slug
from steerwright.report.flux import figures as latent_figures
from steerwright.report.flux.content import FluxContent, LayerContent
from steerwright.report.flux.features import Feature, clear_label, feature_key, value_name
from steerwright.report.flux.report_folder import ReportFolder
from steerwright.report.flux.words import Head, cell, chip, nothing, row_head, sortable
from steerwright.report.html.page import Html, el, join, scrolling, section
from steerwright.report.html.theme import decimal

NEIGHBOURS = 5
MOMENTS = {
    "norm": "Norm",
    "encoder_decoder_cosine": "Encoder and decoder, cosine",
    "nearest": "Nearest direction, cosine",
}


def decoder_page(content: FluxContent, features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    """The parts of the page below its header."""
    known = [layer for layer in content.layers if layer.decoder.height]
    if not known:
        return [el("p", f"No decoder was looked at. {content.layers[0].why('decoder')}")]
    parts = [section("norms", "Norms and cosines", *_histograms(known, folder))]
    for layer in known:
        own = [feature for feature in features if feature.layer is layer and feature.chosen]
        parts.append(
            section(f"map-{slug(layer.name)}", f"Directions, {layer.name}", *_map(layer, own, content, folder))
        )
        if own:
            parts.append(section(f"near-{slug(layer.name)}", f"Nearest directions, {layer.name}", _near(layer, own)))
    return parts


def _histograms(layers: Sequence[LayerContent], folder: ReportFolder) -> list[Html]:
    text = (
        "A latent writes its decoder direction and reads its encoder direction. Where the cosine between the two is "
        "low, a latent is set off by something else than what it stands for. A nearest direction at a cosine close to "
        "1 is a duplicate: the dictionary spends two latents on one thing."
    )
    frames = {layer.name: _decoder(layer) for layer in layers}
    words = {
        "norm": ("Norms of the decoder directions", "norm of the decoder direction"),
        "encoder_decoder_cosine": ("Cosine of encoder and decoder", "cosine of encoder and decoder direction"),
        "nearest": ("Cosine to the nearest direction", "cosine to the nearest other decoder direction"),
    }
    shown = []
    for name, (title, axis) in words.items():
        table = latent_figures.histogram_table({layer: frame[name] for layer, frame in frames.items()})
        if table.height:
            drawn = latent_figures.outlines(table, axis, "alive latents")
            shown.append(folder.figure(f"{slug(name)}-histogram", drawn, table, title, f"{title}, alive latents."))
    return [el("p", text, class_="muted"), _moments(frames), el("div", *shown, class_="two")]


def _decoder(layer: LayerContent) -> pl.DataFrame:
    """The decoder's rows of alive latents, with the cosine to the `nearest` direction."""
    table = layer.decoder.with_columns(nearest=pl.col("neighbour_cosines").list.first())
    alive = layer.statistics.filter("alive")["latent"]
    return table.filter(pl.col("latent").is_in(alive.implode())) if len(alive) else table


def _moments(frames: dict[str, pl.DataFrame]) -> Html:
    rows = []
    for name, frame in frames.items():
        for column, words in MOMENTS.items():
            values = frame[column].drop_nulls()
            if len(values):
                numbers = [values.mean(), values.std(), values.min(), values.quantile(0.05), values.median(),
                           values.quantile(0.95), values.max()]  # fmt: skip
                cells = [el("td", decimal(number, 3), class_="n") for number in numbers]  # type: ignore[arg-type]
                rows.append(el("tr", el("th", words, el("small", f"{name}, {len(values)} alive latents"), scope="row"),
                               *cells))  # fmt: skip
    names = ("Mean", "Sd", "Least", "5 %", "Median", "95 %", "Largest")
    top = el("tr", el("th", "Quantity", scope="col"), *(el("th", name, scope="col", class_="n") for name in names))
    return scrolling("Norms and cosines", [top], rows)


def _map(layer: LayerContent, features: Sequence[Feature], content: FluxContent, folder: ReportFolder) -> list[Html]:
    shown = []
    if {"x", "y"} <= set(layer.decoder.columns):
        places = layer.decoder.filter(pl.col("x").is_not_null(), pl.col("y").is_not_null()).select("latent", "x", "y")
        good = layer.labels.filter(pl.col("auroc") >= content.interpretable).select("latent", "label", "value")
        table = places.join(good, on="latent", how="left", maintain_order="left")
        if table.height:
            caption = (
                "Neighbours on the map have similar decoder directions; distances between far places mean nothing. In "
                f"colour: latents that match a label (AUROC {content.interpretable:g} and more). Large, with their "
                "number: selected features, linked to their cards."
            )
            drawn = latent_figures.direction_map(table, features)
            shown.append(folder.figure(f"map-{slug(layer.name)}", drawn, table, f"Map of the decoder directions of "
                                       f"{layer.name}", caption, linked=True))  # fmt: skip
    if layer.similarity.height and len(features) > 1:
        # Features of one label side by side, so that what they share stands out.
        ordered = sorted(features, key=lambda one: (one.value == "", one.value, one.latent))
        latents = [one.latent for one in ordered]
        names = [f"{one.label['value']}  {one.latent}" if one.value else f"{one.latent}" for one in ordered]
        cosines = {(a, b): c for a, b, c in layer.similarity.select("latent_a", "latent_b", "cosine").iter_rows()}
        drawn = latent_figures.similarity_matrix(latents, names, cosines)
        caption = "Cosine between the decoder directions of selected features, those of one label together."
        shown.append(folder.figure(f"similarity-{slug(layer.name)}", drawn, layer.similarity,
                                   f"Similarity of the selected features of {layer.name}", caption))  # fmt: skip
    if not shown:
        return [el("p", f"There is no map. {layer.why('similarity')}")]
    return [el("div", *shown, class_="two")]


def _near(layer: LayerContent, features: Sequence[Feature]) -> Html:
    chosen = {feature.latent for feature in features}
    wanted = {latent for feature in features for latent in (feature.decoder.get("neighbours") or [])[:NEIGHBOURS]}
    told = layer.labels.filter(pl.col("latent").is_in(list(wanted))).iter_rows(named=True)
    values = {row["latent"]: row for row in told if clear_label(row, features[0].threshold)}
    rows = []
    for feature in features:
        row = feature.decoder
        near = list(zip(row.get("neighbours") or [], row.get("neighbour_cosines") or [], strict=False))[:NEIGHBOURS]
        cells = []
        for latent, cosine in near:
            name: Html | str = f"{latent}"
            if latent in chosen:
                name = el("a", f"{latent}", href=f"index.html#{feature_key(layer.name, latent)}")
            said = value_name(values.get(latent, {}))
            shown = join([name, el("small", f"{decimal(cosine, 2)}{', ' if said else ''}{said}")])
            cells.append(el("td", shown, data_v=f"{cosine}"))
        cells += [el("td", data_v="")] * (NEIGHBOURS - len(near))
        link = el("a", f"{feature.latent}", href=f"index.html#{feature.key}")
        rows.append(el(
            "tr", row_head(link, feature.latent),
            el("td", chip(feature.label["label"], feature.value) if feature.value else "", data_v=feature.value),
            nothing() if row.get("norm") is None else cell(decimal(row["norm"], 3), row["norm"]),
            nothing() if row.get("norm") is None else
            cell(decimal(row["encoder_decoder_cosine"], 2), row["encoder_decoder_cosine"]),
            *cells,
        ))  # fmt: skip
    heads = [
        Head("Latent", number=False), Head("Label", number=False), Head("Norm", "of its decoder direction"),
        Head("Encoder", "cosine with the decoder"), Head("Nearest", "cosine; its label if clear", number=False),
        *(Head(f"{place}.", number=False) for place in range(2, NEIGHBOURS + 1)),
    ]  # fmt: skip
    return sortable(f"Nearest directions, {layer.name}", heads, rows)
