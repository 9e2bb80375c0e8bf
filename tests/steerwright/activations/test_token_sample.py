"""Which tokens are kept: chosen evenly, by prompt and step alone, and for ever the same."""

import numpy as np
import pytest

from steerwright.activations.denoiser import TokenSample


def test_every_token_is_kept_about_equally_often() -> None:
    prompts = [f"p{i}" for i in range(2000)]
    kept = TokenSample(4, seed=0).positions(prompts, step=3, tokens=64)
    assert kept is not None and kept.shape == (2000, 4)
    counts = np.bincount(kept.ravel(), minlength=64)
    # 125 expected of each; a binomial's standard deviation is 11.
    assert counts.min() > 125 - 5 * 11 and counts.max() < 125 + 5 * 11
    assert (np.diff(kept, axis=1) > 0).all()
    # Pairs of neighbours are no likelier than others: 4 of 64 tokens hold 3 / 32 such pairs on average.
    neighbours = (np.diff(kept, axis=1) == 1).sum(1).mean()
    assert neighbours == pytest.approx(4 * 3 / 64, abs=0.05)


def test_a_prompts_tokens_do_not_depend_on_the_others() -> None:
    sample = TokenSample(5, seed=7)
    both = sample.positions(["a", "b"], 1, 100)
    alone = sample.positions(["b"], 1, 100)
    assert both is not None and alone is not None
    assert (both[1] == alone[0]).all()
    assert (both[0] != both[1]).any()


def test_steps_and_seeds_choose_anew_and_sizes_nest() -> None:
    def chosen(count: int = 8, seed: int = 0, step: int = 0) -> set[int]:
        kept = TokenSample(count, seed).positions(["a"], step, 256)
        assert kept is not None
        return set(kept[0].tolist())

    assert chosen(step=1) != chosen() != chosen(seed=1)
    assert chosen(3) < chosen(8) < chosen(20)


def test_a_grid_with_no_more_tokens_is_kept_whole() -> None:
    assert TokenSample(64, 0).positions(["a"], 0, 64) is None
    assert TokenSample(64, 0).positions(["a"], 0, 16) is None


def test_the_choice_is_what_it_was_in_earlier_releases() -> None:
    """Worked out with plain integers from splitmix64's definition: stores of two releases must agree on their rows."""
    kept = TokenSample(4, seed=0).positions(["train0-horse-winter-night"], 5, 64)
    assert kept is not None and kept.tolist() == [[2, 12, 34, 47]]
