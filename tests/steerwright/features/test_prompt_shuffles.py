"""Orders of prompts by which chance is measured."""

import math

import numpy as np
import pytest

from steerwright.features.prompt_shuffles import prompt_shuffles


@pytest.mark.parametrize("prompts", [1, 2, 3, 4])
def test_all_orders_but_the_one_that_is_there_are_found_once(prompts: int) -> None:
    for seed in range(20):
        found = [tuple(one) for one in prompt_shuffles(prompts, 30, seed)]
        assert len(found) == len(set(found)) == math.factorial(prompts) - 1
        assert tuple(range(prompts)) not in found


def test_orders_that_change_nothing_are_none() -> None:
    # Of four prompts two say cat and two dog: six ways to hand the labels out, one of which is there.
    label = np.array([0, 0, 1, 1])
    for seed in range(20):
        found = prompt_shuffles(4, 30, seed, lambda ranks: label[np.argsort(ranks)].tobytes())
        assert len(found) == 5 and not any((label[np.argsort(ranks)] == label).all() for ranks in found)


def test_many_prompts_give_what_was_asked_for_and_the_same_again() -> None:
    found = prompt_shuffles(40, 20, 7)
    assert len(found) == 20 and all(
        np.array_equal(a, b) for a, b in zip(found, prompt_shuffles(40, 20, 7), strict=True)
    )
    assert not np.array_equal(found[0], prompt_shuffles(40, 20, 8)[0])
