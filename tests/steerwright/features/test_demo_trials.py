"""Which demo pictures are kept, by hand; which latents and prompts they are of."""

import numpy as np
import polars as pl
import pytest

from steerwright.features.chosen_latents import best_by_change, chosen_latents, label_changes, label_of
from steerwright.features.demos import demo_trials, neutral_prompts
from steerwright.scoring.picture_judge import concept_vectors

LABELS = pl.DataFrame({
    "latent": [0, 1, 2, 3], "label": ["season", "season", "object", None], "value": ["winter", "summer", "cat", None],
    "auroc": [0.8, 0.95, 0.99, None],
})  # fmt: skip


def judged(rows: list[tuple[str, float, float]]) -> pl.DataFrame:
    """(prompt, strength, lpips) of latent 7; concept and clip follow the strength."""
    return pl.DataFrame([
        {"latent": 7, "mode": "add", "strength": strength, "prompt_id": prompt, "prompt": prompt, "seed": 1,
         "lpips": lpips, "concept": 0.1 * strength, "clip": 0.2, "clip_plain": 0.25}
        for prompt, strength, lpips in rows
    ])  # fmt: skip


def test_an_image_counts_by_its_best_strength_and_the_best_images_are_kept() -> None:
    trials = demo_trials(judged([
        ("a", 1.0, 0.4), ("a", -1.0, 0.4), ("a", 2.0, 0.8), ("a", -2.0, 0.2),
        ("b", 1.0, 0.1), ("b", -1.0, 0.1), ("b", 2.0, 0.0), ("b", -2.0, 0.0),
        ("c", 1.0, 0.3), ("c", -1.0, 0.3), ("c", 2.0, 0.2), ("c", -2.0, 0.2),
    ]), kept=2)  # fmt: skip
    rows = {(row["prompt_id"], row["strength"]): row for row in trials.to_dicts()}
    # 1/2 (d+ + d-) (1/2 + 1/2 min / max): 0.4 for a at 1; 0.5 * (1/2 + 1/8) = 0.3125 at 2.
    assert rows["a", 1.0]["score"] == pytest.approx(0.4) and rows["a", 2.0]["score"] == pytest.approx(0.3125)
    assert rows["b", 2.0]["score"] == 0
    assert {key for key, row in rows.items() if row["best"]} == {("a", 1.0), ("b", 1.0), ("c", 1.0)}
    assert {key for key, row in rows.items() if row["kept"]} == {("a", 1.0), ("c", 1.0)}
    assert rows["a", 2.0]["concept_gain"] == pytest.approx(0.4) and rows["a", 2.0]["fidelity"] == pytest.approx(0.8)


def test_the_first_of_the_selected_and_the_best_of_each_label_are_chosen() -> None:
    selected = pl.DataFrame({"rank": [2, 1, 3], "latent": [1, 3, 0]})
    assert chosen_latents(selected, LABELS, 1, {"season": 1, "object": 1, "time": 1}) == [3, 1, 2]
    assert chosen_latents(selected, LABELS, 1, {"season": 2}) == [3, 1, 0]
    assert chosen_latents(selected, LABELS, 2, {"season": 1}) == [3, 1]
    assert chosen_latents(selected, LABELS.clear(), 2, {"season": 1}) == [3, 1]
    assert label_of(LABELS, 2) == ("object", "cat") and label_of(LABELS, 3) is None and label_of(LABELS, 9) is None


def test_of_the_latents_of_a_label_the_one_that_does_most_gets_a_grid() -> None:
    pictures = pl.DataFrame([
        {"latent": latent, "strength": sign, "concept": 0.1 * latent * sign, "season": season}
        for latent, sign, seasons in (
            (1, 1.0, ["summer", "winter"]), (1, -1.0, ["summer", "spring"]),
            (0, 1.0, ["winter", "winter"]), (0, -1.0, ["winter", "spring"]),
            (3, 1.0, ["spring", "spring"]), (3, -1.0, ["spring", "spring"]),
        )
        for season in seasons
    ])  # fmt: skip
    changes = label_changes(pictures, LABELS, [3, 1, 0, 2])
    assert changes["latent"].to_list() == [3, 1, 0, 2] and changes["pictures"].to_list() == [4, 4, 4, 0]
    # Latent 1 (summer) is the better detector of a season; latent 0 (winter) changes more pictures.
    assert changes["change"].to_list() == [None, 0.0, 0.5, None]
    assert changes["concept_gain"].to_list()[:3] == pytest.approx([0.6, 0.2, 0.0])
    assert best_by_change(changes, 1, {"season": 2, "time": 1}) == [3, 0]
    assert best_by_change(changes, 2, {"season": 2, "object": 1}) == [3, 1, 0, 2]


def test_a_latent_is_tried_on_prompts_that_leave_its_label_unsaid() -> None:
    prompts = pl.DataFrame({
        "id": ["p", "q", "r"], "prompt": ["a cat", "winter", "a cat in winter"], "seed": [1, 2, 3],
        "object": ["cat", None, "cat"], "season": [None, "winter", "winter"],
    })  # fmt: skip
    assert [one.id for one in neutral_prompts(prompts, "season", 5)] == ["p"]
    assert [one.id for one in neutral_prompts(prompts, "object", 5)] == ["q"]
    # Nothing says a time, and nothing leaves it out that another would say: all of them.
    assert [one.id for one in neutral_prompts(prompts, "time", 5)] == ["p", "q", "r"]
    assert [one.id for one in neutral_prompts(prompts.filter(id="r"), "season", 5)] == ["r"]
    # What is chosen on one half is scored on the other.
    assert [one.id for one in neutral_prompts(prompts, None, 5, "choose")] == ["p", "r"]
    assert [one.id for one in neutral_prompts(prompts, None, 5, "score")] == ["q"]


def test_a_concept_is_what_a_latents_images_have_beyond_all() -> None:
    embeddings = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1]], dtype=np.float32)
    found = concept_vectors(embeddings, {4: [0, 2], 5: [0, 1, 2, 3]})
    np.testing.assert_allclose(found[4], np.array([0, 1, -1]) / np.sqrt(2), atol=1e-6)
    assert 5 not in found  # its images are all of them, which is no concept
