"""Answers to the test prompts under some conditions, in shards that any process can write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from steerkit.activations.whole_file import whole
from steerkit.errors import UserError
from steerkit.models.language.generate import Completion, Sampling, complete
from steerkit.models.language.in_processes import LanguageTools
from steerkit.models.language.load import LanguageModel
from steerkit.models.same_threads import same_threads
from steerkit.scoring.language.fluency import costs, under
from steerkit.scoring.language.text_conditions import UNDER_GIVEN, Condition, joined
from steerkit.scoring.language.text_table import Decoding, text_table
from steerkit.steering.language_sweep import ROWS, asked_with_seeds

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False)
class AnswersShard:
    """The answers to `prompts` (id and text) under `conditions`, which are one batch, to be written into `file`."""

    tools: LanguageTools
    file: Path
    conditions: tuple[Condition, ...]
    prompts: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    sampling: Sampling
    decoding: Decoding


def plan_answers(
    tools: LanguageTools, folder: Path, conditions: Sequence[Condition], prompts: Sequence[tuple[str, str]],
    seeds: Sequence[int], sampling: Sampling, decodings: Sequence[Decoding],
) -> list[AnswersShard]:  # fmt: skip
    """Shards of as many conditions as fill a batch: small ones take as long, and rows do not depend on each other.

    UserError where sampled texts are asked for at temperature 0: those of all seeds would be the greedy ones.
    """
    if sampling.temperature == 0 and "sampled" in decodings:
        raise UserError(
            "sampling.temperature 0: sampled texts would be the greedy ones, whatever the seed; set a higher one, or "
            "decodings: [greedy]."
        )
    together = max(1, ROWS // len(prompts))
    batches = [
        (decoding, tuple(conditions[at : at + together]))
        for decoding in decodings
        for at in range(0, len(conditions), together)
    ]
    return [
        AnswersShard(
            tools, folder.absolute() / f"{number}.parquet", some, tuple(prompts),
            # The likeliest tokens are the same for every seed.
            tuple(seeds if decoding == "sampled" else seeds[:1]),
            sampling if decoding == "sampled" else sampling.greedy(), decoding,
        )
        for number, (decoding, some) in enumerate(batches)
    ]  # fmt: skip


def write_answers_shard(shard: AnswersShard) -> Literal["kept", "written"]:
    """Write the file of `shard`, whole or not at all, unless it is there."""
    if shard.file.is_file():
        return "kept"
    model = shard.tools.load()
    asked = asked_with_seeds(shard.prompts, shard.seeds)
    with same_threads(shard.tools.threads):
        written = complete(
            model, [one.given(prompt) for one in shard.conditions for (_, prompt), _ in asked],
            [seed for _ in shard.conditions for _, seed in asked], shard.sampling,
            joined(shard.conditions, len(asked)), batch_size=ROWS,
        )  # fmt: skip
        table = _with_costs(model, shard, written, [row for row, _ in asked])
    whole(shard.file, table.write_parquet)
    return "written"


def _with_costs(
    model: LanguageModel, shard: AnswersShard, written: Sequence[Completion], rows: Sequence[tuple[str, str]]
) -> pl.DataFrame:
    """The table of what was `written` under the conditions, one after the other, with what it cost."""
    import polars as pl

    tables = []
    for place, condition in enumerate(shard.conditions):
        own = written[place * len(rows) : (place + 1) * len(rows)]
        for name in condition.as_:
            plain = None if name in UNDER_GIVEN else under(model, own, [prompt for _, prompt in rows])
            spent = costs(model, own, condition.edits, plain)
            common = {"condition": name, "concept": condition.concept, "layer": condition.layer,
                      "strength": condition.strength, "decoding": shard.decoding}  # fmt: skip
            tables.append(text_table(own, list(rows), spent, common))
    return pl.concat(tables)
