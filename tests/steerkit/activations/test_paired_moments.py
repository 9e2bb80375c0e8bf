"""Running sums against sums over everything at once."""

import torch

from steerkit.activations.paired_moments import PairedMoments, shuffle_signs


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


def test_a_pairs_signs_depend_on_its_id_alone() -> None:
    together = shuffle_signs(["a", "b", "a"], 64, 3)
    assert torch.equal(together[:, 0], together[:, 2])
    assert torch.equal(together[:, 1], shuffle_signs(["b"], 64, 3)[:, 0])
    assert set(together.unique().tolist()) == {-1.0, 1.0}
    assert not torch.equal(together[:, 0], shuffle_signs(["a"], 64, 4)[:, 0])
    many = shuffle_signs([str(i) for i in range(2000)], 10, 0)
    # 20,000 fair coins: the mean is within five standard errors of zero
    assert abs(float(many.mean())) < 5 / 20000**0.5
