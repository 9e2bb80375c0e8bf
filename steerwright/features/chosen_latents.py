"""Which latents are steered: the selected ones that rank first, and some that stand for labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def chosen_latents(selected: pl.DataFrame, labels: pl.DataFrame, count: int, axes: Mapping[str, int]) -> list[int]:
    """The first `count` of `selected`, then for each label of `axes` so many latents with the largest areas, each once.

    `labels` is the frame of `label_matches`; without rows (no truth is known) the selected ones are all.
    """
    import polars as pl

    found = selected.sort("rank")["latent"].to_list()[:count]
    for axis, candidates in axes.items():
        known = labels.filter(pl.col("auroc").is_not_null(), label=axis)
        found += known.sort(["auroc", "latent"], descending=[True, False])["latent"].to_list()[:candidates]
    return list(dict.fromkeys(found))


def best_by_change(changes: pl.DataFrame, first: int, axes: Mapping[str, int]) -> list[int]:
    """Of the latents that were tried: the `first` ones, then for each label of `axes` the one that does most.

    A latent may pick a label out perfectly and do nothing for it when it is steered. So among those that stand for a
    label the one counts that changes its share of pictures most (`change` of `label_changes`; of equal ones, the one
    that gains most of what its own pictures have in common).
    """
    found = changes["latent"].to_list()[:first]
    for axis in axes:
        mine = changes.filter(label=axis).sort(
            ["change", "concept_gain", "latent"], descending=[True, True, False], nulls_last=True
        )
        found += mine["latent"].to_list()[:1]
    return list(dict.fromkeys(found))


def label_changes(judged: pl.DataFrame, labels: pl.DataFrame, latents: Sequence[int]) -> pl.DataFrame:
    """A row for each of `latents`, of its pictures in `judged`: latent, label, value, change, concept_gain, pictures.

    change: share that shows the latent's label value at strengths above 0, less the share below 0; null where labels
    are not seen. concept_gain: the same of the mean cosine to what the latent's own pictures have in common.
    """
    import polars as pl

    rows: list[dict[str, Any]] = []
    for latent in latents:
        part, own = judged.filter(latent=latent), label_of(labels, latent)
        plus, minus = part.filter(pl.col("strength") > 0), part.filter(pl.col("strength") < 0)
        row: dict[str, Any] = {"latent": latent, "pictures": part.height}
        if own is not None:
            row |= {"label": own[0], "value": own[1]}
        if plus.height and minus.height:
            if own is not None and own[0] in part.columns:
                shares = [float((side[own[0]] == own[1]).to_numpy().mean()) for side in (plus, minus)]
                row["change"] = shares[0] - shares[1]
            gains = [float(side["concept"].fill_null(0.0).to_numpy().mean()) for side in (plus, minus)]
            row["concept_gain"] = gains[0] - gains[1]
        rows.append(row)
    return pl.DataFrame(rows, schema={"latent": pl.Int64, "label": pl.String, "value": pl.String, "change": pl.Float64,
                                      "concept_gain": pl.Float64, "pictures": pl.Int64})  # fmt: skip


def label_of(labels: pl.DataFrame, latent: int) -> tuple[str, str] | None:
    """The label and value that a latent matches best; None where that is not known."""
    for label, value in labels.filter(latent=latent).select("label", "value").iter_rows():
        return (str(label), str(value)) if label is not None else None
    return None
