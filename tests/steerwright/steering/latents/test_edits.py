"""From concepts' means to edits: which latents, where to, in which images; against planted means."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from steerwright.concepts.scores import ConceptMoments
from steerwright.errors import UserError
from steerwright.sae.activations import Relu
from steerwright.sae.sae import Sae
from steerwright.sae.site import Site
from steerwright.steering.algebra import Edit, edited
from steerwright.steering.gates import Always
from steerwright.steering.latents.edits import ConceptLatents, LatentRecipe, latent_edits, presence_gate, together
from steerwright.steering.latents.gates import LatentsInImage
from steerwright.steering.latents.operators import EditLatents, ReplacePatches, SaeuronEdit

CONCEPTS = ("season:autumn", "season:summer", "season:winter", "object:cat", "object:dog")
STEPS = (0, 1, 2)
SIZE = 8
WINTER = "season:winter"


def planted(step: int, concept: str) -> torch.Tensor:
    """Mean of each latent: latent 1 + step is winter's own, latent 6 is what winter lacks, latent 7 nobody's."""
    means = torch.tensor([1.0, 0.2, 0.2, 0.2, 0.5, 0.5, 0.8, 0.0])
    if concept == WINTER:
        means[1 + step] = 2.0
        means[6] = 0.1
    if concept == "season:summer":
        means[4] = 0.9
    return means


def place(hookpoint: str = "unet.mid_block.attentions.0:out") -> ConceptLatents:
    """An autoencoder whose latent f is coordinate f, and the planted means, each image 0.1 above or below."""
    moments = ConceptMoments.empty(CONCEPTS, STEPS, SIZE)
    for image in range(4):
        for number, concept in enumerate(CONCEPTS):
            means = torch.zeros(1, len(STEPS) + 1, SIZE)
            for step in STEPS:
                found = planted(step, concept)
                means[0, step] = torch.where(found > 0, found + (0.1 if image % 2 else -0.1), 0.0)
            moments.add(torch.tensor([number]), means, torch.ones(1, len(STEPS) + 1, dtype=torch.bool))
    unit = torch.eye(SIZE)
    return ConceptLatents(
        Sae(unit, torch.zeros(SIZE), unit, torch.zeros(SIZE), Relu(), site=Site(hookpoint=hookpoint)), moments
    )


def edits(recipe: dict[str, Any], action: Any = "erase", concept: str = WINTER, **more: Any) -> list[Edit]:
    given = {"places": ["mid"], "top": 2, **recipe}
    strength = more.pop("strength", 1.0)
    return latent_edits(action, {"mid": place()}, concept, LatentRecipe(**given), strength, steps=3, **more)


def token(values: list[float]) -> torch.Tensor:
    return torch.tensor([[values]])


def latents(edit: Edit) -> list[int]:
    assert isinstance(edit.operator, EditLatents | SaeuronEdit)
    parts = edit.operator.parts if isinstance(edit.operator, EditLatents) else (edit.operator,)
    return [int(latent) for part in parts for latent in part.latents]


SNOWY = [1.0, 3.0, 0.2, 0.2, 0.5, 0.5, 0.0, 0.0]


def test_each_step_has_the_latents_that_tell_the_concept_there() -> None:
    found = edits({})
    assert [edit.steps for edit in found] == [(0, 0), (1, 1), (2, 2)]
    assert [latents(edit) for edit in found] == [[1, 6], [2, 6], [3, 6]]
    assert [latents(edit) for edit in edits({"own_only": True, "top": 1})] == [[1], [2], [3]]


def test_erasing_sets_them_to_the_mean_of_images_without_the_concept() -> None:
    after = edited(edits({})[0], token(SNOWY))
    assert after[0, 0].tolist() == pytest.approx([1.0, 0.2, 0.2, 0.2, 0.5, 0.5, 0.8, 0.0])
    beyond = edited(edits({}, strength=1.5)[0], token(SNOWY))
    assert beyond[0, 0].tolist() == pytest.approx([1.0, 3.0 - 1.5 * 2.8, 0.2, 0.2, 0.5, 0.5, 1.2, 0.0])


def test_one_sided_leaves_tokens_alone_that_have_less_of_the_concept_than_others() -> None:
    x = token([1.0, 0.1, 0.2, 0.2, 0.5, 0.5, 0.9, 0.0])
    assert torch.equal(edited(edits({"one_sided": True})[0], x), x)
    assert not torch.equal(edited(edits({})[0], x), x)


def test_moving_goes_as_far_as_a_token_has_the_concept() -> None:
    """The way at step 0 is (-1.8, +0.7) in latents 1 and 6, from (2.0, 0.1) to (0.2, 0.8)."""
    wholly, half = token([1.0, 2.0, 0.2, 0.2, 0.5, 0.5, 0.1, 0.0]), token([1.0, 1.1, 0.2, 0.2, 0.5, 0.5, 0.45, 0.0])
    without = token([1.0, 0.2, 0.2, 0.2, 0.5, 0.5, 0.8, 0.0])
    edit = edits({"change": "move"})[0]
    assert torch.allclose(edited(edit, wholly), without, atol=1e-5)
    assert torch.allclose(edited(edit, half), without, atol=1e-5)
    assert torch.allclose(edited(edit, without), without, atol=1e-5)
    beyond = edited(edits({"change": "move"}, strength=2.0)[0], half)
    assert beyond[0, 0, [1, 6]].tolist() == pytest.approx([1.1 - 1.8, 0.45 + 0.7], abs=1e-5)


def test_adding_sets_them_to_the_mean_of_images_with_the_concept() -> None:
    x = token([1.0, 0.2, 0.2, 0.2, 0.5, 0.5, 0.8, 0.0])
    assert edited(edits({}, "add")[0], x)[0, 0].tolist() == pytest.approx([1.0, 2.0, 0.2, 0.2, 0.5, 0.5, 0.1, 0.0])
    there = edited(edits({"change": "add"}, "add")[0], x)[0, 0]
    assert there.tolist() == pytest.approx([1.0, 2.0, 0.2, 0.2, 0.5, 0.5, 0.1, 0.0])


def test_clamping_takes_only_what_is_more_than_others_have() -> None:
    after = edited(edits({"change": "clamp"})[0], token(SNOWY))
    assert after[0, 0].tolist() == pytest.approx([1.0, 0.2, 0.2, 0.2, 0.5, 0.5, 0.0, 0.0])


def test_a_concept_can_be_turned_into_one_of_its_axis() -> None:
    """Summer's mean of latent 4 is 0.9, that of all images without winter 0.7."""
    x = token(SNOWY)
    recipe = {"own_only": False, "top": 3}
    # Winter has 0.5 of latent 4, the others 0.7 on average: it is the third that tells them apart.
    assert latents(edits(recipe)[0]) == [1, 4, 6]
    assert float(edited(edits(recipe)[0], x)[0, 0, 4]) == pytest.approx(0.7)
    assert float(edited(edits({**recipe, "toward": "summer"})[0], x)[0, 0, 4]) == pytest.approx(0.9)


