"""Which tokens of the running forward of a language model an edit means, under padding and with a cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from steerwright.errors import UserError

WORDS = ("last", "generated", "all")
_SPAN = re.compile(r"span:(-?\d*):(-?\d*)")
_ENDS: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()
# Under which names models of transformers are given what they remember of the tokens before.
_MEMORIES = ("past_key_values", "cache_params", "state")
_SENTENCES = re.compile(r"sentences:([01]*1[01]*)")


def span(tokens: str) -> slice | None:
    """`span:START:STOP` as a slice, either end of which may be left out; None for anything else."""
    found = _SPAN.fullmatch(tokens)
    return None if found is None else slice(*(int(part) if part else None for part in found.groups()))


def sentences(tokens: str) -> str | None:
    """The pattern of `sentences:PATTERN`, a 1 for each sentence of the answer that is meant and a 0 for each that is
    not, over and over; None for anything else."""
    found = _SENTENCES.fullmatch(tokens)
    return None if found is None else found[1]


class TokenPlaces:
    """Follows a model's forwards and says which of their tokens are meant.

    Every token has a place: how many tokens that are no padding stand before it in its row, the cached ones included.
    A row's prompt ends at its length: as it was given, else what the first forward with an empty cache held.

    `prompt_lengths`: int64 [rows], needed where one forward reads prompt and answer. `content`: bool [rows, columns of
    the prompt], which spans count in; without it all of the prompt's tokens but special ones.
    """

    def __init__(self, tokenizer: Any, prompt_lengths: Tensor | None, content: Tensor | None) -> None:
        self._bos = getattr(tokenizer, "bos_token_id", None)
        self._special = list(getattr(tokenizer, "all_special_ids", []))
        self._tokenizer = tokenizer
        self._given_lengths, self._given_content = prompt_lengths, content
        self._lengths: Tensor | None = None
        self._content: Tensor | None = None
        self._past = 0
        self._decoding = False
        # How many tokens of each row, padding included, have been read with the running forward, and which are none.
        self.read = 0
        self.shape = (0, 0)
        self._whole = torch.zeros(0, 0, dtype=torch.bool)
        self._ids: Tensor | None = None
        # Of each row how many sentences of its answer are over, and whether the token just written is counted in.
        self._over: Tensor | None = None
        self._counted = True
        self._mask = self._place = torch.zeros(0, 0)

    def forward_begins(self, called: Mapping[str, Any]) -> None:
        """Take note of a forward that is called with these arguments, by name."""
        ids, embeds = called.get("input_ids"), called.get("inputs_embeds")
        given = ids if ids is not None else embeds
        assert given is not None, "a language model reads ids or embeddings"
        memory = next((called[name] for name in _MEMORIES if called.get(name) is not None), None)
        self._past = self._remembered(memory)
        rows, now = given.shape[:2]
        self.read, self.shape = self._past + now, (rows, now)
        # A single token after a cache is one that was just written: every word means it, and nothing is to be counted.
        self._decoding = self._past > 0 and now == 1 and self._lengths is not None
        if self._decoding:
            self._ids, self._counted = ids, False
            return
        whole = self._columns(called.get("attention_mask"), rows, now, given.device)
        self._whole = whole
        place = whole.cumsum(1) - 1
        self._ids, self._mask, self._place = ids, whole[:, self._past :], place[:, self._past :]
        if self._past == 0 or self._lengths is None:
            self._begin(whole)

    def _remembered(self, memory: Any) -> int:
        """How many tokens of each row `memory` stands for."""
        if memory is None:
            return 0
        if hasattr(memory, "get_seq_length"):
            try:
                return int(memory.get_seq_length())
            except ValueError:  # of state-space layers alone, which keep no tokens: counted here
                if not memory.has_previous_state():
                    return 0
        elif isinstance(held := getattr(memory, "seqlen_offset", None), Tensor):  # xLSTM
            return int(held)
        if self.read == 0:
            raise UserError(
                f"The model goes on from a memory ({type(memory).__name__}) that does not say how many tokens it holds "
                "and was filled before steering began; let it read the whole text inside."
            )
        return self.read

    def meant(self, tokens: str | Tensor) -> Tensor | bool:
        """Bool [rows, tokens] of the running forward's tokens that are meant; True for all of them, False for none."""
        if not isinstance(tokens, Tensor) and (pattern := sentences(tokens)) is not None:
            return self._in_sentences(pattern)
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

    def _in_sentences(self, pattern: str) -> Tensor:
        """The tokens from which a sentence that `pattern` means is written: the one that ends a sentence is the next's,
        and the prompt's last token is the first's."""
        sentence = self._sentence()
        wanted = torch.tensor([mark == "1" for mark in pattern], device=sentence.device)
        return (sentence >= 0) & wanted[sentence.clamp_min(0) % len(pattern)]

    def _sentence(self) -> Tensor:
        """Which sentence of its answer each token of the running forward belongs to, int64 [rows, tokens]; -1: none."""
        assert self._lengths is not None, "a forward has begun"
        if self._decoding:
            assert self._over is not None, "asked for at every forward"
            if not self._counted:  # several edits ask in one forward
                self._over, self._counted = self._over + self._ends_sentence(self._ids), True
            return self._over
        length = self._lengths[:, None]
        ends = self._ends_sentence(self._ids) & self._mask & (self._place >= length)
        before = 0 if self._past == 0 or self._over is None else self._over
        found = before + ends.cumsum(1)
        self._over = found[:, -1:]
        return found.masked_fill(~(self._mask & (self._place >= length - 1)), -1)

    def _ends_sentence(self, ids: Tensor | None) -> Tensor:
        """Bool, shaped as `ids`: the tokens whose text ends in a full stop, an exclamation or a question mark."""
        if ids is None:
            raise UserError("A model that reads embeddings, not tokens, has no sentences to steer; name other tokens.")
        enders = _sentence_ends(self._tokenizer)
        return enders.to(ids.device)[ids.clamp_max(len(enders) - 1)]

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

    def _columns(self, mask: Any, rows: int, now: int, device: torch.device) -> Tensor:
        """Bool [rows, columns]: which columns of the whole sequence, remembered ones included, are no padding."""
        columns = self._past + now
        if mask is None:
            whole = torch.ones(rows, columns, dtype=torch.bool, device=device)
            if self._past and self._whole.shape == (rows, self._past):
                whole[:, : self._past] = self._whole  # models with a state are given no mask after the first forward
            return whole
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            raise UserError(
                "The model is run with an attention mask from which padding cannot be told; give one of [rows, tokens]."
            )
        if mask.shape[1] != columns:
            raise UserError(
                f"The model is given {now} tokens after {self._past} that it remembers, but an attention mask of "
                f"{mask.shape[1]}: which tokens are new cannot be told, so none can be steered."
            )
        return mask.bool()

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


def _sentence_ends(tokenizer: Any) -> Tensor:
    """Bool [vocabulary]: the tokens that end a sentence. Found once for each tokenizer."""
    if tokenizer not in _ENDS:
        said = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
        _ENDS[tokenizer] = torch.tensor([one.rstrip().endswith((".", "!", "?")) for one in said])
    return _ENDS[tokenizer]
