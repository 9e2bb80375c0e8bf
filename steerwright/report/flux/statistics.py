"""Are selected features interpretable, more than a random choice would be, and does coherence predict it?

A latent counts as interpretable if its best label value reaches an AUROC. Selection is held against drawing as many
latents at random, without replacement, from the same layer: the count is then hypergeometric, so its range and the
chance to do as well need no simulation.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerwright.features.truth import area_by_score, wilson_interval
from steerwright.report.flux.content import LayerContent
from steerwright.report.flux.features import Feature
from steerwright.stats.bootstrap import Bootstrap
from steerwright.stats.ranks import area_interval

PARTS = 5
ALIVE, ABLE = "all alive latents", "latents active in enough prompts"


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total` with its 95 % interval (Wilson's)."""

    count: int
    total: int
    low: float
    high: float

    @property
    def estimate(self) -> float:
        """The share."""
        return self.count / self.total


@dataclass(frozen=True, slots=True)
class Choice:
    """The selected latents of a layer against drawing as many at random from a pool.

    `pool`: the share of it that is interpretable, which is what a random choice has on average; `low`, `high`: 95 % of
    random choices have a share between these; `chance`: of a random choice that reaches the count of the selected.
    """

    layer: str
    name: str
    selected: Share
    pool: Share
    low: float
    high: float
    chance: float

    @property
    def beats(self) -> bool:
        """Whether the selected lie above 97.5 % of random choices."""
        return self.selected.estimate > self.high


def wilson(count: int, total: int) -> Share:
    """A share with Wilson's 95 % interval; `total` is at least 1."""
    return Share(count, total, *wilson_interval(count, total))


def choices(layer: LayerContent, threshold: float) -> list[Choice]:
    """The selected latents against two pools: all alive ones, and those that are active in enough prompts to be chosen.

    Empty where labels or a selection are missing.
    """
    known = layer.labels.filter(pl.col("auroc").is_not_null()).with_columns(good=pl.col("auroc") >= threshold)
    chosen = known.filter(pl.col("latent").is_in(layer.selected["latent"].implode()))
    if chosen.height == 0:
        return []
    alive = layer.statistics.filter("alive")["latent"]
    pools = {ALIVE: known.filter(pl.col("latent").is_in(alive.implode())) if len(alive) else known}
    if layer.coherence.height:
        able = layer.coherence.filter(pl.col("coherence").is_not_null())["latent"]
        pools[ABLE] = known.filter(pl.col("latent").is_in(able.implode()))
    selected = wilson(int(chosen["good"].sum()), chosen.height)
    found = []
    for name, pool in pools.items():
        if pool.height < chosen.height:
            continue
        total, good = pool.height, int(pool["good"].sum())
        low, high, chance = _random_choice(total, good, chosen.height, selected.count)
        found.append(Choice(layer.name, name, selected, wilson(good, total), low, high, chance))
    return found


