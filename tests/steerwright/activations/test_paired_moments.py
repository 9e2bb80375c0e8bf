"""Running sums against sums over everything at once."""

import pytest
import torch

from steerwright.activations.paired_moments import PairedMoments, fewest_pairs, shuffle_signs


def test_any_division_into_batches_and_shards_gives_the_same_sums() -> None:
    generator = torch.Generator().manual_seed(0)
    positive = torch.randn(12, 3, generator=generator) * 1e3 + 1e4
    negative = torch.randn(12, 3, generator=generator)
    signs = shuffle_signs([str(i) for i in range(12)], 5, 0)
    first, second = PairedMoments.empty(2, 3, 5), PairedMoments.empty(2, 3, 5)
    first.add(1, positive[:5], negative[:5], signs[:, :5])
    first.add(1, positive[5:6], negative[5:6], signs[:, 5:6])
    second.add(1, positive[6:], negative[6:], signs[:, 6:])
    first.merge(second)
    assert first.count.tolist() == [0, 12]
    torch.testing.assert_close(first.positive[1], positive.double().sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(first.negative[1], negative.double().sum(0), rtol=1e-12, atol=1e-12)
    for shuffle in range(5):
        swapped = [
            p - n if signs[shuffle, i] > 0 else n - p
            for i, (p, n) in enumerate(zip(positive.double(), negative.double(), strict=True))
        ]
        torch.testing.assert_close(first.shuffled[shuffle, 1], torch.stack(swapped).sum(0), rtol=1e-9, atol=1e-9)
    assert not first.positive[0].any()


def test_a_pairs_signs_depend_on_its_id() -> None:
    ids = [str(i) for i in range(20)]
    together = shuffle_signs([*ids, "a", "b", "a"], 64, 3)
    assert torch.equal(together[:, 20], together[:, 22])
    # With many pairs hardly a draw is made again, so that one more pair leaves the others' shards as they are.
    assert torch.equal(together[:, :20], shuffle_signs(ids, 64, 3))
    assert set(together.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(together[:, 0], shuffle_signs(ids, 64, 4)[:, 0])
    many = shuffle_signs([str(i) for i in range(2000)], 10, 0)
    # 20,000 fair coins: the mean is within five standard errors of zero
    assert abs(float(many.mean())) < 5 / 20000**0.5


@pytest.mark.parametrize("pairs", [1, 2, 3, 4, 6])
def test_all_shuffles_that_there_are_is_every_choice_of_sides_once(pairs: int) -> None:
    # By hand: the first pair may always stay, since swapping all sides changes no length; not counting no swap at all.
    every = 2 ** (pairs - 1) - 1
    signs = shuffle_signs([str(i) for i in range(pairs)], every, 0)
    assert len({tuple((row * row[0]).tolist()) for row in signs}) == every
    assert not (signs == signs[:, :1]).all(1).any()
    assert fewest_pairs(every) == pairs
    assert shuffle_signs([str(i) for i in range(pairs)], every + 1, 0).shape == (0, pairs)
