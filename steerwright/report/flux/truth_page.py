"""The page of truth: what share of features is interpretable, whether coherence predicts it, and where they point."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from steerwright.report.flux import figures
from steerwright.report.flux.content import FluxContent
from steerwright.report.flux.features import Feature
from steerwright.report.flux.report_folder import ReportFolder
from steerwright.report.flux.statistics import Choice, Prediction, by_coherence, choice_table, judged
from steerwright.report.flux.words import (
    Head,
    between,
    cell,
    chance,
    chip,
    density,
    nothing,
    row_head,
    share_bar,
    sortable,
    whole,
)
from steerwright.report.html.labelled_grid import LABELS
from steerwright.report.html.page import Html, el, scrolling, section, verdict
from steerwright.report.html.theme import THIN, decimal, percent, span


def truth_page(
    content: FluxContent, features: Sequence[Feature], chosen: Sequence[Choice], predicted: Sequence[Prediction],
    folder: ReportFolder,
) -> list[Html]:  # fmt: skip
    """The parts of the page below its header."""
    if all(layer.labels.height == 0 for layer in content.layers):
        return [el("p", f"No label was held against the latents. {content.layers[0].why('labels')}")]
    return [
        section("share", "Selected features that match a label", *_share(content, chosen, folder)),
        section("prediction", "Does coherence predict it?", *_prediction(content, predicted, folder)),
        section("coverage", "What is covered", *_coverage(content, folder)),
        section("pointing", "Where features are active", *_pointing(features, folder)),
    ]


def _share(content: FluxContent, chosen: Sequence[Choice], folder: ReportFolder) -> list[Html]:
    text = (
        "The labels of every picture are known, so each latent can be asked which value of a label its score picks out "
        "best (of all values, on the same pictures). AUROC is the chance that a picture that shows the value has a "
        f"larger score than one that does not. A latent counts as interpretable from {content.interpretable:g} on. "
        "Beside the selected ones: what drawing as many latents at random gives, without replacement."
    )
    if not chosen:
        return [el("p", text, class_="muted"), el("p", "There are too few latents to compare.")]
    rows = [
        el(
            "tr", el("th", choice.layer, el("small", f"against {choice.name}"), scope="row"),
            el("td", f"{choice.selected.count} of {choice.selected.total}",
               el("small", f"{percent(choice.selected.estimate)} ({span(choice.selected.low, choice.selected.high)})"),
               class_="n"),
            el("td", percent(choice.pool.estimate),
               el("small", f"{whole(choice.pool.count)} of {whole(choice.pool.total)}"), class_="n"),
            el("td", span(choice.low, choice.high), class_="n"), el("td", chance(choice.chance), class_="n"),
            el("td", verdict(choice.beats)),
        )
        for choice in chosen
    ]  # fmt: skip
    heads = [
        ("Layer", "", None), ("Selected", f"interpretable, 95{THIN}% interval (Wilson)", "n"),
        ("Pool", "interpretable: the mean of random choices", "n"), ("Random choice", f"95{THIN}% of draws", "n"),
        ("Chance", "that a random choice reaches as many", "n"), ("Beats it", f"above 97.5{THIN}% of draws", None),
    ]  # fmt: skip
    top = el("tr", *(el("th", name, el("small", words) if words else "", scope="col", class_=kind)
                     for name, words, kind in heads))  # fmt: skip
    return [
        el("p", text, class_="muted"),
        scrolling("Selected against random latents", [top], rows),
        *_shuffled(content),
        folder.figure(
            "selected-random", figures.selected_against_random(chosen), choice_table(chosen),
            "Share of interpretable features, selected and at random",
            "Filled: the selected features with their 95 % interval; open, on the band: the mean of random choices of "
            "as many latents and the range of 95 % of them, drawn from all alive latents or from those active in "
            "enough prompts (able).",
        ),
    ]  # fmt: skip


def _shuffled(content: FluxContent) -> list[Html]:
    """How many latents reach the threshold when pictures are shuffled, where that was measured."""
    told = []
    for layer in content.layers:
        if "shuffled" in layer.labels.columns and (known := layer.labels["shuffled"].drop_nulls()).len():
            count = int((known >= content.interpretable).sum())
            told.append(f"{layer.name} {whole(count)} of {whole(len(known))} latents")
    if not told:
        return []
    text = "With the labels shuffled between pictures, so that no latent can know them, as good a match is found by: "
    return [el("p", f"{text}{'; '.join(told)}.", class_="note")]


def _prediction(content: FluxContent, predicted: Sequence[Prediction], folder: ReportFolder) -> list[Html]:
    text = (
        "Coherence needs no labels, so it could choose features of any model, if it tells interpretable latents from "
        "others. z is a latent's coherence less the mean of random sets of as many pictures, in their standard "
        "deviations."
    )
    if not predicted:
        return [el("p", text, class_="muted"), el("p", content.layers[0].why("coherence"))]
    tables = {layer.name: judged(layer, content.interpretable) for layer in content.layers}
    tables = {name: table for name, table in tables.items() if table.height}
    parts = pl.concat([by_coherence(layer, content.interpretable) for layer in content.layers])
    joined = pl.concat([table.with_columns(layer=pl.lit(name)) for name, table in tables.items()])
    shown = [folder.figure(
        "coherence-auroc", figures.coherence_against_auroc(tables, content.interpretable), joined,
        "Coherence z of each latent against the AUROC of its label",
        f"Dots are latents, large ones selected features (linked to their cards); dotted: {content.interpretable:g}.",
        linked=True,
    )]  # fmt: skip
    if parts.height:
        shown.append(folder.figure(
            "interpretable-by-coherence", figures.interpretable_by_coherence(parts), parts,
            "Share of interpretable latents by coherence",
            "Latents in five equal parts by coherence z; bars are 95 % intervals (Wilson).",
        ))  # fmt: skip
    rows = [
        el(
            "tr", el("th", row.layer, scope="row"), el("td", whole(row.latents), class_="n"),
            el("td", whole(row.interpretable), class_="n"),
            el("td", decimal(row.auc, 2), el("small", between(row.low, row.high)), class_="n"),
            el("td", decimal(row.spearman, 2), class_="n"),
        )
        for row in predicted
    ]  # fmt: skip
    heads = [
        ("Layer", "", None), ("Latents", "alive, in enough prompts", "n"), ("Interpretable", "of these", "n"),
        ("Prediction", "chance that the interpretable one of two has the larger z; 0.5 is guessing", "n"),
        ("Rank correlation", "of z and AUROC (Spearman)", "n"),
    ]  # fmt: skip
    top = el("tr", *(el("th", name, el("small", words) if words else "", scope="col", class_=kind)
                     for name, words, kind in heads))  # fmt: skip
    return [
        el("p", text, class_="muted"),
        scrolling("Coherence as a predictor", [top], rows),
        el("div", *shown, class_="two"),
    ]


def _coverage(content: FluxContent, folder: ReportFolder) -> list[Html]:
    text = (
        "Every value of every label: how many latents match it, the best of them, and how many selected features stand "
        "for it. A value that no latent matches is not represented by one latent alone at that layer."
    )
    counted = pl.concat([_covered(content, layer.name) for layer in content.layers])
    if counted.height == 0:
        return [el("p", text, class_="muted"), el("p", "No latent has a label.")]
    most = max(1, int(counted["matching"].max() or 0))  # type: ignore[arg-type]
    found = {(row["layer"], row["label"], row["value"]): row for row in counted.iter_rows(named=True)}
    rows = []
    for label, value in counted.select("label", "value").unique(maintain_order=True).sort(_order()).iter_rows():
        cells = []
        for layer in content.layers:
            row = found.get((layer.name, label, value))
            cells += [nothing()] * 3 if row is None else [
                el("td", share_bar(row["matching"] / most), f"{row['matching']}", class_="n", data_v=row["matching"]),
                cell(f"{row['selected']}", row["selected"]),
                cell(decimal(row["best_auroc"], 2), row["best_auroc"], f"latent {row['best_latent']}"),
            ]  # fmt: skip
        name = f"{label}: {value}"
        rows.append(el("tr", row_head(chip(label, name), name), *cells))
    heads = [Head("Value", number=False)]
    for layer in content.layers:
        heads += [
            Head(f"Latents, {layer.name}", f"that match it, AUROC {content.interpretable:g} and more"),
            Head("Selected", "of these"), Head("Best", "AUROC of the best latent"),
        ]  # fmt: skip
    return [
        el("p", text, class_="muted"), sortable("Values covered", heads, rows),
        el("p", folder.table("coverage", counted), class_="note data"),
    ]  # fmt: skip


def _covered(content: FluxContent, name: str) -> pl.DataFrame:
    layer = content.layer(name)
    known = layer.labels.filter(pl.col("auroc").is_not_null(), pl.col("value").is_not_null())
    chosen = pl.col("latent").is_in(layer.selected["latent"].implode())
    good = pl.col("auroc") >= content.interpretable
    best = known.sort("auroc", "latent", descending=[True, False]).group_by("label", "value", maintain_order=True).agg(
        good.sum().cast(pl.Int64).alias("matching"), (good & chosen).sum().cast(pl.Int64).alias("selected"),
        pl.col("latent").first().alias("best_latent"), pl.col("auroc").first().alias("best_auroc"),
    )  # fmt: skip
    return best.sort(_order()).with_columns(layer=pl.lit(name))


def _order() -> list[pl.Expr]:
    """Labels in the order of the world's, others after them; then values."""
    place = {label: number for number, label in enumerate(LABELS)}
    return [pl.col("label").replace_strict(place, default=len(place), return_dtype=pl.Int64), pl.col("value")]


