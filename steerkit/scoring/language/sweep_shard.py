"""Answers over layers and strengths, in shards that any process can write: one for each concept or mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from steerkit.activations.whole_file import whole
from steerkit.models.language.generate import Sampling, complete
from steerkit.models.language.in_processes import LanguageTools
from steerkit.models.language.load import LanguageModel
from steerkit.models.same_threads import same_threads
from steerkit.scoring.language.fluency import costs
from steerkit.scoring.language.text_table import text_table
from steerkit.steering.language.turns import Turns
from steerkit.steering.language_sweep import SteeringWay, asked_with_seeds, sweep_layer
from steerkit.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False)
class SweepShard:
    """The answers to `prompts` (id and text), each from all `seeds`: unsteered, or steered by `vectors` at each of
    `layers` with each of `strengths`. A file of `folder` for each layer, so that what was written is kept.
    """

    tools: LanguageTools
    folder: Path
    prompts: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    sampling: Sampling
    way: SteeringWay
    name: str = "unsteered"
    condition: Literal["unsteered", "steered", "mix"] = "unsteered"
    concept: str | None = None
    vectors: SteeringVectors | Turns | None = None
    layers: tuple[int, ...] = ()
    strengths: tuple[float, ...] = ()

    def steered(
        self, number: int, condition: Literal["steered", "mix"], concept: str, vectors: SteeringVectors | Turns,
        layers: Sequence[int], strengths: Sequence[float],
    ) -> SweepShard:  # fmt: skip
        """The same of a concept or mix; its files have its `number`, because a mix's name is no file's."""
        return replace(
            self, name=str(number), condition=condition, concept=concept, vectors=vectors, layers=tuple(layers),
            strengths=tuple(strengths),
        )  # fmt: skip

    @property
    def files(self) -> list[Path]:
        """The files of the shard, in the order of its layers."""
        if self.vectors is None:
            return [self.folder / f"{self.name}.parquet"]
        return [self.folder / f"{self.name}-{layer}.parquet" for layer in self.layers]


def write_sweep_shard(shard: SweepShard) -> Literal["kept", "written"]:
    """Write those files of `shard` that are not there. Each comes whole or not at all."""
    files = shard.files
    missing = [place for place, file in enumerate(files) if not file.is_file()]
    if not missing:
        return "kept"
    model = shard.tools.load()
    with same_threads(shard.tools.threads):
        for place in missing:
            table = _unsteered(model, shard) if shard.vectors is None else _steered(model, shard, shard.layers[place])
            whole(files[place], table.write_parquet)
    return "written"


def _unsteered(model: LanguageModel, shard: SweepShard) -> pl.DataFrame:
    asked = asked_with_seeds(shard.prompts, shard.seeds)
    rows, given, noise = _split(asked)
    plain = complete(model, given, noise, shard.sampling, batch_size=len(given))
    return text_table(plain, rows, costs(model, plain), {"condition": shard.condition, "decoding": "sampled"})


def _steered(model: LanguageModel, shard: SweepShard, layer: int) -> pl.DataFrame:
    import polars as pl

    assert shard.vectors is not None
    rows, given, noise = _split(asked_with_seeds(shard.prompts, shard.seeds))
    found = sweep_layer(model, shard.vectors, layer, shard.strengths, given, noise, shard.sampling, shard.way)
    written = [one for some in found.values() for one in some]
    # Double precision in the table: a strength is found again by its number.
    exact = [strength for strength, some in found.items() for _ in some]
    spent = costs(model, written, shard.way.add(shard.vectors, [layer], torch.tensor(exact)))
    common = {"condition": shard.condition, "concept": shard.concept, "layer": layer, "decoding": "sampled"}
    table = text_table(written, rows * len(found), spent, common)
    return table.with_columns(strength=pl.Series(exact, dtype=pl.Float64))


def _split(asked: Sequence[tuple[tuple[str, str], int]]) -> tuple[list[tuple[str, str]], list[str], list[int]]:
    return [row for row, _ in asked], [prompt for (_, prompt), _ in asked], [seed for _, seed in asked]
