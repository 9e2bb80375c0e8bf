"""What params.yaml says about ways of erasing, and autoencoders with their concepts' means from files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from steerwright.concepts.scores import ConceptMoments, save_concept_moments
from steerwright.errors import UserError, UserErrors
from steerwright.sae.activations import TopK
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import save_sae
from steerwright.sae.site import Site
from steerwright.steering.latents.edits import LatentRecipe
from steerwright.steering.latents.erasure import ConceptChange, LatentChanges, load_places, parse_methods

SET = {"places": ["mid"], "change": "set"}


def test_recipes_are_tried_in_order_each_at_its_strengths() -> None:
    found = parse_methods(
        {
            "steered": {"season": [{**SET, "strengths": [1, 1.5]}, {**SET, "top": 8}], "object": [SET]},
            "ablation": [{**SET, "change": "scale", "factor": 0}],
        },
        ["season", "object"],
    )
    seasons = found["steered"]["season"]
    assert [(recipe.top, strength) for recipe, strength in seasons] == [(64, 1.0), (64, 1.5), (8, 1.0)]
    assert type(seasons[0][0]) is LatentRecipe
    assert found["ablation"]["season"] == found["ablation"]["object"]


def test_every_problem_is_named_with_its_place() -> None:
    with pytest.raises(UserErrors) as caught:
        parse_methods(
            {"steered": {"season": [{**SET, "tops": 3}, {**SET, "factor": 2.0}]}, "saeuron": []}, ["season", "object"]
        )
    text = str(caught.value)
    for expected in (
        "latents.search.methods.steered.season.0.tops:",
        "latents.search.methods.steered.season.1: `factor` belongs to",
        "latents.search.methods.steered: there is no recipe for the axis object",
        "latents.search.methods.saeuron.season: give at least one recipe",
    ):
        assert expected in text


def test_edits_are_made_from_files_concept_after_concept(sd21: Any, tmp_path: Path) -> None:
    unit = torch.eye(4)
    site = Site(hookpoint="unet.mid_block.attentions.0:out")
    save_sae(Sae(unit, torch.zeros(4), unit, torch.zeros(4), TopK(2), site=site), tmp_path / "saes" / "mid")
    moments = ConceptMoments.empty(("season:summer", "season:winter"), (0, 1), 4)
    means = torch.tensor([[1.0, 0.0, 2.0, 0.5], [0.0, 3.0, 2.0, 0.5]])
    for number in (0, 1):
        every = means[number].expand(1, 3, 4)
        moments.add(torch.tensor([number]), every, torch.ones(1, 3, dtype=torch.bool))
    (tmp_path / "moments").mkdir()
    save_concept_moments(moments, tmp_path / "moments" / "mid.safetensors")
    recipe = LatentRecipe(places=("mid",), top=1)
    erased = [
        ConceptChange(concept="season:winter", recipe=recipe, strength=1.0),
        ConceptChange(concept="season:summer", recipe=recipe, strength=2.0),
    ]
    model = replace(sd21, spec=sd21.spec.model_copy(update={"steps": 2}))
    found = LatentChanges(tmp_path / "saes", tmp_path / "moments", tuple(erased)).edits(model)
    # PNDM visits one timestep of two twice.
    assert [(edit.strength, edit.steps) for edit in found] == [
        (strength, (step, step)) for strength in (1.0, 2.0) for step in (0, 1, 2)
    ]


def test_a_folder_without_autoencoders_is_named(tmp_path: Path) -> None:
    (tmp_path / "saes").mkdir()
    with pytest.raises(UserError, match=r"There is no autoencoder in .*saes; train some first"):
        load_places(tmp_path / "saes", tmp_path)