def test_patches_are_found_by_the_concepts_own_latents() -> None:
    edit = edits({"change": "replace", "source": "uncond", "where": 0.5, "top": 3})[0]
    assert isinstance(edit.operator, ReplacePatches)
    # Latents 4 and 6 tell winter too, but by being lower.
    assert (edit.operator.latents.tolist(), edit.operator.threshold) == ([1], 0.5)
    with pytest.raises(UserError, match="replaced to erase"):
        edits({"change": "replace", "source": "uncond"}, "add")


def test_saeurons_change_has_its_mean_and_its_threshold() -> None:
    """z > mean over the axis' concepts (2.0 + 0.2 + 0.2) / 3 = 0.8 becomes factor * 2.0 * z."""
    recipe = {"change": "scale_by_mean", "factor": -3.0, "own_only": True, "rank": "share_difference", "top": 1}
    edit = edits({**recipe, "branch": "both"})[0]
    assert edited(edit, token(SNOWY))[0, 0, 1] == pytest.approx(-3.0 * 2.0 * 3.0)
    little = token([1.0, 0.7, 0.2, 0.2, 0.5, 0.5, 0.0, 0.0])
    assert torch.equal(edited(edit, little), little)
    published = edits({**recipe, "compat": "saeuron", "branch": "both"})[0]
    assert isinstance(published.operator, SaeuronEdit)
    assert published.branch == "both"
    with pytest.raises(UserError, match="strength 1 only; vary `factor`"):
        edits({**recipe, "compat": "saeuron"}, strength=2.0)


def test_presence_is_zero_without_and_one_with_the_concept() -> None:
    source = place()
    for step in STEPS:
        gate = presence_gate(source, WINTER, step, top=3, threshold=0.5)
        without = (planted(step, "season:autumn") + planted(step, "season:summer")) / 2
        assert gate.presence(planted(step, WINTER).view(1, 1, -1)) == pytest.approx(1.0, abs=1e-5)
        assert gate.presence(without.view(1, 1, -1)) == pytest.approx(0.0, abs=1e-5)


