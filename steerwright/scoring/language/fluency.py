"""What an edit costs a text: how likely the unsteered model finds it, and how far its distributions were moved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from steerwright.models.language.encode import encode
from steerwright.models.language.load import LanguageModel
from steerwright.steering.language.generate import Completion
from steerwright.steering.language.log_probs import next_token_log_probs, written_tokens

if TYPE_CHECKING:
    import polars as pl

    from steerwright.steering.algebra import Edit


ROWS = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """`nll`: mean negative log-likelihood of a text's tokens, its end included, under the unsteered model, in nats; its
    exponential is the text's perplexity. `kl`: KL divergence in nats of the steered from the unsteered distribution of
    the next token, averaged over the text's tokens. Both at temperature 1, of the whole vocabulary. NaN for no token.
    """

    nll: float
    kl: float


def costs(
    model: LanguageModel,
    written: Sequence[Completion],
    edits: Sequence[Edit] = (),
    plain: Sequence[Completion] | None = None,
    *,
    batch_size: int = ROWS,
) -> list[Cost]:
    """The cost of each of `written`, which `edits` (strengths may be one per text) and its own prompt brought about.

    `plain`: the same texts as answers to the prompts under which they are to count (`under`); None: to their own.
    """
    same = plain is None
    base = next_token_log_probs(model, written if plain is None else plain, batch_size=batch_size)
    if same and all(edit.idle for edit in edits):
        return [Cost(_nll(before, _ids(model, one)), 0.0) for one, before in zip(written, base, strict=True)]
    moved = next_token_log_probs(model, written, edits, batch_size=batch_size)
    return [
        Cost(_nll(before, _ids(model, one)), _mean((after.exp() * (after - before)).nan_to_num(nan=0.0).sum(1)))
        for one, before, after in zip(written, base, moved, strict=True)
    ]


def under(model: LanguageModel, written: Sequence[Completion], prompts: Sequence[str]) -> list[Completion]:
    """`written` as answers to `prompts`, row by row, whatever the model was really asked."""
    listed = list(dict.fromkeys(prompts))
    encoded = encode(model, listed)
    framed = {}
    for row, prompt in enumerate(listed):
        kept = encoded.mask[row]
        own = encoded.content[row][kept].nonzero().flatten().tolist()
        framed[prompt] = tuple(encoded.ids[row][kept].tolist()), (own[0], own[-1] + 1) if own else (0, 0)
    return [
        replace(one, prompt=prompt, prompt_tokens=framed[prompt][0], content=framed[prompt][1])
        for one, prompt in zip(written, prompts, strict=True)
    ]


def _ids(model: LanguageModel, completion: Completion) -> Tensor:
    return torch.tensor(written_tokens(model, completion), dtype=torch.int64)


def _nll(log_probs: Tensor, ids: Tensor) -> float:
    return _mean(-log_probs.gather(1, ids[:, None]))


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


# How varied texts are, by their words: distinct n-grams over texts, and what a text repeats of itself.

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of `text` in small letters, punctuation left out; an apostrophe inside a word belongs to it."""
    return _WORD.findall(text.lower())


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct word n-grams of all `texts` together, as a share of all their n-grams; NaN where there is none.

    An n-gram does not reach over two texts. The share falls with the number of texts, so that only equally many
    compare. Source: distinct-n of arXiv:1510.03055.
    """
    grams = [gram for text in texts for gram in _grams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repeated(text: str, n: int = 3) -> float:
    """The share of a text's word n-grams that stood in it before; 0 for a text of fewer than n words.

    Source: the repetition measure seq-rep-n of arXiv:1908.04319, on words.
    """
    grams = _grams(words(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(listed: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(listed[start : start + n]) for start in range(len(listed) - n + 1)]


# Generated texts as rows of a table.

Decoding = Literal["greedy", "sampled"]
# From this probability on a text shows a concept.
PRESENT = 0.5


def text_schema() -> dict[str, Any]:
    """Columns of a table of texts.

    condition; concept (or mix), layer and strength: null where nothing is steered; prompt_id, prompt; given: what the
    model was asked, the prompt with an instruction where the condition has one; seed; decoding; text; tokens: how many;
    ended: whether it came to its own end; nll, kl, repeated: see `Fluency`.
    """
    import polars as pl

    return {
        "condition": pl.String, "concept": pl.String, "layer": pl.Int64, "strength": pl.Float64, "prompt_id": pl.String,
        "prompt": pl.String, "given": pl.String, "seed": pl.Int64, "decoding": pl.String, "text": pl.String,
        "tokens": pl.Int64, "ended": pl.Boolean, "nll": pl.Float64,
        "kl": pl.Float64, "repeated": pl.Float64,
    }  # fmt: skip


def text_table(
    completions: Sequence[Completion],
    prompts: Sequence[tuple[str, str]],
    costs: Sequence[Cost],
    common: Mapping[str, object],
) -> pl.DataFrame:
    """A row for each completion; `prompts` holds id and text of the prompt behind each, `common` the other columns."""
    import polars as pl

    rows = [
        {
            **common, "prompt_id": key, "prompt": prompt, "given": one.prompt, "seed": one.seed,
            "text": one.text.strip(),
            "tokens": len(one.tokens), "ended": one.ended, "nll": cost.nll, "kl": cost.kl,
            "repeated": repeated(one.text),
        }
        for one, (key, prompt), cost in zip(completions, prompts, costs, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=text_schema())


def shown(table: pl.DataFrame, concepts: Sequence[str]) -> pl.Series:
    """Bool [rows]: whether a scored text shows all of `concepts`, by its columns `p_CONCEPT`."""
    import polars as pl

    return table.select(pl.all_horizontal(pl.col(f"p_{name}") >= PRESENT for name in concepts)).to_series()
