"""The draw of a token: which tokens are kept, how often each is drawn, and whose chance it is."""

import math

import pytest
import torch

from steerwright.errors import UserError
from steerwright.steering.language.generate import Noise, Sampling, kept_tokens

LOGITS = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
NONE = torch.zeros(0)


def kept(sampling: Sampling) -> list[int]:
    return kept_tokens(LOGITS, sampling).isfinite()[0].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("top_p", "top_k", "expected"),
    [
        (1.0, None, [0, 1, 2, 3]),
        (0.79, None, [1, 3]),  # 0.5, then 0.8: the second is needed to reach 0.79, the third is not
        (0.81, None, [0, 1, 3]),
        (0.4, None, [1]),
        (1e-9, None, [1]),
        (1.0, 1, [1]),
        (1.0, 3, [0, 1, 3]),
        (1.0, 99, [0, 1, 2, 3]),
        (0.6, 3, [1, 3]),  # of the three that are left 0.5 is 0.526
        (0.5, 3, [1]),
    ],
)
def test_the_likeliest_tokens_are_kept(top_p: float, top_k: int | None, expected: list[int]) -> None:
    assert kept(Sampling(top_p=top_p, top_k=top_k)) == expected


def draws(sampling: Sampling, count: int) -> torch.Tensor:
    """How often each token is drawn, over as many seeds."""
    noise = Noise(sampling, range(count))
    drawn = noise(NONE, LOGITS.expand(count, -1)).argmax(1)
    return torch.bincount(drawn, minlength=4) / count


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0, top_p=1.0), [0.15, 0.5, 0.05, 0.3]),
        # At temperature 1/2 probabilities are squared: 0.0225, 0.25, 0.0025, 0.09, of 0.365.
        (Sampling(temperature=0.5, top_p=1.0), [0.0616, 0.6849, 0.0068, 0.2466]),
        (Sampling(temperature=1.0, top_p=0.79), [0.0, 0.625, 0.0, 0.375]),
        (Sampling(temperature=1.0, top_p=1.0, top_k=3), [0.1579, 0.5263, 0.0, 0.3158]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_probable(sampling: Sampling, expected: list[float]) -> None:
    count = 20_000
    found = draws(sampling, count)
    for share, probability in zip(found.tolist(), expected, strict=True):
        assert share == pytest.approx(probability, abs=4 * math.sqrt(0.25 / count))
        assert (share == 0) == (probability == 0)


def test_a_rows_chance_is_its_seeds_alone() -> None:
    together = Noise(Sampling(), [7, 8])
    alone = Noise(Sampling(), [8])
    for _ in range(3):  # steps
        pair = together(NONE, LOGITS.expand(2, -1))
        assert torch.equal(pair[1], alone(NONE, LOGITS)[0])
        assert not torch.equal(pair[0], pair[1])


def test_steered_and_unsteered_scores_of_one_seed_meet_the_same_noise() -> None:
    sampling = Sampling(temperature=1.0, top_p=1.0)
    other = LOGITS.flip(1)
    plain, steered = Noise(sampling, [3])(NONE, LOGITS), Noise(sampling, [3])(NONE, other)
    assert torch.allclose(plain - LOGITS, steered - other, atol=1e-6)


def test_greedy_leaves_the_scores_alone() -> None:
    assert Noise(Sampling(temperature=0), [1])(NONE, LOGITS) is LOGITS


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused_and_forbidden_tokens_are_not(temperature: float, value: float) -> None:
    noise = Noise(Sampling(temperature=temperature, top_p=1.0), [1])
    with pytest.raises(UserError, match="not finite: an edit is too strong"):
        noise(NONE, torch.tensor([[0.0, value]]))
    assert noise(NONE, torch.tensor([[0.0, -math.inf]])).argmax() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"top_k": 0},
        {"max_new_tokens": True},
        {"max_new_tokens": 2.5},
        {"top_k": 5, "temperature": 0},
        {"top_p": 0.5, "temperature": 0},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("flatness", [0.01, 1.0, 5.0])  # nearly all of 500 tokens stay, some, a few
def test_over_a_long_vocabulary_the_tokens_kept_are_those_of_transformers(flatness: float) -> None:
    from transformers import TopPLogitsWarper

    logits = torch.randn(20, 500, generator=torch.Generator().manual_seed(5)) * flatness
    expected = TopPLogitsWarper(top_p=0.9)(NONE, logits.clone())
    found = kept_tokens(logits, Sampling(top_p=0.9))
    assert torch.equal(found, expected)
    assert found.isfinite().sum(1).min() > 64 or flatness > 0.5


def test_rows_of_one_seed_meet_the_same_noise_as_alone() -> None:
    alone = Noise(Sampling(), [4])(NONE, LOGITS)[0]
    together = Noise(Sampling(), [4, 9, 4])(NONE, LOGITS.expand(3, -1))
    assert torch.equal(together[0], alone) and torch.equal(together[2], alone)
    assert not torch.equal(together[1], alone)
