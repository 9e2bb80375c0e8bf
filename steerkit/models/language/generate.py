"""Continue prompts, each from a seed of its own, steered or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerkit.arguments import as_many, seed_list, text_list, whole
from steerkit.errors import UserError
from steerkit.models.language.encode import Encoded, encode, pad_id
from steerkit.models.language.load import LanguageModel
from steerkit.models.language.sampling import Noise, Sampling

if TYPE_CHECKING:
    from steerkit.steering.edit import Edit
    from steerkit.steering.language.token_places import TokenPlaces

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
    from steerkit.steering.language.apply import check_rows

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

    from steerkit.steering.edit import for_images
    from steerkit.steering.language.apply import steer_text

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
