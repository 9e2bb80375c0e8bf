"""While tests run, the library's own annotations of shapes are checked (tests/shapes.py)."""

import pytest
import torch
from jaxtyping import TypeCheckError

from steerwright.activations.token_policy import mean_over
from steerwright.sae.latents import SparseLatents


def test_a_mask_for_another_number_of_tokens_is_refused_by_its_name() -> None:
    with pytest.raises(TypeCheckError, match="mask"):
        mean_over(torch.zeros(2, 3, 4), torch.ones(2, 1, dtype=torch.bool))  # torch alone would broadcast it


def test_fields_of_a_dataclass_are_checked() -> None:
    with pytest.raises(TypeCheckError, match="values"):
        SparseLatents(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 1), 8)
