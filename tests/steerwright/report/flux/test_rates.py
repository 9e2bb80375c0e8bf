"""Label rates over strength, worked by hand."""

from pathlib import Path

import polars as pl
import pytest

from steerwright.report.flux.content import LayerContent
from steerwright.report.flux.features import Feature
from steerwright.report.flux.statistics import ends, label_rates
from steerwright.stats.bootstrap import Bootstrap

SEEN = {  # prompt -> what is seen at -1, 0, +1
    "a": ("summer", "summer", "winter"), "b": ("winter", "winter", "winter"), "c": ("summer", "winter", "winter"),
    "d": ("summer", "summer", "summer"),
}  # fmt: skip


def pictures(**further: object) -> pl.DataFrame:
    return pl.DataFrame([
        {"latent": 5, "mode": "add", "strength": strength, "prompt_id": prompt, "prompt": f"a {prompt}", "seed": 1,
         "file": "x.png", "season": season, "lpips": abs(strength) / 2, **further}
        for prompt, seen in SEEN.items() for strength, season in zip((-1.0, 0.0, 1.0), seen, strict=True)
    ])  # fmt: skip


def feature(layer: LayerContent, label: str = "season", value: str = "winter") -> Feature:
    row = {"label": label, "value": value, "auroc": 0.9}
    return Feature(layer, 5, {"rank": 1}, {}, {}, row, {}, (), (), (), (), None, 0.9)


def layer(grids: pl.DataFrame | None = None, steering: pl.DataFrame | None = None) -> LayerContent:
    return LayerContent(name="early", grids=grids if grids is not None else pl.DataFrame(),
                        steering=steering if steering is not None else pl.DataFrame())  # fmt: skip


@pytest.mark.parametrize("source", ["grids", "steering"])
def test_rates_at_each_strength_and_between_the_ends(source: str) -> None:
    one = feature(layer(**{source: pictures()}))
    rates = label_rates([one], Bootstrap(resamples=200))
    assert rates["strength"].to_list() == [-1, 0, 1]
    assert rates["rate"].to_list() == [0.25, 0.5, 0.75] and rates["pictures"].to_list() == [4, 4, 4]
    assert rates["lpips"].to_list() == [0.5, 0.0, 0.5]
    (found,) = ends([one], Bootstrap(resamples=200))
    assert (found.rate_minus, found.unsteered, found.rate_plus) == (0.25, 0.5, 0.75)
    # Two of four pairs turn to winter, none away: their mean is 1/2, and no resample has less than none.
    assert found.difference == 0.5 and 0 <= found.low < 0.5 < found.high <= 1 and found.pairs == 4


def test_a_pair_that_one_end_lacks_is_left_out() -> None:
    table = pictures().filter((pl.col("prompt_id") != "a") | (pl.col("strength") != -1))
    (found,) = ends([feature(layer(table))], Bootstrap(resamples=50))
    # b, c, d are left: of these c alone turns.
    assert found.pairs == 3 and found.difference == pytest.approx(1 / 3)


def test_a_picture_that_was_not_made_does_not_count() -> None:
    table = pictures().with_columns(
        file=pl.when((pl.col("prompt_id") == "d") & (pl.col("strength") == 1)).then(None).otherwise("file")
    )
    rates = label_rates([feature(layer(table))], Bootstrap(resamples=50))
    assert rates["pictures"].to_list() == [4, 4, 3] and rates["rate"].to_list() == [0.25, 0.5, 1.0]


def test_pictures_that_were_not_judged_have_no_rates_but_distances() -> None:
    one = feature(layer(pictures().drop("season")))
    rates = label_rates([one], Bootstrap(resamples=50))
    assert rates["rate"].null_count() == 3 and rates["lpips"].to_list() == [0.5, 0.0, 0.5]
    assert ends([one], Bootstrap(resamples=50)) == []


def test_ends_need_both_sides_and_the_largest_difference_comes_first() -> None:
    plus = pictures().filter(pl.col("strength") >= 0)
    assert ends([feature(layer(plus))], Bootstrap(resamples=50)) == []
    both = layer(pictures())
    found = ends([feature(both, value="summer"), feature(both)], Bootstrap(resamples=50))
    assert [one.difference for one in found] == [0.5, -0.5]


def test_steered_pictures_without_a_prompt_id_are_told_apart_by_their_prompt(tmp_path: Path) -> None:
    one = feature(layer(steering=pictures().drop("prompt_id")))
    assert ends([one], Bootstrap(resamples=50))[0].pairs == 4
