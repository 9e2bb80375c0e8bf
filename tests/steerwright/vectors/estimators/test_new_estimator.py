"""A new estimator is a function and a line in the registry: params.yaml may name it, and vectors are fitted by it."""

from collections.abc import Iterator

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from steerwright.activations.token_policy import PromptActivations
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.estimators.registry import ESTIMATORS, EstimatorName, estimate
from steerwright.vectors.fit import fit_vectors

AT = Hookpoint("text_encoder.encoder.layers.2.mlp")
MODEL = Fingerprint(name="tiny", source="here", revision=None, digest="0" * 64, libraries={})


def median_difference(positive: Tensor, negative: Tensor) -> Direction:
    return normalised(positive.double().median(0).values - negative.double().median(0).values)


@pytest.fixture
def known() -> Iterator[None]:
    ESTIMATORS["median_difference"] = median_difference
    yield
    del ESTIMATORS["median_difference"]


def test_a_new_estimator_fits_vectors(known: None) -> None:
    # One pair in five is an outlier, which the median does not follow: 3 and 4, whatever the last row says.
    positive = torch.tensor([[3.0, 4.0]] * 4 + [[1000.0, -1000.0]])
    found = estimate("median_difference", positive, torch.zeros(5, 2))
    assert found.unit.tolist() == pytest.approx([0.6, 0.8]) and float(found.norm) == pytest.approx(5.0)
    content = {"content": torch.ones(5, 1, dtype=torch.bool)}
    sides = (PromptActivations(values[:, None], content) for values in (positive, torch.zeros(5, 2)))
    vectors = fit_vectors(
        [(AT, *sides)], concept="c", model=MODEL, estimator="median_difference", token_policy="content"
    )
    assert vectors.estimator == "median_difference"
    (direction,) = vectors.directions.values()
    assert direction.unit.tolist() == pytest.approx([0.6, 0.8])


def test_params_may_name_it_and_no_other(known: None) -> None:
    assert TypeAdapter(EstimatorName).validate_python("median_difference") == "median_difference"
    with pytest.raises(ValidationError, match="'mode' does not exist; choose one of mean_difference"):
        TypeAdapter(EstimatorName).validate_python("mode")
