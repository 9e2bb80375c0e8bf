"""Which latents get a card, from a small table of concepts."""

from typing import Any

import polars as pl
import pytest

from steerwright.errors import UserError
from tasks.latents.cards import card_latents


def row(sae: str, concept: str, latent: int, d: float, share: float, step: int | None = None) -> dict[str, Any]:
    return {"sae": sae, "concept": concept, "step": step, "latent": latent, "cohens_d": d, "share_difference": share}


TABLE = pl.DataFrame([
    row("mid", "season:winter", 1, 3.0, 0.1), row("mid", "season:winter", 2, 2.0, 0.3),
    row("up", "season:winter", 1, 2.5, 0.2), row("mid", "season:winter", 9, 99.0, 9.0, step=4),
    row("mid", "object:car", 2, 1.0, 0.5), row("mid", "object:car", 5, 0.5, 0.1),
])  # fmt: skip


def found(chosen: dict[str, dict[str, Any]], count: int = 2) -> list[tuple[str, str, int]]:
    table = card_latents(TABLE, chosen, count)
    return list(table.select("concept", "sae", "latent").iter_rows())


def test_the_best_pooled_latents_of_each_concept_are_taken() -> None:
    assert found({"season:winter": {}, "object:car": {}}) == [
        ("season:winter", "mid", 1), ("season:winter", "up", 1), ("object:car", "mid", 2), ("object:car", "mid", 5),
    ]  # fmt: skip


def test_the_operating_point_says_by_which_score_and_in_which_autoencoders() -> None:
    ours = {"recipe": {"rank": "share_difference", "places": ["mid"]}}
    other = {"recipe": {"rank": "cohens_d", "places": ["up"]}}
    assert found({"season:winter": {"ablation": other, "steered": ours}}, 1) == [("season:winter", "mid", 2)]


def test_targets_that_share_a_concept_show_it_once() -> None:
    both = {"season:winter": {}, "season:winter + object:car": {}}
    assert len(found(both, 1)) == 2


def test_a_concept_that_was_never_mapped_is_named() -> None:
    with pytest.raises(UserError, match=r"no latents of season:spring"):
        found({"season:spring": {}})
    with pytest.raises(UserError, match="No concept was chosen"):
        found({})