def test_the_gate_is_measured_where_the_recipe_says_and_shared_by_all_places() -> None:
    places = {"mid": place(), "up": place("unet.up_blocks.1.attentions.0:out")}
    recipe = LatentRecipe(places=("mid", "up"), gate=0.4, gate_at="up", top=2)
    found = latent_edits("erase", places, WINTER, recipe, 1.0, steps=3)
    assert len(found) == 6
    first, second = found[0].gate, found[1].gate
    assert isinstance(first, LatentsInImage)
    assert first is second
    assert (str(first.hookpoint), first.threshold) == ("unet.up_blocks.1.attentions.0:out", 0.4)
    assert all(isinstance(edit.gate, Always) for edit in edits({}))


def test_random_latents_are_as_many_others_that_are_active() -> None:
    for edit, own in zip(edits({}, random=5), edits({}), strict=True):
        chosen = latents(edit)
        assert len(chosen) == 2
        assert not set(chosen) & {*latents(own), 7}
    assert [latents(e) for e in edits({}, random=5)] == [latents(e) for e in edits({}, random=5)]
    assert [latents(e) for e in edits({}, random=5)] != [latents(e) for e in edits({}, random=6)]


def test_a_step_without_means_takes_the_nearest() -> None:
    source = place()
    found = latent_edits("erase", {"mid": source}, WINTER, LatentRecipe(places=("mid",), top=2), 1.0, steps=5)
    assert [latents(edit) for edit in found] == [[1, 6], [2, 6], [3, 6], [3, 6], [3, 6]]
    window = LatentRecipe(places=("mid",), top=2, window=(1, 2))
    assert [e.steps for e in latent_edits("erase", {"mid": source}, WINTER, window, 1.0, steps=5)] == [(1, 1), (2, 2)]


def test_several_concepts_together_are_one_edit_a_place_and_step() -> None:
    source = place()
    recipe = LatentRecipe(places=("mid",), top=2, gate=0.5)
    each = [
        latent_edits("erase", {"mid": source}, concept, recipe, 1.0, steps=3) for concept in (WINTER, "season:summer")
    ]
    found = together(each, "first")
    assert [edit.steps for edit in found] == [(0, 0), (1, 1), (2, 2)]
    operator = found[0].operator
    assert isinstance(operator, EditLatents)
    assert operator.merge == "first"
    assert [part.latents.tolist() for part in operator.parts] == [latents(each[0][0]), latents(each[1][0])]
    assert [part.gate for part in operator.parts] == [each[0][0].gate, each[1][0].gate]
    # Where both hold, the first decides; where only the second does, it acts.
    x = token([1.0, 3.0, 0.2, 0.2, 3.0, 0.5, 0.0, 0.0])
    held = [torch.tensor([False]), torch.tensor([True])]
    alone = edited(each[1][0], x)
    assert torch.allclose(edited(found[0], x, held=held), alone)
    other = latent_edits("erase", {"mid": source}, WINTER, recipe, 2.0, steps=3)
    with pytest.raises(UserError, match="differ in strength"):
        together([each[0], other], "sum")


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="no autoencoder 'down'; there are mid"):
        edits({"places": ["down"]})
    with pytest.raises(UserError, match=r"no concept 'season:winte'.*did you mean 'season:winter'"):
        edits({}, concept="season:winte")
    with pytest.raises(UserError, match="no concept 'season:rain'"):
        edits({"toward": "rain"})
    with pytest.raises(UserError, match="steps 0 to 3 do not exist; this run has steps 0 to 2"):
        edits({"window": [0, 3]})
    for wrong in (
        {"change": "scale"},
        {"factor": 2.0},
        {"compat": "saeuron"},
        {"change": "replace"},
        {"source": "uncond"},
        {"toward": "summer", "change": "clamp"},
    ):
        with pytest.raises(ValidationError, match=r"goes? with|belongs to"):
            LatentRecipe.model_validate({"places": ["mid"], **wrong})
    with pytest.raises(UserError, match="does not say at which hookpoint"):
        unit = torch.eye(SIZE)
        ConceptLatents(Sae(unit, torch.zeros(SIZE), unit, torch.zeros(SIZE), Relu()), place().moments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gate_at": "mid"}, "gate_at: this says how `gate` is measured"),
        ({"gate_until": 0, "gate_top": 8}, "gate_until, gate_top: this says how `gate` is measured"),
        ({"change": "move", "one_sided": True}, "`one_sided` goes with the changes set and set_means"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentRecipe(places=("mid",), **given)


def test_a_gate_is_not_decided_at_a_step_that_there_is_not() -> None:
    recipe = LatentRecipe(places=("mid",), top=2, gate=0.4, gate_until=3)
    with pytest.raises(UserError, match="gate_until 3: there is no such step; this run has steps 0 to 2"):
        latent_edits("erase", {"mid": place()}, WINTER, recipe, 1.0, steps=3)
