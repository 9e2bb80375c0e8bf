"""Continue prompts, each from a seed of its own, steered or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerwright.arguments import as_many, number, seed_list, text_list, whole
from steerwright.errors import UserError
from steerwright.models.language.encode import Encoded, encode, pad_id
from steerwright.models.language.load import LanguageModel
from steerwright.steering.algebra import Edit, for_images
from steerwright.steering.language.apply import check_rows, steer_text

if TYPE_CHECKING:
    from steerwright.models.language.token_places import TokenPlaces

OnToken = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote after a prompt.

    `tokens` are without the end token; `ended` says that one came (`end` is its id), rather than that the text was cut
    off. `prompt_tokens` is the whole prompt as the model read it, template included; those at `content` (start, stop)
    are the words of the prompt itself.
    """

    prompt: str
    seed: int
    text: str
    tokens: tuple[int, ...]
    ended: bool
    prompt_tokens: tuple[int, ...]
    end: int | None = None
    content: tuple[int, int] = (0, 0)


def complete(
    model: LanguageModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    edits: Sequence[Edit] = (),
    *,
    chat: bool | None = None,
    on_tokens: OnToken | None = None,
    should_stop: Callable[[], bool] | None = None,
    batch_size: int = 64,
) -> list[Completion]:
    """One continuation for each (prompt, seed), by `generate` of transformers with its cache, under `edits`.

    A row's chance is its seed's alone: it does not depend on its batch beyond float rounding, and the same seed
    steered and unsteered draws the same numbers. `edits` may have a strength for each row of all [rows], and then act
    on each row as if it were alone. `on_tokens(row, id)` is called for each token as it comes (not for end tokens),
    `should_stop()` once per step; when it says so, what there is comes back, and rows that were not begun are empty.
    Raises UserError for empty prompts, for not one seed for each (whole numbers from 0), for prompts that with
    `max_new_tokens` exceed the model's context, and where an edit makes the model give NaN.
    """
    if len(prompts) == 0 == len(seeds):
        return []
    prompts, seeds = text_list(prompts), seed_list(seeds)
    as_many(seeds, prompts)
    batch_size = whole(batch_size, "batch_size", 1, "a batch has at least 1 text.")

    check_rows(edits, len(prompts))
    # All at once, so that every mistake is said before the first batch runs.
    encoded = encode(model, prompts, chat, "left")
    _check_room(model, encoded, sampling)
    completions: list[Completion] = []
    for rows in _batches(model, encoded, batch_size):
        batch = _rows(encoded, rows)
        written = _write(model, batch, seeds[rows], sampling, edits, rows, on_tokens, should_stop)
        for row, tokens in enumerate(written):
            at = rows.start + row
            completions.append(_completion(model, batch, row, prompts[at], seeds[at], tokens))
    return completions


def _check_room(model: LanguageModel, encoded: Encoded, sampling: Sampling) -> None:
    longest = encoded.ids.shape[1]
    if longest + sampling.max_new_tokens > model.context:
        raise UserError(
            f"A prompt of {longest} tokens and {sampling.max_new_tokens} new ones exceed the {model.context} that "
            f"{model.spec.name!r} has room for; ask for fewer, or shorten the prompt."
        )


def _batches(model: LanguageModel, encoded: Encoded, batch_size: int) -> Iterator[slice]:
    """Up to `batch_size` rows in a row; of one length where the model does not pass over padding."""
    lengths = encoded.mask.sum(1).tolist()
    start = 0
    for stop in range(1, len(lengths) + 1):
        full = stop - start == batch_size or stop == len(lengths)
        if full or (not model.pads and lengths[stop] != lengths[start]):
            yield slice(start, stop)
            start = stop


def _rows(encoded: Encoded, rows: slice) -> Encoded:
    """Some rows of a batch that is padded on the left, without the padding that none of them needs."""
    width = int(encoded.mask[rows].sum(1).max())
    return Encoded(*(part[rows, part.shape[1] - width :] for part in (encoded.ids, encoded.mask, encoded.content)))


def _write(
    model: LanguageModel,
    encoded: Encoded,
    seeds: Sequence[int],
    sampling: Sampling,
    edits: Sequence[Edit],
    rows: slice,
    on_tokens: OnToken | None,
    should_stop: Callable[[], bool] | None,
) -> list[list[int]]:
    """The ids that follow each row, up to an end token and beyond."""
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    if should_stop is not None and should_stop():
        return [[] for _ in seeds]
    length = encoded.ids.shape[1]
    settings = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,  # the noise is added to the scores, and then the largest is the draw
        eos_token_id=sorted(model.ends) or None,
        pad_token_id=pad_id(model),
        use_cache=True,
    )
    cut = for_images(edits, rows.start, rows.stop)
    with torch.inference_mode(), steer_text(model, cut, encoded.mask.sum(1), content=encoded.content) as places:
        noise = Noise(sampling, seeds)
        found = model.model.generate(
            input_ids=encoded.ids,
            attention_mask=encoded.mask.long(),
            generation_config=settings,
            logits_processor=LogitsProcessorList([noise] if places is None else [_Followed(model, places), noise]),
            stopping_criteria=StoppingCriteriaList([_Watch(model.ends, rows.start, on_tokens, should_stop)]),
        )
    return [list(tokens) for tokens in found[:, length:].tolist()]


def _completion(
    model: LanguageModel, encoded: Encoded, row: int, prompt: str, seed: int, written: list[int]
) -> Completion:
    end = next((place for place, token in enumerate(written) if token in model.ends), None)
    tokens = written[:end]
    kept = encoded.mask[row]
    own = encoded.content[row][kept].nonzero().flatten().tolist()
    return Completion(
        prompt=prompt,
        seed=seed,
        text=model.tokenizer.decode(tokens, skip_special_tokens=True),
        tokens=tuple(tokens),
        ended=end is not None,
        prompt_tokens=tuple(encoded.ids[row][kept].tolist()),
        end=None if end is None else written[end],
        content=(own[0], own[-1] + 1) if own else (0, 0),
    )


class _Followed:
    """Checks at each token, as a logits processor of transformers, that the edits' count of the tokens is generation's.

    How a model is handed what it remembers differs by architecture; a count that went wrong would steer other tokens.
    """

    def __init__(self, model: LanguageModel, places: TokenPlaces) -> None:
        self._kind, self._name, self._places = type(model.model).__name__, model.spec.name, places

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._places.read != input_ids.shape[1]:
            raise UserError(
                f"Model {self._name!r}: the new tokens of {self._kind} cannot be told from those that it remembers "
                f"({self._places.read} counted, {input_ids.shape[1]} read), so it cannot be steered while it writes."
            )
        return scores


class _Watch:
    """Looks on while a batch is written, as a stopping criterion of transformers: hands tokens on, and may stop all."""

    def __init__(
        self,
        ends: frozenset[int],
        first_row: int,
        on_tokens: OnToken | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._ends, self._first_row = ends, first_row
        self._on_tokens, self._should_stop = on_tokens, should_stop
        self._ended: set[int] = set()

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # noqa: ARG002
        if self._on_tokens is not None:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                if token in self._ends:
                    self._ended.add(row)
                elif row not in self._ended:
                    self._on_tokens(self._first_row + row, token)
        stop = self._should_stop is not None and self._should_stop()
        return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)


# How the next token is drawn: temperature, top-k, top-p, and noise that belongs to one row alone.

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