def _pointing(features: Sequence[Feature], folder: ReportFolder) -> list[Html]:
    known = [feature for feature in features if feature.label.get("pointing") is not None]
    text = (
        "Pointing game: in what share of its pictures the most active token lies on the region that its label is about "
        "(the object for objects and their colours, the background for season, place and time), and, for a latent "
        "that peaks anywhere, the share that chance would give: the mean part of the picture that the region takes. "
        "Energy: the share of the latent's whole activation that lies there."
    )
    if not known:
        layer = features[0].layer if features else None
        why = layer.why_empty.get("pointing", "It was not played in this run.") if layer else "No feature was selected."
        return [el("p", text, class_="muted"), el("p", why)]
    rows, table = [], []
    for feature in known:
        row: Any = feature.label
        link = el("a", f"{feature.layer.name} {feature.latent}", href=f"index.html#{feature.key}")
        energy = row.get("energy")
        rows.append(el(
            "tr", row_head(link, f"{feature.layer.name} {feature.latent:09}"),
            el("td", chip(row["label"], feature.value), data_v=feature.value),
            cell(row["region"], row["region"], number=False),
            el("td", share_bar(row["pointing"]), percent(row["pointing"]), class_="n", data_v=row["pointing"]),
            cell(percent(row["base_rate"]), row["base_rate"]),
            nothing() if energy is None else cell(density(energy), energy),
        ))  # fmt: skip
        table.append({"layer": feature.layer.name, "latent": feature.latent, "label": row["label"],
                      "value": row["value"], "region": row["region"], "pointing": row["pointing"],
                      "base_rate": row["base_rate"], "energy": energy})  # fmt: skip
    heads = [
        Head("Feature", number=False), Head("Label", number=False), Head("Region", number=False),
        Head("Peaks on it", "of its pictures"), Head("By chance", "part of the picture that it takes"),
        Head("Energy", "of its activation lies there"),
    ]  # fmt: skip
    return [
        el("p", text, class_="muted"), sortable("Pointing game", heads, rows),
        el("p", folder.table("pointing", pl.DataFrame(table, infer_schema_length=None)), class_="note data"),
    ]  # fmt: skip
