"""Which tokens of the running forward of a language model an edit means, under padding and with a cache."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.steering.edit import Edit

WORDS = ("last", "generated", "all")
_SPAN = re.compile(r"span:(-?\d*):(-?\d*)")
_TURN = re.compile(r"turn:(\d+):(\d+):(\d+)")


def check_places(edit: Edit) -> None:
    """Raise UserError unless the tokens of `edit` are ones that a text has."""
    if isinstance(edit.tokens, Tensor):
        if edit.tokens.dtype != torch.bool or edit.tokens.ndim not in (1, 2):
            raise UserError(f"The mask of the edit at {edit.hookpoint} must be bool, [tokens] or [rows, tokens].")
    elif edit.tokens not in WORDS and span(edit.tokens) is None and turn(edit.tokens) is None:
        raise UserError(
            f"Tokens {edit.tokens!r} of the edit at {edit.hookpoint} do not exist in a text; choose "
            f"{', '.join(WORDS)}, span:START:STOP (as span:0:3, or span:-2: for the last two), turn:START:STOP:PERIOD "
            "(of each PERIOD answer tokens those from START up to STOP), or give a mask."
        )


def span(tokens: str) -> slice | None:
    """`span:START:STOP` as a slice, either end of which may be left away; None for anything else."""
    found = _SPAN.fullmatch(tokens)
    return None if found is None else slice(*(int(part) if part else None for part in found.groups()))


def turn(tokens: str) -> tuple[int, int, int] | None:
    """`turn:START:STOP:PERIOD` as its numbers, 0 <= START < STOP <= PERIOD; None for anything else."""
    found = _TURN.fullmatch(tokens)
    if found is None:
        return None
    start, stop, period = (int(part) for part in found.groups())
    return (start, stop, period) if start < stop <= period else None


class TokenPlaces:
    """Follows a model's forwards and says which of their tokens are meant.

    Every token has a place: how many tokens that are no padding stand before it in its row, the cached ones included.
    A row's prompt ends at its length: as it was given, else what the first forward with an empty cache held.

    `prompt_lengths`: int64 [rows], needed where one forward reads prompt and answer. `content`: bool [rows, columns of
    the prompt], which spans count in; without it all of the prompt's tokens but special ones.
    """

    def __init__(
        self, forward: Callable[..., Any], tokenizer: Any, prompt_lengths: Tensor | None, content: Tensor | None
    ) -> None:
        self._names = list(inspect.signature(forward).parameters)
        self._bos = getattr(tokenizer, "bos_token_id", None)
        self._special = list(getattr(tokenizer, "all_special_ids", []))
        self._given_lengths, self._given_content = prompt_lengths, content
        self._lengths: Tensor | None = None
        self._content: Tensor | None = None
        self._past = 0
        self._decoding = False
        self._columns = 0
        self._ids: Tensor | None = None
        self._mask = self._place = torch.zeros(0, 0)

    def forward_begins(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Take note of a forward that is called with these arguments."""
        called = {**dict(zip(self._names, args, strict=False)), **kwargs}
        ids, embeds = called.get("input_ids"), called.get("inputs_embeds")
        given = ids if ids is not None else embeds
        assert given is not None, "a language model reads ids or embeddings"
        cache = called.get("past_key_values")
        self._past = 0 if cache is None else int(cache.get_seq_length())
        rows, now = given.shape[:2]
        # A single token after a cache is one that was just written: every word means it, and nothing is to be counted.
        self._decoding = self._past > 0 and now == 1 and self._lengths is not None
        if self._decoding:
            return
        whole = _columns(called.get("attention_mask"), rows, self._past + now, given.device)
        place = whole.cumsum(1) - 1
        self._ids, self._mask, self._place = ids, whole[:, self._past :], place[:, self._past :]
        self._columns = whole.shape[1]
        if self._past == 0 or self._lengths is None:
            self._begin(whole)

    def meant(self, tokens: str | Tensor) -> Tensor | bool:
        """Bool [rows, tokens] of the running forward's tokens that are meant; True for all of them, False for none."""
        if not isinstance(tokens, Tensor) and (own := turn(tokens)) is not None:
            return self._in_turn(*own)
        of_prompt = isinstance(tokens, Tensor) or span(tokens) is not None
        if self._decoding or (of_prompt and self._past):
            return not of_prompt
        if isinstance(tokens, Tensor):
            return self._from_mask(tokens)
        assert self._lengths is not None, "a forward has begun"
        length = self._lengths[:, None]
        if tokens == "last":
            return self._mask & (self._place >= length - 1)
        if tokens == "generated":
            return self._mask & (self._place >= length)
        if tokens == "all":
            return self._mask & ~self._is_bos()
        return self._in_span(tokens)

    def _in_turn(self, start: int, stop: int, period: int) -> Tensor:
        """The tokens whose turn it is; the prompt's last token, from which the answer's first follows, counts as 0."""
        assert self._lengths is not None, "a forward has begun"
        place, mask = self._place, self._mask
        if self._decoding:
            # What was written since the last forward that was counted, the running token included.
            place, mask = place[:, -1:] + (self._past - self._columns + 1), torch.ones_like(mask[:, -1:])
        answered = place - (self._lengths[:, None] - 1)
        since = answered % period
        return mask & (answered >= 0) & (since >= start) & (since < stop)

    def _begin(self, whole: Tensor) -> None:
        """A new text: how long each row's prompt is, and where its own words are."""
        given = self._given_lengths
        self._lengths = whole.sum(1) if given is None else given.to(whole.device)
        if len(self._lengths) != len(whole):
            raise UserError(f"There are {len(self._lengths)} prompt lengths, but the batch has {len(whole)} rows.")
        self._content = None

    def _is_bos(self) -> Tensor:
        if self._bos is None or self._ids is None:
            return torch.zeros_like(self._mask)
        return (self._place == 0) & (self._ids == self._bos)

    def _from_mask(self, mask: Tensor) -> Tensor:
        columns = self._mask.shape[1]
        if mask.shape[-1] != columns or (mask.ndim == 2 and len(mask) != len(self._mask)):
            raise UserError(
                f"An edit's mask is {list(mask.shape)}, but the prompts are {len(self._mask)} rows of {columns} "
                "tokens, padding included."
            )
        return mask.to(self._mask.device) & self._mask

    def _in_span(self, tokens: str) -> Tensor:
        """The tokens of the span, counted in each row's own words."""
        chosen = span(tokens)
        assert chosen is not None, "checked when the edit was installed"
        content = self._own_words()
        counts = content.sum(1).tolist()
        ranges = [range(count)[chosen] for count in counts]
        first = torch.tensor([found.start for found in ranges], device=content.device)[:, None]
        stop = torch.tensor([max(found.start, found.stop) for found in ranges], device=content.device)[:, None]
        order = content.cumsum(1) - 1
        return content & (order >= first) & (order < stop)

    def _own_words(self) -> Tensor:
        if self._content is None:
            assert self._lengths is not None, "a forward has begun"
            inside = self._mask & (self._place < self._lengths[:, None])
            given = self._given_content
            if given is not None:
                own = torch.zeros_like(self._mask)
                own[:, : given.shape[1]] = given.to(own.device)[:, : own.shape[1]]
                inside = inside & own
            elif self._ids is not None:
                inside = inside & ~torch.isin(self._ids, torch.tensor(self._special, device=self._ids.device))
            self._content = inside
        return self._content


def _columns(mask: Any, rows: int, columns: int, device: torch.device) -> Tensor:
    """Bool [rows, columns]: which columns of the whole sequence, cached ones included, are no padding."""
    if mask is None:
        return torch.ones(rows, columns, dtype=torch.bool, device=device)
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        raise UserError(
            "The model is run with an attention mask from which padding cannot be told; give one of [rows, tokens]."
        )
    return mask[:, :columns].bool()
