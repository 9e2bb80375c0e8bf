"""Shipped moments give the edits that the whole ones give, and say nothing of latents that no edit uses."""

from pathlib import Path

import pytest
import torch

from steerwright.concepts.scores import ConceptMoments, save_concept_moments
from steerwright.errors import UserError
from steerwright.lab.pictures.part_moments import load_part_moments, save_part_moments

CONCEPTS = ("object:cat", "object:horse", "season:spring", "season:winter")


@pytest.fixture
def moments() -> ConceptMoments:
    draw = torch.Generator().manual_seed(1)
    found = ConceptMoments.empty(CONCEPTS, (0, 4), 12, {"sae": "up0"})
    for concept in range(4):
        means = torch.rand(6, 3, 12, generator=draw) * (1 + concept)
        found.add(torch.full((6,), concept), means, torch.ones(6, 3, dtype=torch.bool))
    return found


def test_means_and_variances_of_the_chosen_latents_come_back(moments: ConceptMoments, tmp_path: Path) -> None:
    save_part_moments(moments, {9, 2, 5}, {"season"}, tmp_path / "m.safetensors")
    found = load_part_moments(tmp_path / "m.safetensors")
    assert (found.concepts, found.steps, found.size) == (CONCEPTS[2:], (0, 4), 12)
    assert found.facts == {"sae": "up0"}
    for step in (0, 4):
        for places, theirs in (([0], [2]), ([0, 1], [2, 3])):
            count, mean, variance = found.mean_and_variance(places, step)
            wanted = moments.mean_and_variance(theirs, step)
            assert count == wanted[0]
            assert torch.allclose(mean[[2, 5, 9]], wanted[1][[2, 5, 9]], rtol=1e-6)
            assert torch.allclose(variance[[2, 5, 9]], wanted[2][[2, 5, 9]], rtol=5e-3)
            others = [latent for latent in range(12) if latent not in (2, 5, 9)]
            assert not mean[others].any() and not variance[others].any()


def test_the_same_moments_give_the_same_bytes(moments: ConceptMoments, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_part_moments(moments, [1, 3], ["object", "season"], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_files_are_refused(moments: ConceptMoments, tmp_path: Path) -> None:
    save_concept_moments(moments, tmp_path / "whole.safetensors")
    with pytest.raises(UserError, match="no moments of this kind"):
        load_part_moments(tmp_path / "whole.safetensors")
    (tmp_path / "torn").write_bytes(b"x" * 40)
    for name in ("torn", "missing"):
        with pytest.raises(UserError, match="missing or damaged"):
            load_part_moments(tmp_path / name)
