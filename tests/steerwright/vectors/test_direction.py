import pytest
import torch

from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="here", revision=None, digest="0" * 64, libraries={})
UNIT, NORM = torch.tensor([0.6, 0.8]), torch.tensor(5.0)


def test_the_origin_says_where_the_two_means_lie_along_the_direction() -> None:
    # Means (-1, 2) and (2, 6): the difference (3, 4) has length 5, and the negative mean is at -0.6 + 1.6 along it.
    negative, positive = torch.tensor([-1.0, 2.0]), torch.tensor([2.0, 6.0])
    found = normalised(positive - negative)
    placed = Direction(found.unit, found.norm, negative @ found.unit)
    assert placed.origin is not None and placed.origin == pytest.approx(1.0)
    assert positive @ placed.unit == pytest.approx(float(placed.origin + placed.norm))


def test_an_origin_may_be_unknown_and_may_be_negative() -> None:
    assert Direction(UNIT, NORM).origin is None
    assert Direction(UNIT, NORM, torch.tensor(-3.0)).origin == -3.0


@pytest.mark.parametrize("origin", [torch.zeros(1), torch.zeros(2), torch.tensor(torch.nan), torch.tensor(torch.inf)])
def test_an_origin_is_finite_and_shaped_like_the_norm(origin: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"origin of a direction is finite and shaped like its norm, \[\]"):
        Direction(UNIT, NORM, origin)


def test_a_direction_per_position_has_an_origin_per_position() -> None:
    units, norms = torch.stack([UNIT, UNIT]), torch.tensor([1.0, 2.0])
    assert Direction(units, norms, torch.tensor([0.0, 7.0])).origin is not None
    with pytest.raises(ValueError, match=r"shaped like its norm, \[2\]"):
        Direction(units, norms, torch.tensor(0.0))


def test_a_vector_is_noise_where_shuffled_labels_reach_its_length() -> None:
    at = [VectorKey(Hookpoint("unet.mid_block"), steps=(step, step)) for step in range(4)]
    directions = {
        slot: Direction(UNIT, torch.tensor(length)) for slot, length in zip(at, (1.0, 2.0, 3.0, 4.0), strict=True)
    }
    found = SteeringVectors("x", MODEL, "x", "mean", directions, (4.0, 3.0, 2.0, 1.0), {s: 2.0 for s in at[:3]})
    assert [found.is_noise(slot) for slot in at] == [True, True, False, False]


def test_a_slot_beyond_the_schedule_is_refused() -> None:
    directions = {VectorKey(Hookpoint("unet.mid_block"), steps=(0, 2)): Direction(UNIT, NORM)}
    SteeringVectors("x", MODEL, "x", "mean", directions, (999.0, 500.0, 1.0))
    for timesteps in ((999.0, 500.0), None):
        with pytest.raises(ValueError, match="A slot is for step 2, but the schedule has"):
            SteeringVectors("x", MODEL, "x", "mean", directions, timesteps)
