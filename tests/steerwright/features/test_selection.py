"""Features that were planted rank first, each in images of its own."""

import logging

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from steerwright.errors import UserError
from steerwright.features.coherence import coherence
from steerwright.features.labels import label_matches
from steerwright.features.selection import select_features

SEASONS, OBJECTS = ("spring", "summer", "autumn", "winter"), ("house", "horse", "boat")
PLANTED = {5: ("season", "winter"), 31: ("object", "horse"), 44: ("season", "summer")}


def planted(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64], list[int], pl.DataFrame]:
    """Activations [240, 60], embeddings, prompts (two images each) and labels: latents of PLANTED say their label, the
    others nothing; embeddings hold the labels' directions and noise."""
    random = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(120), 2)
    labels = pl.DataFrame(
        {
            "season": [SEASONS[prompt % 4] for prompt in prompts],
            "object": [OBJECTS[prompt // 4 % 3] if prompt % 10 else None for prompt in prompts],
        }
    )
    directions = dict(zip((*SEASONS, *OBJECTS, None), 6 * np.eye(16), strict=False))
    embeddings = random.normal(size=(240, 16)) + 1.0
    embeddings += np.array([directions[row[0]] + directions[row[1]] for row in labels.iter_rows()])
    values = random.random((240, 60)) * (random.random((240, 60)) < 0.3)
    for latent, (label, value) in PLANTED.items():
        shows = (labels[label] == value).fill_null(False).to_numpy()
        values[:, latent] = np.where(shows, 1 + random.random(240), 0.1 * values[:, latent])
    values[:, 59] = 0
    return values.astype(np.float32), embeddings, prompts.tolist(), labels


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_features_rank_first_and_get_their_labels(seed: int) -> None:
    values, embeddings, prompts, labels = planted(seed)
    table = coherence(values, embeddings, prompts, alive_above=1e-4, draws=1000)
    selected = select_features(table, values, prompts, alive_above=1e-4, count=3, examples=4)
    assert set(selected["latent"]) == set(PLANTED)
    matches = label_matches(values, labels, prompts)
    for latent, (label, value) in PLANTED.items():
        row = matches.row(latent, named=True)
        assert (row["label"], row["value"], row["auroc"]) == (label, value, 1.0)
        assert row["low"] > 0.85 and row["high"] == 1 and row["chance"] < 0.7
        assert row["positives"] == (labels[label] == value).sum()
    for row in selected.iter_rows(named=True):
        label, value = PLANTED[row["latent"]]
        assert all(labels[label][image] == value for image in row["examples"])
    assert selected["rank"].to_list() == [1, 2, 3] and selected["z"].is_sorted(descending=True)


def test_no_image_stands_for_two_latents_and_none_of_a_latent_is_of_one_prompt() -> None:
    values, embeddings, prompts, _ = planted()
    values[:, 6] = values[:, 5] * 0.9  # wants the same images
    table = coherence(values, embeddings, prompts, alive_above=1e-4, draws=200)
    selected = select_features(table, values, prompts, alive_above=1e-4, count=20, examples=4)
    images = selected["examples"].explode().to_list()
    assert len(images) == 80 and len(set(images)) == 80
    for row in selected.iter_rows(named=True):
        assert len({prompts[image] for image in row["examples"]}) == 4
        scores = values[row["examples"], row["latent"]]
        assert (scores > 1e-4).all() and (np.diff(scores) <= 0).all()
    best = [image for image in np.argsort(-values[:, selected["latent"][0]])]
    assert selected["examples"][0][0] == best[0]


def test_a_latent_without_images_of_its_own_is_passed_over() -> None:
    # Three prompts for two latents: the first takes two images, and leaves one.
    values = np.array([[3, 3, 0], [2, 2, 0], [1, 1, 2]], dtype=np.float32)
    table = frame([0, 1, 2], [3.0, 2.0, 1.0])
    selected = select_features(table, values, [0, 1, 2], alive_above=0, count=3, examples=2)
    assert selected["latent"].to_list() == [0] and selected["examples"].to_list() == [[0, 1]]
    fewer = select_features(table, values, [0, 1, 2], alive_above=0, count=3, examples=1)
    assert fewer["latent"].to_list() == [0, 1, 2] and fewer["examples"].to_list() == [[0], [1], [2]]


def test_fewer_than_were_asked_for_is_said(caplog: pytest.LogCaptureFixture) -> None:
    values = np.ones((4, 2), dtype=np.float32)
    with caplog.at_level(logging.WARNING):
        selected = select_features(frame([0, 1], [1.0, None]), values, [0, 1, 2, 3], alive_above=0, examples=2)
    assert len(selected) == 1 and "1 features are selected, not 10" in caplog.text
    with pytest.raises(UserError, match="No latent can be selected: 0 have a coherence"):
        select_features(frame([0], [None]), values, [0, 1, 2, 3], alive_above=0)


def test_equal_scores_are_taken_by_number_and_the_order_can_be_by_coherence() -> None:
    values = np.ones((8, 3), dtype=np.float32)
    table = frame([2, 0, 1], [1.0, 1.0, 2.0], coherence=[0.9, 0.3, 0.5])
    kept = {"alive_above": 0.0, "examples": 1}
    assert select_features(table, values, range(8), **kept)["latent"].to_list() == [1, 0, 2]  # type: ignore[arg-type]
    by = select_features(table, values, range(8), by="coherence", **kept)  # type: ignore[arg-type]
    assert by["latent"].to_list() == [2, 1, 0]


def test_responsiveness_counts_by_its_weight_among_latents_that_were_measured() -> None:
    values = np.ones((8, 4), dtype=np.float32)
    table = frame([0, 1, 2, 3], [4.0, 3.0, 2.0, 9.0])
    measured = {0: 0.1, 1: 0.2, 2: 0.9}
    found = {}
    for weight in (0.0, 0.4, 1.0):
        selected = select_features(
            table, values, range(8), alive_above=0, examples=1, responsiveness=measured, weight=weight
        )
        found[weight] = dict(zip(selected["latent"], selected["score"], strict=True))
    assert list(found[0.0]) == [3, 0, 1, 2]  # latent 3 was not measured, and need not be
    # Percentiles 1, 1/2, 0 by z and 0, 1/2, 1 by responsiveness.
    assert found[0.4] == pytest.approx({0: 0.6, 1: 0.5, 2: 0.4}) and list(found[0.4]) == [0, 1, 2]
    assert found[1.0] == pytest.approx({2: 1.0, 1: 0.5, 0: 0.0}) and list(found[1.0]) == [2, 1, 0]
    with pytest.raises(UserError, match="was not measured"):
        select_features(table, values, range(8), alive_above=0, weight=0.5)
    with pytest.raises(UserError, match="from 0 to 1"):
        select_features(table, values, range(8), alive_above=0, responsiveness=measured, weight=2)


def test_near_duplicates_are_passed_over() -> None:
    values = np.ones((8, 3), dtype=np.float32)
    directions = torch.tensor([[1.0, 0.0], [3.0, 0.3], [0.0, 1.0]])
    table = frame([0, 1, 2], [3.0, 2.0, 1.0])
    kept = {"alive_above": 0.0, "examples": 1, "directions": directions}
    found = select_features(table, values, range(8), duplicates_above=0.9, **kept)  # type: ignore[arg-type]
    assert found["latent"].to_list() == [0, 2]
    assert len(select_features(table, values, range(8), **kept)) == 3  # type: ignore[arg-type]


def frame(latents: list[int], z: list[float | None], coherence: list[float] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"latent": latents, "coherence": coherence or z, "z": z, "null_low": 0.0, "null_high": 0.1},
        schema_overrides={"z": pl.Float64, "coherence": pl.Float64},
    )
