import torch

from steerwright.lab.operations.separability import separability


def _brute_force(above: torch.Tensor, below: torch.Tensor) -> tuple[list[float], list[float]]:
    """Pair by pair, in plain loops."""
    aurocs, gaps = [], []
    for high_layer, low_layer in zip(above.double(), below.double(), strict=True):
        count = len(high_layer)
        high, low = [], []
        for held_out in range(count):
            others = [place for place in range(count) if place != held_out]
            up, down = high_layer[others].mean(0), low_layer[others].mean(0)
            unit = (up - down) / (up - down).norm()
            high.append(float((high_layer[held_out] - (up + down) / 2) @ unit))
            low.append(float((low_layer[held_out] - (up + down) / 2) @ unit))
        wins = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one in high for other in low)
        aurocs.append(wins / count**2)
        mean_high, mean_low = sum(high) / count, sum(low) / count
        spread = sum((one - mean_high) ** 2 for one in high) + sum((one - mean_low) ** 2 for one in low)
        gaps.append((mean_high - mean_low) / (spread / (count - 1) / 2) ** 0.5)
    return aurocs, gaps


def test_separability_is_what_leaving_out_each_pair_in_turn_gives() -> None:
    generator = torch.Generator().manual_seed(3)
    below = torch.randn(3, 7, 5, generator=generator)
    above = torch.randn(3, 7, 5, generator=generator) + torch.tensor([0.0, 0.5, 4.0])[:, None, None]
    auroc, gap = separability(above, below)
    expected_auroc, expected_gap = _brute_force(above, below)
    torch.testing.assert_close(auroc, torch.tensor(expected_auroc).double())
    torch.testing.assert_close(gap, torch.tensor(expected_gap).double())
    assert float(auroc[2]) == 1.0


def test_texts_without_a_difference_are_not_told_apart_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, 400, 8, 20, generator=generator)
    auroc, gap = separability(draws[0], draws[1])
    # Held out, guessing: a score on its own pairs would come out far above one half.
    assert abs(float(auroc.mean()) - 0.5) < 0.1
    assert float(gap.mean()) < 0.3
