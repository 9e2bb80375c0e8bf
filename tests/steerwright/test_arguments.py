"""What callers give: numbers of Python, NumPy and torch are alike; everything else is one message."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from steerwright.arguments import layer_list, negative_list, number, picture_settings, seed_list, text_list
from steerwright.errors import UserError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, [3]),
        (np.int64(3), [3]),
        (torch.tensor(3), [3]),
        (np.array(3), [3]),
        (range(2), [0, 1]),
        (np.array([4, 5], dtype=np.uint32), [4, 5]),
        (torch.tensor([4, 5]), [4, 5]),
        ((np.int8(1), torch.tensor(2), 3), [1, 2, 3]),
        (2**63 - 1, [2**63 - 1]),
    ],
)
def test_seeds_are_whole_numbers_of_any_library(given: Any, expected: list[int]) -> None:
    found = seed_list(given)
    assert found == expected and all(type(seed) is int for seed in found)


@pytest.mark.parametrize(
    "given",
    [True, np.True_, torch.tensor(True), -1, 2**63, 3.0, np.float64(3), "3", None, [1, None], [[1]], np.array([1.5]),
     math.nan, torch.tensor([True]), []],
)  # fmt: skip
def test_what_is_no_seed_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match="seed"):
        seed_list(given)


def test_a_refused_argument_is_also_a_value_error_for_python() -> None:
    with pytest.raises(ValueError, match="a seed is a whole number"):
        seed_list(-1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "There is no prompt"),
        ("  ", "A prompt is empty"),
        (["a", "\n"], "prompt number 2 is empty"),
        ([1], "The prompt 1 is no text"),
        (None, "The prompt None is no text"),
    ],
)
def test_what_is_no_prompt_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        text_list(given)


def test_negative_prompts_are_one_for_all_for_each_or_for_each_prompt() -> None:
    assert negative_list(None, 2) == negative_list("", 2) == ["", ""]
    assert negative_list("x", 2) == ["x", "x"]
    assert negative_list(["x", None], 2) == ["x", ""]
    # Two prompts with three seeds each: the pictures of the first prompt come first.
    assert negative_list(["x", "y"], 6, 2) == ["x", "x", "x", "y", "y", "y"]
    assert negative_list(list("abcdef"), 6, 2) == list("abcdef")
    for given in (["x"], list("abc"), [], [3, 4]):
        with pytest.raises(UserError, match=r"negative prompt"):
            negative_list(given, 6 if given != [3, 4] else 2, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps 0: a picture takes at least 1 step"),
        ({"steps": True}, "steps True"),
        ({"steps": 2.5}, "steps 2.5"),
        ({"guidance": math.nan}, "guidance nan: give a number that is not negative"),
        ({"guidance": -1}, "guidance -1"),
        ({"guidance": True}, "guidance True"),
        ({"guidance": "4"}, "guidance '4'"),
        ({"height": 60}, "multiples of 8"),
        ({"width": 68}, "multiples of 8"),
        ({"height": 0}, "height 0"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_settings_that_no_picture_can_have_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        picture_settings(**given)


def test_settings_come_back_as_numbers_of_python() -> None:
    found = picture_settings(steps=np.int64(3), guidance=np.float32(2.5), height=torch.tensor(64))
    assert found == {"steps": 3, "guidance": 2.5, "height": 64}
    assert [type(value) for value in found.values()] == [int, float, int]


def test_a_number_is_finite_and_no_truth_value() -> None:
    assert number(torch.tensor(0.5), "gate", "") == number(np.float16(0.5), "gate", "") == 0.5
    for given in (True, math.inf, "1", None, [1.0], torch.tensor([1.0])):
        with pytest.raises(UserError, match="gate"):
            number(given, "gate", "give a number")


def test_layers_are_one_or_several_each_once() -> None:
    assert layer_list(3) == (3,) and layer_list(np.array([2, 0])) == (2, 0)
    for given in ([], [1, 1], [-1], [True], [0.5], "1"):
        with pytest.raises(UserError, match=r"[Ll]ayer"):
            layer_list(given)
