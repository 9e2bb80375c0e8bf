import json
import math

import torch

from steerwright.lab.api import plain_json
from steerwright.lab.operations.steer_text import Token
from steerwright.lab.workbench import Workbench


def test_what_is_not_finite_becomes_null() -> None:
    found = plain_json({"a": (1.5, math.nan), "b": torch.tensor([1.0, math.inf]), 3: [Token("x", -math.inf, 0.0)]})
    assert found == {"a": [1.5, None], "b": [1.0, None], "3": [{"text": "x", "unsteered": None, "steered": 0.0}]}
    json.dumps(found, allow_nan=False)


def test_a_concept_goes_without_its_vectors(workbench: Workbench) -> None:
    found = plain_json(workbench.concept("happy"))
    assert found == {
        "name": "happy", "factor": "emotion", "origin": "built-in", "layer": 2, "strength": 0.5, "safe": None,
        "pairs": 3,
    }  # fmt: skip