def choice_table(found: Sequence[Choice]) -> pl.DataFrame:
    """The numbers of `choices`, a row each."""
    return pl.DataFrame([
        {"layer": one.layer, "pool": one.name, "selected": one.selected.total, "interpretable": one.selected.count,
         "share": one.selected.estimate, "low": one.selected.low, "high": one.selected.high,
         "pool_latents": one.pool.total, "pool_interpretable": one.pool.count, "random_mean": one.pool.estimate,
         "random_low": one.low, "random_high": one.high, "chance": one.chance}
        for one in found
    ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Prediction:
    """How well coherence z predicts interpretability over the `latents` of a layer.

    `auc`: the chance that an interpretable latent has a larger z than another one, with a 95 % interval (see
    `features.area_interval`), None where all are alike; `spearman`: rank correlation of z and AUROC.
    """

    layer: str
    latents: int
    interpretable: int
    auc: float | None
    low: float | None
    high: float | None
    spearman: float | None


def judged(layer: LayerContent, threshold: float) -> pl.DataFrame:
    """Latents of which both are known: latent, z, coherence, auroc, label, value, good, selected."""
    known = layer.labels.filter(pl.col("auroc").is_not_null()).select("latent", "auroc", "label", "value")
    able = layer.coherence.filter(pl.col("z").is_not_null()).select("latent", "z", "coherence")
    return known.join(able, on="latent", maintain_order="left").with_columns(
        good=pl.col("auroc") >= threshold, selected=pl.col("latent").is_in(layer.selected["latent"].implode())
    )


def prediction(layer: LayerContent, threshold: float) -> Prediction | None:
    """None where fewer than three latents have both a label and a coherence."""
    table = judged(layer, threshold)
    if table.height < 3:
        return None
    z, auroc = table["z"].to_numpy(), table["auroc"].to_numpy()
    good = table["good"].to_numpy()
    positives = int(good.sum())
    negatives = table.height - positives
    auc = low = high = None
    if positives and negatives:
        auc = float((_ranks(z)[good].sum() - positives * (positives + 1) / 2) / (positives * negatives))
        low, high = (float(end) for end in area_interval(auc, positives, negatives))
    return Prediction(layer.name, table.height, positives, auc, low, high, _correlation(_ranks(z), _ranks(auroc)))


def by_coherence(layer: LayerContent, threshold: float, parts: int = PARTS) -> pl.DataFrame:
    """Share of interpretable latents in equal parts of the latents by rising z: layer, and the columns of
    `features.interpretability.area_by_score`. Empty with fewer latents than parts."""
    table = judged(layer, threshold)
    found = area_by_score(
        table.select("latent", "auroc"), table.select("latent", "z"), groups=parts, bar=threshold
    ).with_columns(layer=pl.lit(layer.name))  # fmt: skip
    return found if table.height >= parts else found.clear()


def _random_choice(total: int, good: int, drawn: int, reached: int) -> tuple[float, float, float]:
    """The 2.5 % and 97.5 % quantiles of the share of good ones among `drawn` of `total`, and P(count >= reached)."""
    whole = math.comb(total, drawn)
    chances = [math.comb(good, count) * math.comb(total - good, drawn - count) / whole for count in range(drawn + 1)]
    below = np.cumsum(chances)
    low = int(np.searchsorted(below, 0.025))
    high = int(np.searchsorted(below, 0.975))
    return min(low, drawn) / drawn, min(high, drawn) / drawn, min(1.0, float(sum(chances[reached:])))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties share their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


# How often the pictures of a steered latent show its label, strength by strength, and between the ends.

RATES = {
    "layer": pl.String, "latent": pl.Int64, "label": pl.String, "value": pl.String, "strength": pl.Float64,
    "pictures": pl.Int64, "rate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "lpips": pl.Float64,
    "clip": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """The rate of the feature's label at the two ends of strength, and their difference with its interval.

    Pictures are paired by prompt and seed; those that one end lacks are left out. `pairs`: how many there are.
    """

    feature: Feature
    minus: float
    plus: float
    rate_minus: float
    rate_plus: float
    unsteered: float | None
    difference: float
    low: float
    high: float
    pairs: int


def label_rates(features: Iterable[Feature], bootstrap: Bootstrap) -> pl.DataFrame:
    """A row for each feature and strength of its steered pictures: columns of `RATES`.

    `rate`: share of pictures that show the feature's label value, with a bootstrap interval over prompts; null where
    pictures were not judged. `lpips` and `clip`: means, where the grids have them.
    """
    rows: list[dict[str, Any]] = []
    for feature in features:
        for (strength,), part in steered_pictures(feature).sort("strength").group_by("strength", maintain_order=True):
            row: dict[str, Any] = {"layer": feature.layer.name, "latent": feature.latent, "strength": strength}
            row |= {"label": feature.label.get("label"), "value": feature.label.get("value"), "pictures": part.height}
            row |= {name: part[name].mean() for name in ("lpips", "clip") if name in part.columns}
            shows = _shows(feature, part)
            if shows is not None and shows.height:
                found = bootstrap.mean(shows["shows"].to_list(), shows["prompt_id"].to_list())
                row |= {"rate": found.estimate, "low": found.low, "high": found.high}
            rows.append(row)
    return pl.DataFrame(rows, schema=RATES)


def ends(features: Iterable[Feature], bootstrap: Bootstrap) -> list[Ends]:
    """Of every feature whose strengths reach below and above 0 and were judged; the largest difference first."""
    found = []
    for feature in features:
        shows = _shows(feature, steered_pictures(feature))
        if shows is None or shows.height == 0:
            continue
        minus, plus = shows["strength"].min(), shows["strength"].max()
        assert isinstance(minus, float) and isinstance(plus, float)
        if not minus < 0 < plus:
            continue
        keys = ["prompt_id", "seed"]
        pairs = shows.filter(strength=plus).join(shows.filter(strength=minus), on=keys, suffix="_minus")
        if pairs.height == 0:
            continue
        plain = shows.filter(strength=0.0)["shows"]
        interval = bootstrap.paired_difference(
            pairs["shows"].to_list(), pairs["shows_minus"].to_list(), pairs["prompt_id"].to_list()
        )
        found.append(Ends(
            feature, minus, plus, float(pairs["shows_minus"].cast(pl.Float64).mean() or 0.0),  # type: ignore[arg-type]
            float(pairs["shows"].cast(pl.Float64).mean() or 0.0),  # type: ignore[arg-type]
            float(plain.cast(pl.Float64).mean()) if len(plain) else None,  # type: ignore[arg-type]
            interval.estimate, interval.low, interval.high, pairs.height,
        ))  # fmt: skip
    return sorted(found, key=lambda one: -one.difference)


def steered_pictures(feature: Feature) -> pl.DataFrame:
    """The pictures of its grids; without them those with its direction added."""
    grids = feature.layer.grids.filter(pl.col("file").is_not_null(), latent=feature.latent)
    if grids.height:
        return grids
    added = feature.layer.steering.filter(pl.col("file").is_not_null(), latent=feature.latent, mode="add")
    return added if "prompt_id" in added.columns else added.with_columns(prompt_id="prompt")


def _shows(feature: Feature, pictures: pl.DataFrame) -> pl.DataFrame | None:
    """prompt_id, seed, strength, shows; None where the label is unknown or was not judged."""
    if feature.wanted is None or feature.wanted[0] not in pictures.columns:
        return None
    label, value = feature.wanted
    judged = pictures.filter(pl.col(label).is_not_null())
    return judged.select(
        "prompt_id", "seed", pl.col("strength").cast(pl.Float64), (pl.col(label) == value).alias("shows")
    )
