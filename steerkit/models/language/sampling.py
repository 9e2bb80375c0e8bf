"""How the next token is drawn: temperature, top-k, top-p, and noise that belongs to one row alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steerkit.arguments import number, whole
from steerkit.errors import UserError

# Of how many tokens, the likeliest ones, top-p looks first.
FEW = 64
USUAL_TOP_P = 0.9


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a text is continued. `temperature` 0 takes the likeliest token each time (greedy), whatever the seed is.

    `top_p` and `top_k`: only the likeliest tokens, so many that they have `top_p` of the probability, and at most
    `top_k` of them (None: any number). UserError for values that make no sense, and for a `top_p` or `top_k` of one's
    own with temperature 0, which would change nothing.
    """

    max_new_tokens: int = 30
    temperature: float = 0.7
    top_p: float = USUAL_TOP_P
    top_k: int | None = None

    def __post_init__(self) -> None:
        whole(self.max_new_tokens, "max_new_tokens", 1, "write at least 1 token.")
        number(self.temperature, "temperature", "give 0 for the likeliest token, or a number above.", 0)
        remedy = "give a share of the probability, above 0 and up to 1."
        if not 0 < number(self.top_p, "top_p", remedy) <= 1:
            raise UserError(f"top_p {self.top_p}: {remedy}")
        if self.top_k is not None:
            whole(self.top_k, "top_k", 1, "keep at least 1 token, or leave it out.")
        if self.temperature == 0 and (self.top_k is not None or self.top_p not in (1, USUAL_TOP_P)):
            name, value = ("top_k", self.top_k) if self.top_k is not None else ("top_p", self.top_p)
            raise UserError(f"{name} {value}: temperature 0 takes the likeliest token each time; leave it out.")

    def greedy(self) -> Sampling:
        """As long a text, of the likeliest token each time."""
        return Sampling(self.max_new_tokens, temperature=0.0)


class Noise:
    """A logits processor of transformers whose largest score is a draw from the distribution that `sampling` means.

    Gumbel noise added to log-probabilities makes the largest of them such a draw (Gumbel 1954; arXiv:1611.01144). Row r
    draws one number for each token of the vocabulary and step from a generator that starts at `seeds[r]`, on the CPU:
    so rows do not depend on each other, and two runs with one seed, steered and unsteered, share their chance.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        self._sampling = sampling
        # Rows of one seed share their numbers, so these are drawn once.
        different = dict.fromkeys(int(seed) for seed in seeds)
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in different]
        place = {seed: index for index, seed in enumerate(different)}
        self._row_of = torch.tensor([place[int(seed)] for seed in seeds], dtype=torch.int64)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        # Not `isfinite`: a model may forbid a token by minus infinity.
        if not bool((scores < math.inf).all()):
            raise UserError(
                "The model's scores are not finite: an edit is too strong, or half precision overflowed. Lower the "
                "strength, bound the edit (bound: keep), or set the model's dtype to bfloat16 or float32."
            )
        if self._sampling.temperature == 0:
            return scores
        kept = kept_tokens(scores.float() / self._sampling.temperature, self._sampling)
        return kept + self._gumbel(scores.shape[1]).to(kept.device)

    def _gumbel(self, vocabulary: int) -> Tensor:
        # In float64: in float32 one of sixteen million uniforms is 0, whose noise would beat any probability.
        drawn = [
            torch.empty(vocabulary, dtype=torch.float64).exponential_(generator=generator)
            for generator in self._generators
        ]
        return torch.stack(drawn).log_().neg_().float()[self._row_of]


def kept_tokens(logits: Tensor, sampling: Sampling) -> Tensor:
    """`logits` [n, vocabulary], minus infinity for tokens that `top_k` and `top_p` leave out; the likeliest stays."""
    if sampling.top_k is not None and sampling.top_k < logits.shape[1]:
        least = logits.topk(sampling.top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if sampling.top_p < 1:
        logits = logits.masked_fill(logits < _least_kept(logits, sampling.top_p), -math.inf)
    return logits


def _least_kept(logits: Tensor, top_p: float) -> Tensor:
    """The least logit among the likeliest tokens that together have `top_p` of the probability, [n, 1].

    A token goes when those before it have the share already; one as likely as the last that stays, stays.
    """
    total = logits.logsumexp(1, keepdim=True)
    # A vocabulary is long, and few tokens have nearly all of the probability: mostly no need to sort the others.
    for looked_at in dict.fromkeys((min(FEW, logits.shape[1]), logits.shape[1])):
        likeliest = logits.topk(looked_at, dim=1).values
        before = (likeliest - total).exp().cumsum(1).roll(1, 1)
        before[:, 0] = 0
        stays = before < top_p
        if looked_at == logits.shape[1] or not bool(stays[:, -1].any()):
            break
    return likeliest.gather(1, stays.sum(1, keepdim=True) - 1)
