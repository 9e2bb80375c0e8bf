"""Generated texts as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from steerwright.scoring.language.fluency import Cost, repeated
from steerwright.steering.language.generate import Completion

if TYPE_CHECKING:
    import polars as pl

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
