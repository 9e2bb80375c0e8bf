"""Label matches against scikit-learn, one latent and one value at a time."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from steerwright.errors import UserError
from steerwright.features.labels import label_matches


def sample(images: int = 90, size: int = 25) -> NDArray[np.float32]:
    """Few distinct values, so that there are ties; latent 0 is never active, the last on every image."""
    random = np.random.default_rng(0)
    values = random.integers(1, 4, (images, size)) / 7
    values *= random.random((images, size)) < np.linspace(0, 1, size)
    return values.astype(np.float32)


def labels_of(images: int = 90) -> dict[str, list[str | None]]:
    random = np.random.default_rng(5)
    seasons = ["spring", "summer", "winter"]
    return {
        "season": [seasons[number] for number in random.integers(0, 3, images)],
        "object": [None if number == 0 else ["", "car", "cat"][number] for number in random.integers(0, 3, images)],
        "rare": ["once" if image < 3 else "often" for image in range(images)],
    }


@pytest.mark.parametrize("elements", [90, 90 * 10, 10**6])
def test_the_best_and_the_second_value_are_those_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    monkeypatch.setattr("steerwright.features.labels._BLOCK", elements)
    values, labels = sample(), labels_of()
    found = label_matches(values, labels, least=8, shuffles=2)
    assert len(found) == 25
    for latent in range(1, 25):
        areas = {}
        for label, column in labels.items():
            taking = np.array([value is not None for value in column])
            for value in {value for value in column if value is not None} - {"once", "often"}:
                shows = np.array([other == value for other in column])
                areas[label, value] = roc_auc_score(shows[taking], values[taking, latent])
        (best, area), (_, second_area) = sorted(areas.items(), key=lambda item: -item[1])[:2]
        row = found.row(latent, named=True)
        assert row["auroc"] == pytest.approx(area) and row["second_auroc"] == pytest.approx(second_area)
        if area - second_area > 1e-9:
            assert (row["label"], row["value"]) == best and row["positives"] == labels[best[0]].count(best[1])
            assert row["low"] < area < row["high"]


def test_a_latent_that_is_never_active_matches_nothing() -> None:
    row = label_matches(sample(), labels_of()).row(0, named=True)
    assert row == dict.fromkeys(row) | {"latent": 0}


def test_chance_is_the_best_of_shuffled_images() -> None:
    # A hundred latents of noise: their best area is above `chance` for one in 21, were they exchangeable.
    random = np.random.default_rng(1)
    values = random.random((120, 400)).astype(np.float32)
    prompts = np.repeat(np.arange(60), 2)
    labels = {"a": [f"{p % 3}" for p in prompts], "b": [f"{p % 4}" for p in prompts]}
    found = label_matches(values, labels, prompts.tolist(), shuffles=20)
    share = (found["auroc"] > found["chance"]).mean()
    assert isinstance(share, float)
    assert share == pytest.approx(1 / 21, abs=3 * np.sqrt(1 / 21 * 20 / 21 / 400))
    # A shuffling is to the latents what the true labels are: the same distribution of the best area.
    assert found["shuffled"].mean() == pytest.approx(found["auroc"].mean(), abs=0.005)
    assert (found["chance"] >= found["shuffled"]).all()


def test_shuffling_keeps_images_of_a_prompt_together() -> None:
    # Two images of each prompt, which always agree; a latent that marks one prompt of four marks two images of eight.
    prompts = np.repeat(np.arange(4), 2)
    labels = {"a": ["yes" if p == 0 else "no" for p in prompts]}
    values = (prompts == 0).astype(np.float32)[:, None]
    found = label_matches(values, labels, prompts.tolist(), least=1, shuffles=1)
    # Together: both marked images are of one prompt, so the area of "yes" is 1 or (0 + 0.5 * 4) / 6 = 1/3; apart it
    # could be 7/12. "no" is one less that.
    seen = {
        round(label_matches(values, labels, prompts.tolist(), least=1, shuffles=1, seed=s)["shuffled"][0], 6)
        for s in range(12)
    }
    # The area 1 belongs to the labels as they are, which no shuffling gives.
    assert seen == {round(2 / 3, 6)} and found["auroc"][0] == 1


def test_shufflings_are_others_than_the_labels_and_say_nothing_where_there_are_too_few() -> None:
    # One prompt of four is marked: three shufflings mark another one, and the true label is among no draw.
    prompts = np.repeat(np.arange(4), 2)
    labels = {"a": ["yes" if p == 0 else "no" for p in prompts]}
    values = (prompts == 0).astype(np.float32)[:, None]
    for seed in range(12):
        found = label_matches(values, labels, prompts.tolist(), least=1, shuffles=3, seed=seed)
        assert found["auroc"][0] == 1 and found["chance"][0] == pytest.approx(2 / 3)
    few = label_matches(values, labels, prompts.tolist(), least=1, shuffles=4)
    assert few["chance"][0] is None and few["shuffled"][0] == pytest.approx(2 / 3)


def test_cases_are_prompts_where_these_are_given() -> None:
    random = np.random.default_rng(3)
    prompts = np.repeat(np.arange(30), 4).tolist()
    labels = {"a": ["yes" if p % 3 == 0 else "no" for p in prompts]}
    values = (random.random((120, 1)) + 0.6 * np.array([[p % 3 == 0] for p in prompts])).astype(np.float32)
    alone = label_matches(values, labels).row(0, named=True)
    together = label_matches(values, labels, prompts).row(0, named=True)
    assert alone["auroc"] == together["auroc"]
    assert together["low"] < alone["low"] and together["high"] > alone["high"]


def test_a_frame_of_labels_serves_as_well_as_a_mapping() -> None:
    values, labels = sample(), labels_of()
    assert label_matches(values, pl.DataFrame(labels)).equals(label_matches(values, labels))


def test_labels_without_enough_images_are_named() -> None:
    with pytest.raises(UserError, match="No value of rare is shown by 8 images"):
        label_matches(sample(), {"rare": labels_of()["rare"]})
    with pytest.raises(ValueError, match="other images than the 90"):
        label_matches(sample(), labels_of(80))
