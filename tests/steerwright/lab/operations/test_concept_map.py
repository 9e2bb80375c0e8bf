import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from steerwright.activations.residuals import residuals
from steerwright.errors import UserError
from steerwright.lab.concepts import ConceptEntry
from steerwright.lab.jobs import Job
from steerwright.lab.operations.concept_map import (
    ANSWERS,
    STEPS,
    ConceptPlane,
    concept_map,
    concept_places,
    principal_plane,
)
from steerwright.lab.workbench import Workbench
from steerwright.models.language.encode import encode_texts

PROMPT, LAYER = "Tell me about the lake.", 3


@pytest.fixture(scope="module")
def found(embedded: Workbench) -> ConceptPlane:
    return concept_map(embedded, PROMPT, "pirate", LAYER, 1.0, at_layer=5)


def test_the_plane_is_that_of_the_two_largest_eigenvectors_of_the_covariance() -> None:
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(9, 6, generator=generator) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.2, 0.1])
    axes, centre, explained = principal_plane(raw)
    values, vectors = np.linalg.eigh(np.cov(raw.double().numpy().T))
    for axis, column in zip(axes.double().numpy(), (-1, -2), strict=True):
        assert abs(axis @ vectors[:, column]) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(explained, values[[-1, -2]] / values.sum(), rtol=1e-5)
    torch.testing.assert_close(centre, raw.mean(0))


def test_the_map_of_the_same_concepts_is_not_mirrored_by_chance() -> None:
    raw = torch.tensor([[3.0, 0.0], [-1.0, 0.5], [-2.0, -0.5]])
    axes, centre, _ = principal_plane(raw)
    places = (raw - centre) @ axes.T
    largest = places.abs().argmax(0)
    assert (places[largest, [0, 1]] > 0).all()
    torch.testing.assert_close(principal_plane(raw.clone())[0], axes)


def test_two_concepts_lie_on_a_line() -> None:
    axes, _, explained = principal_plane(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert explained == pytest.approx((1.0, 0.0), abs=1e-6)
    assert axes.shape == (2, 3)


def test_the_path_begins_where_nothing_has_moved_and_goes_on_in_equal_steps(found: ConceptPlane) -> None:
    torch.testing.assert_close(found.path[0], found.origin, rtol=0, atol=1e-4)
    assert found.strengths == pytest.approx([step / STEPS for step in range(STEPS + 1)])
    assert found.answers.shape == (STEPS + 1, ANSWERS, 2)
    assert len(set(found.texts)) > 1


def test_answers_steered_towards_a_concept_move_in_its_direction(found: ConceptPlane) -> None:
    moved = found.path[-1] - found.origin
    aims = found.places - found.origin
    cosines = torch.nn.functional.cosine_similarity(aims, moved[None], dim=-1)
    own = float(cosines[found.names.index("pirate")])
    assert own > 0.5
    assert int((cosines > own).sum()) <= 2


def _displacement(lab: Workbench, entry: ConceptEntry, layer: int) -> torch.Tensor:
    """Text by text: the mean over a text's tokens, and the mean over texts of either side."""
    sides = []
    for texts in ([pair.positive for pair in entry.pairs], [pair.negative for pair in entry.pairs]):
        means = []
        for text, pair in zip(texts, entry.pairs, strict=True):
            encoded = encode_texts(lab.language(), [text], [pair.prompt])
            means.append(residuals(lab.language(), encoded)[layer, 0, encoded.content[0]].mean(0))
        sides.append(torch.stack(means).mean(0))
    return sides[0] - sides[1]


def test_no_concept_is_drawn_further_away_than_its_answers_are(embedded: Workbench, found: ConceptPlane) -> None:
    for name in ("happy", "pirate", "verbose"):
        true = float(_displacement(embedded, embedded.concept(name), 5).norm())
        drawn = float((found.places[found.names.index(name)] - found.origin).norm())
        assert 0 < drawn <= true * (1 + 1e-3)


def test_a_concept_lies_where_its_answers_do_and_one_without_pairs_where_its_vector_says(workbench: Workbench) -> None:
    first, second, *_ = workbench.concepts().values()
    imported = replace(first, name="imported", pairs=())
    names, places = concept_places(workbench, [imported, second], 2, Job())
    assert names == ("imported", second.name)
    (vector,) = imported.vectors.at_layers([2]).directions.values()
    torch.testing.assert_close(places[0], vector.unit * vector.norm)
    torch.testing.assert_close(places[1], _displacement(workbench, second, 2), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="two concepts"):
        concept_places(workbench, [imported], 2, Job())


def test_only_one_factors_concepts_can_be_laid_out_beside_the_steered_one(embedded: Workbench) -> None:
    some = concept_map(embedded, PROMPT, "pirate", LAYER, 0.0, factor="length")
    assert set(some.names) == {"brief", "verbose", "pirate"}
    # Strength 0 is no steering: every step of the path stays where it began.
    torch.testing.assert_close(some.path, some.origin.expand_as(some.path), rtol=0, atol=1e-4)
    assert all(math.isnan(kept) for kept in some.kept)


@pytest.mark.parametrize("wrong", [{"factor": "colour"}, {"at_layer": -1}, {"strength": math.inf}, {"concept": "x"}])
def test_what_cannot_be_drawn_is_refused(embedded: Workbench, wrong: dict[str, object]) -> None:
    asked = {"prompt": PROMPT, "concept": "pirate", "layer": LAYER, "strength": 1.0} | wrong
    with pytest.raises(UserError):
        concept_map(embedded, **asked)  # type: ignore[arg-type]
