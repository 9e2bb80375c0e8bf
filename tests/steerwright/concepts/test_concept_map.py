"""Mapping concepts end to end, on a store whose latents are known."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from steerwright.activations.store.reader import Store
from steerwright.concepts.concept_map import ConceptMap, map_concepts
from steerwright.concepts.concept_table import TableOptions, concept_labels
from steerwright.concepts.select_latents import SCORES, select_latents
from steerwright.errors import UserError
from steerwright.sae.sae import Sae

STEPS = (0, 4, 19)
FAST = TableOptions(keep=5, permutations=1000, halvings=10)


def mapped(
    planted: Any, scratch: Path, store: Store | None = None, sae: Sae | None = None, **settings: Any
) -> ConceptMap:
    labels = concept_labels(planted.prompts, ["object", "season"])
    validation = (planted.prompts["split"] == "validation").to_numpy()
    found = map_concepts(
        store or planted.store, {"toy": sae or planted.sae}, labels, validation, scratch=scratch,
        **{"options": FAST, **settings},
    )  # fmt: skip
    return found["toy"]


def test_planted_latents_rank_first_by_every_score(planted: Any, tmp_path: Path) -> None:
    found = mapped(planted, tmp_path)
    for by in SCORES:
        for step in (*STEPS, None):
            assert select_latents(found.table, "object:cat", step, by, top=1) == [3]
        assert select_latents(found.table, "season:winter", 4, by, top=1) == [7]
        assert select_latents(found.table, "season:winter", None, by, top=1) == [7]
        if by != "auroc":
            assert select_latents(found.moments, "object:cat", None, by, top=1) == [3]
    row = found.table.row(by_predicate=(pl.col("concept") == "season:winter") & (pl.col("step") == 4)
                          & (pl.col("latent") == 7), named=True)  # fmt: skip
    assert row["auroc"] == 1 and row["q_value"] < 0.05 and row["stability"] == 1 and row["cohens_d"] > 5
    # 36 of the 54 training images name a season, half of them winter; each has four tokens.
    assert row["density"] == pytest.approx(float((planted.values[planted.training(), 1, :, 7] > 0).double().mean()))
    elsewhere = found.table.filter(concept="season:winter", step=0, latent=7)
    assert elsewhere.is_empty() or elsewhere["q_value"].item() > 0.05


def test_sums_are_those_of_the_definition(planted: Any, tmp_path: Path) -> None:
    moments = mapped(planted, tmp_path).moments
    assert moments.steps == STEPS
    assert moments.concepts == ("object:cat", "object:horse", "object:house", "season:summer", "season:winter")
    for place, concept in enumerate(moments.concepts):
        axis, value = concept.split(":")
        means = planted.means[planted.training(**{axis: value})]
        torch.testing.assert_close(moments.sums[place], means.sum(0), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(moments.squares[place], means.square().sum(0), rtol=1e-6, atol=1e-6)
        assert torch.equal(moments.active[place], (means > 0).sum(0).int())
        assert moments.count[place].tolist() == [len(means)] * 4
    others = planted.means[planted.training() & ~planted.training(object="cat")].mean(0)
    for slot, step in enumerate((*STEPS, None)):
        torch.testing.assert_close(
            moments.others_means("object:cat", step).double(), others[slot], rtol=1e-5, atol=1e-6
        )
    by_object = [planted.means[planted.training(object=name)].mean(0) for name in ("cat", "horse", "house")]
    averaged = torch.stack(by_object).mean(0)[1].float()
    torch.testing.assert_close(moments.axis_means("object:horse", 4), averaged, rtol=1e-5, atol=1e-6)


def test_table_has_the_scores_of_the_definition(planted: Any, tmp_path: Path) -> None:
    table = mapped(planted, tmp_path).table
    horse = planted.training(object="horse")
    others = planted.training() & ~horse
    for row in table.filter(concept="object:horse", step=19).iter_rows(named=True):
        means = planted.means[:, 2, row["latent"]].numpy()
        assert row["mean"] == pytest.approx(means[horse].mean(), rel=1e-6)
        assert row["mean_others"] == pytest.approx(means[others].mean(), rel=1e-6)
        kept = (horse | others).numpy()
        assert row["auroc"] == pytest.approx(roc_auc_score(horse.numpy()[kept], means[kept]))
        a, b = means[horse], means[others]
        pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
        assert row["cohens_d"] == pytest.approx((a.mean() - b.mean()) / math.sqrt(pooled), rel=1e-6)


def test_best_of_each_score_are_kept_and_nothing_is_undefined(planted: Any, tmp_path: Path) -> None:
    table = mapped(planted, tmp_path).table
    assert 11 not in table["latent"]  # never active
    numbers = table.drop("sae", "concept", "step")
    assert all(
        not values.is_null().any() and not values.is_nan().any() for values in numbers if values.dtype.is_float()
    )
    counts = table.group_by("concept", "step").len()
    assert len(counts) == 5 * 4 and counts["len"].min() >= 5  # type: ignore[operator]
    assert table.select("concept", "step", "latent").is_unique().all()


def test_a_latent_of_nothing_but_zeros_scores_zero(planted: Any, tmp_path: Path) -> None:
    values = torch.full_like(planted.values, -1)
    dead = Sae(
        planted.sae.encoder, torch.full((12,), -1000.0), planted.sae.decoder, planted.sae.decoder_bias,
        planted.sae.activation, site=planted.sae.site,
    )  # fmt: skip
    assert values.shape == planted.values.shape
    found = mapped(planted, tmp_path, sae=dead)
    assert found.table.is_empty()
    for by in ("share_difference", "mean_difference", "cohens_d"):
        assert select_latents(found.moments, "object:cat", 4, by, top=12) == list(range(12))  # type: ignore[arg-type]
    assert torch.isfinite(found.moments.concept_means("object:cat", None)).all()
    assert found.probe["probe_auroc"].is_not_null().all()


@pytest.mark.parametrize("batches", ["one prompt at a time", "half of the tokens at a time", "other order"])
def test_how_rows_were_batched_changes_nothing(
    planted: Any, tmp_path: Path, store_writer: Callable[..., Store], batches: str
) -> None:
    whole, count = slice(None), len(planted.values)
    halves = [(n, half) for half in (slice(0, 2), slice(2, 4)) for n in range(count)]
    parts = {
        "one prompt at a time": [[(n, whole)] for n in range(count)],
        "half of the tokens at a time": [halves],
        "other order": [[(n, whole) for n in reversed(range(count))]],
    }[batches]
    other = store_writer(tmp_path / "other", planted.values, list(planted.prompts["id"]), parts)
    expected, found = mapped(planted, tmp_path), mapped(planted, tmp_path, other)
    assert torch.equal(found.moments.count, expected.moments.count)
    assert torch.equal(found.moments.active, expected.moments.active)
    assert torch.equal(found.moments.fired, expected.moments.fired)
    torch.testing.assert_close(found.moments.sums, expected.moments.sums, rtol=1e-6, atol=1e-6)
    same = ["concept", "step", "latent"]
    assert found.table.select(same).equals(expected.table.select(same))
    np.testing.assert_allclose(found.table["auroc"], expected.table["auroc"], atol=1e-9)


def test_without_guidance_the_only_branch_counts_as_cond(
    planted: Any, tmp_path: Path, store_writer: Callable[..., Store]
) -> None:
    parts = [[(n, slice(None)) for n in range(72)]]
    other = store_writer(tmp_path / "other", planted.values, list(planted.prompts["id"]), parts, branches=["none"])
    found = mapped(planted, tmp_path, other, options=TableOptions(keep=1, permutations=10, halvings=1))
    expected = mapped(planted, tmp_path, options=TableOptions(keep=1, permutations=10, halvings=1))
    torch.testing.assert_close(found.moments.sums, expected.moments.sums, rtol=1e-6, atol=1e-6)
    with pytest.raises(UserError, match="no rows of the branch 'uncond'"):
        mapped(planted, tmp_path, other, branch="uncond")


def test_the_same_store_gives_the_same_table(planted: Any, tmp_path: Path) -> None:
    first, second = mapped(planted, tmp_path), mapped(planted, tmp_path)
    assert first.table.equals(second.table) and first.probe.equals(second.probe)
    assert not list(tmp_path.iterdir())


def test_prompts_that_are_not_in_the_table_do_not_count(planted: Any, tmp_path: Path) -> None:
    # The test split's rows may be in the store; they are never looked at.
    fewer = planted.prompts.head(48)
    labels = concept_labels(fewer, ["object"])
    validation = (fewer["split"] == "validation").to_numpy()
    found = map_concepts(planted.store, {"toy": planted.sae}, labels, validation, scratch=tmp_path, options=FAST)["toy"]
    assert found.moments.count[:, -1].tolist() == [12, 12, 12]
    assert found.moments.tokens.tolist() == [36 * 4] * 3 + [36 * 4 * 3]


def test_several_autoencoders_share_a_pass_and_agree_with_each_alone(
    planted: Any, tmp_path: Path, sae_of: Callable[..., Sae]
) -> None:
    labels = concept_labels(planted.prompts, ["object"])
    validation = (planted.prompts["split"] == "validation").to_numpy()
    saes = {"all": planted.sae, "late": sae_of(12, steps=(4, 19))}
    calls: list[tuple[int, int]] = []
    both = map_concepts(
        planted.store, saes, labels, validation, scratch=tmp_path, options=FAST,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert list(both) == ["all", "late"] and both["late"].moments.steps == (4, 19)
    rows = 72 * 3 * 4 * 2  # prompts, steps, tokens, branches
    assert calls[-1] == (rows, rows) and all(done <= total == rows for done, total in calls)
    alone = map_concepts(planted.store, {"late": saes["late"]}, labels, validation, scratch=tmp_path, options=FAST)
    assert both["late"].table.equals(alone["late"].table)
    assert torch.equal(both["all"].moments.sums[:, 1:3], alone["late"].moments.sums[:, :2])


def test_a_probe_and_the_best_latent_are_compared_on_validation_images(planted: Any, tmp_path: Path) -> None:
    probe = mapped(planted, tmp_path).probe
    assert probe["concept"].to_list() == [
        "object:cat",
        "object:horse",
        "object:house",
        "season:summer",
        "season:winter",
    ]
    held_out = ((planted.prompts["split"] == "validation") & planted.prompts["season"].is_not_null()).to_numpy()
    for row in probe.filter(concept="season:winter").iter_rows(named=True):
        assert row["latent"] == 7
        winter = (planted.prompts["season"] == "winter").fill_null(False).to_numpy()[held_out]
        expected = roc_auc_score(winter, planted.means[held_out][:, 3, 7].numpy())
        assert row["latent_auroc"] == pytest.approx(expected)
    assert probe.filter(pl.col("concept").is_in(["object:cat", "season:winter"]))["probe_auroc"].min() > 0.9  # type: ignore[operator]


def test_one_concept_on_an_axis_has_no_others(planted: Any, tmp_path: Path) -> None:
    only = planted.prompts.with_columns(pl.lit("photo").alias("style"))
    validation = (only["split"] == "validation").to_numpy()
    labels = concept_labels(only, ["style"])
    found = map_concepts(planted.store, {"toy": planted.sae}, labels, validation, scratch=tmp_path, options=FAST)["toy"]
    # As published, the score of a single concept is its mean.
    assert found.table["share_difference"].equals(found.table["mean"], check_names=False)
    assert found.table["auroc"].is_null().all() and found.table["q_value"].is_null().all()
    assert found.probe["latent"].is_null().all() and found.probe["probe_auroc"].is_null().all()


def test_what_does_not_fit_the_store_is_said(planted: Any, tmp_path: Path, sae_of: Callable[..., Sae]) -> None:
    with pytest.raises(UserError, match=r"grid: \(8, 8\) and \(1, 4\)"):
        mapped(planted, tmp_path, sae=sae_of(12, grid=(8, 8)))
    with pytest.raises(UserError, match="width: 13 and 12"):
        mapped(planted, tmp_path, sae=sae_of(13))
    with pytest.raises(UserError, match=r"has no hookpoint unet\.up_blocks\.1:out; it has unet\.mid_block:out"):
        mapped(planted, tmp_path, sae=sae_of(12, hookpoint="unet.up_blocks.1:out"))
    with pytest.raises(UserError, match="does not say at which hookpoint"):
        mapped(planted, tmp_path, sae=sae_of(12, hookpoint=None))
    with pytest.raises(UserError, match=r"no rows of the branch 'none'.*it has cond, uncond"):
        mapped(planted, tmp_path, branch="none")
    with pytest.raises(UserError, match="branch: cond and uncond"):
        mapped(planted, tmp_path, sae=sae_of(12, branches=("cond",)), branch="uncond")
    with pytest.raises(UserError, match="no rows at the autoencoder's steps 7"):
        mapped(planted, tmp_path, sae=sae_of(12, steps=(7,)))
    strangers = planted.prompts.with_columns(pl.format("x{}", "id").alias("id"))
    labels = concept_labels(strangers, ["object"])
    with pytest.raises(UserError, match="no rows of the training prompts"):
        map_concepts(planted.store, {"toy": planted.sae}, labels, np.zeros(72, bool), scratch=tmp_path)


def test_prompts_that_cannot_be_used_are_said(planted: Any) -> None:
    with pytest.raises(UserError, match="no column style; they have id, prompt, split, object, season"):
        concept_labels(planted.prompts, ["object", "style"])
    with pytest.raises(UserError, match="axes of concepts are missing"):
        concept_labels(planted.prompts, [])
    with pytest.raises(UserError, match="permutations: 0 makes no table"):
        TableOptions(permutations=0)
    with pytest.raises(UserError, match="same id"):
        concept_labels(pl.concat([planted.prompts, planted.prompts]), ["object"])
    with pytest.raises(UserError, match="No prompt names a value of the axis 'season'"):
        concept_labels(planted.prompts.with_columns(pl.lit(None, pl.String).alias("season")), ["season"])
