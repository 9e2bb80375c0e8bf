"""Statistics of each layer's vector, by hand."""

import math

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import normalised
from steerwright.vectors.statistics import layer_statistics
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="tiny", revision=None, digest="a1" * 32, libraries={})


def vectors(**raw: list[float]) -> SteeringVectors:
    directions = {
        VectorKey(Hookpoint(f"model.layers.{name[1:]}")): normalised(torch.tensor(v)) for name, v in raw.items()
    }
    return SteeringVectors("joy", MODEL, "", "", directions)


def test_each_layers_numbers_are_those_of_its_vector_as_long_as_it_is() -> None:
    found = layer_statistics(vectors(l10=[3.0, -4.0, 0.0, 0.005], l2=[0.0, 1.0, 0.0, 0.0]), {10: 2.0}, dimensions=2)
    assert [row.layer for row in found] == [2, 10]
    row = found[1]
    assert row.norm == pytest.approx(5.0, abs=1e-4)
    assert row.relative_norm == pytest.approx(2.5, abs=1e-4)
    assert row.mean == pytest.approx((3 - 4 + 0.005) / 4, abs=1e-5)
    mean = row.mean
    variance = ((3 - mean) ** 2 + (-4 - mean) ** 2 + mean**2 + (0.005 - mean) ** 2) / 4
    assert row.std == pytest.approx(math.sqrt(variance), abs=1e-5)
    assert (row.low, row.high) == (pytest.approx(-4.0, abs=1e-5), pytest.approx(3.0, abs=1e-5))
    assert row.small_share == 0.5
    assert [dimension for dimension, _ in row.largest] == [1, 0]
    assert row.largest[0][1] == pytest.approx(-4.0, abs=1e-5)
    assert found[0].relative_norm is None


def test_more_dimensions_than_there_are_give_all() -> None:
    assert len(layer_statistics(vectors(l0=[1.0, 2.0]))[0].largest) == 2


def test_what_is_not_one_direction_per_layer_is_refused() -> None:
    for directions in (
        {VectorKey(Hookpoint("unet.mid_block")): normalised(torch.ones(2))},
        {VectorKey(Hookpoint("text_encoder.encoder.layers.0")): normalised(torch.ones(3, 2))},
        {VectorKey(Hookpoint("a.layers.0"), tokens=tokens): normalised(torch.ones(2)) for tokens in ("eos", "content")},
    ):
        with pytest.raises(UserError, match="not one direction per layer"):
            layer_statistics(SteeringVectors("joy", MODEL, "", "", directions))
