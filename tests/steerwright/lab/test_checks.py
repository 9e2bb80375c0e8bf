import numpy as np
import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.checks import (
    checked_choice,
    checked_layer,
    checked_name,
    checked_seed,
    checked_strength,
    checked_temperature,
    checked_text,
    checked_tokens,
)


@pytest.mark.parametrize("name", ["a", "happy", "very-happy", "x2", "a" * 40])
def test_plain_names_are_names(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "..", "../happy", "a/b", "a\\b", "/etc/passwd", "happy\n", "Happy", "hap py", "-happy", "happy-", "a" * 41,
     "ha\x00ppy", "~", "happy.json", "höppy", "con:", None, 3, ["happy"]],
)  # fmt: skip
def test_path_tricks_and_oddities_are_no_names(name: object) -> None:
    with pytest.raises(UserError, match="cannot be a concept's name"):
        checked_name(name)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "nan", "-inf", "1e999", None, "", "much", [1], True, 9, -9]
)
def test_strengths_that_are_no_numbers_or_too_large_are_refused(value: object) -> None:
    with pytest.raises(UserError, match="strength must be a number from -8 to 8"):
        checked_strength(value)


def test_strengths_may_be_written() -> None:
    assert checked_strength("0.5") == 0.5
    assert checked_strength(-8) == -8.0


@pytest.mark.parametrize("value", [-1, 4, 1.5, "four", None, float("nan"), 10**30, True])
def test_layers_that_the_model_has_not_are_refused(value: object) -> None:
    with pytest.raises(UserError, match="layer must be a whole number from 0 to 3"):
        checked_layer(value, 4)


def test_layers_are_counted_from_0() -> None:
    assert [checked_layer(value, 4) for value in (0, "3", 2.0)] == [0, 3, 2]


@pytest.mark.parametrize(("check", "value"), [(checked_tokens, 0), (checked_tokens, 201), (checked_seed, -1),
                                              (checked_seed, 2**32), (checked_temperature, -0.1),
                                              (checked_temperature, 2.1)])  # fmt: skip
def test_limits_hold(check, value: float) -> None:
    with pytest.raises(UserError, match=r"must be a"):
        check(value)


def test_a_text_that_is_too_long_is_told_its_length() -> None:
    with pytest.raises(UserError, match="2001 characters; at most 2000"):
        checked_text("x" * 2001, "prompt")


@pytest.mark.parametrize("value", ["", "  \n", None, 3])
def test_a_text_that_says_nothing_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="The prompt is empty"):
        checked_text(value, "prompt")


def test_an_unknown_choice_is_told_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no concept 'merry'; choose one of happy, sad"):
        checked_choice("merry", ["sad", "happy"], "concept")


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    for three in (np.int64(3), torch.tensor(3), np.float32(3)):
        assert checked_seed(three) == 3 and checked_strength(three) == 3.0
    for truth in (np.True_, torch.tensor(True)):
        with pytest.raises(UserError, match="seed must be a whole number"):
            checked_seed(truth)
