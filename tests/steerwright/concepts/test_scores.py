"""Scores from means, against arithmetic by hand."""

import numpy as np
import pytest
import torch

from steerwright.concepts.scores import ConceptMoments, cohens_d, moment_scores, share_difference


def moments_of(images: dict[str, list[list[float]]]) -> ConceptMoments:
    """Moments of token means [images, n] by concept, at step 0; the pooled place holds the same."""
    size = len(next(iter(images.values()))[0])
    moments = ConceptMoments.empty(tuple(images), (0,), size)
    for place, rows in enumerate(images.values()):
        means = torch.tensor(rows, dtype=torch.float64).unsqueeze(1).expand(-1, 2, -1)
        moments.add(torch.full((len(rows),), place), means, torch.ones(len(rows), 2, dtype=torch.bool))
    return moments


def test_share_difference_by_hand() -> None:
    # Shares 3/4, 1/4, 0 of the concept's total 4, and 2/8, 0, 6/8 of the others' total 8.
    score = share_difference(torch.tensor([3.0, 1.0, 0.0]).double(), torch.tensor([2.0, 0.0, 6.0]).double())
    torch.testing.assert_close(score, torch.tensor([0.5, 0.25, -0.75]).double(), atol=1e-8, rtol=0)


def test_others_are_all_images_of_the_other_concepts_of_the_axis_together() -> None:
    moments = moments_of(
        {
            "object:cat": [[4.0, 0.0], [2.0, 0.0]],
            # Three images of one concept and one of another: their mean is over images, not over concepts.
            "object:horse": [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]],
            "object:house": [[0.0, 9.0]],
            "season:winter": [[50.0, 1.0]],
        }
    )
    # Mean of cat (3, 0), shares (1, 0). Mean of the four others (0, 12 / 4 = 3), shares (0, 1).
    score = moment_scores(moments, "object:cat", 0, "share_difference")
    torch.testing.assert_close(score, torch.tensor([1.0, -1.0]).double(), atol=1e-8, rtol=0)
    assert moment_scores(moments, "object:cat", None, "mean_difference").tolist() == [3.0, -3.0]
    # Alone on its axis: the mean itself.
    assert moment_scores(moments, "season:winter", 0, "share_difference").tolist() == [50.0, 1.0]
    # Each concept counts once here: ((3, 0) + (0, 1) + (0, 9)) / 3.
    torch.testing.assert_close(moments.axis_means("object:cat", 0), torch.tensor([1.0, 10 / 3]))


def test_cohens_d_is_that_of_all_the_images() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(2, 1, (30, 5)), random.normal(1, 3, (50, 5))
    moments = moments_of({"object:cat": a.tolist(), "object:horse": b[:20].tolist(), "object:house": b[20:].tolist()})
    pooled = np.sqrt((29 * a.var(0, ddof=1) + 49 * b.var(0, ddof=1)) / 78)
    expected = (a.mean(0) - b.mean(0)) / pooled
    np.testing.assert_allclose(moment_scores(moments, "object:cat", 0, "cohens_d").numpy(), expected, rtol=1e-10)


def test_cohens_d_where_nothing_varies() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    mean, others = torch.tensor([1.0, 0.0, 2.0]).double(), torch.tensor([1.0, 1.0, 1.0]).double()
    assert cohens_d(4, mean, zero, 4, others, zero).tolist() == [0.0, -np.inf, np.inf]
    assert cohens_d(1, mean, zero, 1, others, zero).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("by", ["share_difference", "mean_difference", "cohens_d"])
def test_latents_of_nothing_but_zeros_score_zero(by: str) -> None:
    moments = moments_of({"object:cat": [[0.0, 0.0]] * 3, "object:horse": [[0.0, 0.0]] * 3})
    assert moment_scores(moments, "object:cat", 0, by).tolist() == [0.0, 0.0]  # type: ignore[arg-type]
