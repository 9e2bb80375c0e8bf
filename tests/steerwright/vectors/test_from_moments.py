"""Vectors from running sums: planted directions, bins, controls."""

import pytest
import torch

from steerwright.activations.paired_moments import PairedMoments, shuffle_signs
from steerwright.errors import UserError
from steerwright.models.attention_blocks import AttentionBlock
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.fit import vectors_from_moments
from steerwright.vectors.statistics import vectors_table
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="m", source="s", revision=None, digest="0" * 64, libraries={})
HERE = Hookpoint("unet.mid_block.attentions.0.transformer_blocks.0.attn2")
TIMESTEPS = (900.0, 600.0, 300.0, 0.0)


def planted(gaps: torch.Tensor, noise: float, pairs: int = 40, shuffles: int = 20, seed: int = 1) -> PairedMoments:
    """Pairs whose difference at step s is gaps[s] plus noise; the negatives lie around (5, 0, 0, ...)."""
    generator = torch.Generator().manual_seed(seed)
    steps, width = gaps.shape
    signs = shuffle_signs([str(i) for i in range(pairs)], shuffles, seed)
    sums = PairedMoments.empty(steps, width, len(signs))
    for step in range(steps):
        base = torch.randn(pairs, width, generator=generator, dtype=torch.float64) * 0.1
        base[:, 0] += 5
        extra = gaps[step] + noise * torch.randn(pairs, width, generator=generator, dtype=torch.float64)
        sums.add(step, base + extra, base, signs)
    return sums


def fit(sums: PairedMoments, bins: int | None = None) -> SteeringVectors:
    return vectors_from_moments({(HERE, "cond"): sums}, concept="c", model=MODEL, timesteps=TIMESTEPS, bins=bins)


def test_a_planted_direction_is_found_with_its_length_and_origin() -> None:
    gaps = torch.zeros(4, 6, dtype=torch.float64)
    gaps[:, 0], gaps[:, 1] = 3.0, 4.0
    found = fit(planted(gaps, noise=1e-6))
    assert [slot.steps for slot in found.directions] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    for slot, direction in found.directions.items():
        assert direction.unit.tolist() == pytest.approx([0.6, 0.8, 0, 0, 0, 0], abs=1e-4)
        assert float(direction.norm) == pytest.approx(5.0, abs=1e-4)
        # The negatives' mean is (5, 0, ...) up to its own spread; along (0.6, 0.8) that is 3.
        assert direction.origin is not None
        assert float(direction.origin) == pytest.approx(3.0, abs=0.1)
        assert not found.is_noise(slot)


def test_neighbouring_steps_share_a_vector() -> None:
    gaps = torch.zeros(4, 3, dtype=torch.float64)
    gaps[0, 0] = gaps[1, 1] = gaps[2, 2] = gaps[3, 2] = 2.0
    found = fit(planted(gaps, noise=0), bins=2)
    first, second = found.directions.values()
    assert [slot.steps for slot in found.directions] == [(0, 1), (2, 3)]
    # The mean of (2, 0, 0) and (0, 2, 0) is (1, 1, 0), of length sqrt 2.
    assert first.unit.tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0], abs=1e-6)
    assert float(first.norm) == pytest.approx(2**0.5)
    assert second.unit.tolist() == pytest.approx([0, 0, 1])
    assert len(fit(planted(gaps, noise=0), bins=1).directions) == 1


def test_what_is_no_longer_than_shuffled_labels_is_marked_as_noise() -> None:
    gaps = torch.zeros(4, 64, dtype=torch.float64)
    gaps[1, 0] = 5.0
    found = fit(planted(gaps, noise=1.0))
    marked = {slot.steps: found.is_noise(slot) for slot in found.directions}
    assert not marked[1, 1]
    # Pure noise beats the largest of 20 shuffles of itself once in 21 times: of three steps at least two are marked.
    assert sum(marked.values()) >= 2


@pytest.mark.parametrize("pairs", [2, 3, 4, 6, 8, 12])
def test_a_concept_that_tells_all_pairs_apart_is_never_noise_however_few_they_are(pairs: int) -> None:
    gaps = torch.zeros(4, 6, dtype=torch.float64)
    gaps[:, 1] = 3.0
    block = AttentionBlock(HERE, "mid", 0, "cross", 6)
    for seed in range(20):
        found = fit(planted(gaps, 0.1, pairs, 20, seed))
        marks = set(vectors_table(found, [block])["noise"])
        assert marks == ({None} if pairs < 6 else {False})
        assert not any(fit(planted(gaps, 0.1, pairs, 2 ** (pairs - 1) - 1, seed)).is_noise(slot)
                       for slot in found.directions)  # fmt: skip


def test_a_difference_that_vanishes_is_no_direction_and_no_error() -> None:
    gaps = torch.zeros(4, 3, dtype=torch.float64)
    gaps[1:, 0] = 1.0
    found = fit(planted(gaps, noise=0))
    nothing = found.directions[VectorKey(HERE, steps=(0, 0), branch="cond")]
    assert float(nothing.norm) == 0.0
    assert not nothing.unit.any()
    with pytest.raises(UserError, match="prompts that made no difference"):
        fit(planted(torch.zeros(4, 3, dtype=torch.float64), noise=0))


def test_activations_that_overflowed_are_refused_by_place() -> None:
    sums = planted(torch.ones(4, 3, dtype=torch.float64), noise=0)
    sums.positive[2, 0] = torch.inf
    with pytest.raises(UserError, match=r"mid_block.*steps 2 to 2, cond branch, are not finite"):
        fit(sums)


def test_the_table_of_vectors_tells_lengths_and_angles() -> None:
    gaps = torch.zeros(4, 3, dtype=torch.float64)
    gaps[0, 0] = gaps[1, 0] = gaps[2, 1] = gaps[3, 1] = 2.0
    block = AttentionBlock(HERE, "mid", 0, "cross", 3)
    table = vectors_table(fit(planted(gaps, noise=0)), [block])
    assert table["block"].to_list() == ["mid.0"] * 4
    assert table["norm"].to_list() == pytest.approx([2.0] * 4)
    assert table["cosine_next"].to_list()[:3] == pytest.approx([1.0, 0.0, 1.0])
    assert table["cosine_next"].to_list()[3] is None
    assert table["attention"].to_list() == ["cross"] * 4
    # Each is half way, 45 degrees, from the mean of the four.
    assert table["cosine_mean"].to_list() == pytest.approx([0.5**0.5] * 4)
