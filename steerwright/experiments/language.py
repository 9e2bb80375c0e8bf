"""Answers to the test prompts under some conditions, in shards that any process can write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from steerwright.errors import UserError, UserErrors
from steerwright.files import atomic_write
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.language.load import LanguageModel, language_device, load_language_model
from steerwright.models.language.memory import weight_bytes
from steerwright.models.language.spec import LanguageSpec
from steerwright.models.load import OncePerThread, same_threads
from steerwright.scoring.language.fluency import Decoding, costs, text_table, under
from steerwright.steering.algebra import Edit
from steerwright.steering.language.edits import Alternation, text_edits
from steerwright.steering.language.generate import Completion, Sampling, complete
from steerwright.steering.language.sweep import ROWS, SteeringWay, asked_with_seeds, sweep_layer, sweep_layers
from steerwright.vectors.estimators.random_direction import random_like
from steerwright.vectors.formats.vectors_file import load_vectors
from steerwright.vectors.mixing import mix, parse_mix, takes_turns
from steerwright.vectors.steering_vectors import SteeringVectors

if TYPE_CHECKING:
    import polars as pl

# A language model for work that several processes of this machine may share.

# A larger model has matrices that torch's own threads share well, and its copies would take memory that others need.
SMALL = 200 << 20
MOST = 8

_loaded: OncePerThread[LanguageModel] = OncePerThread()


@dataclass(frozen=True, slots=True)
class LanguageTools:
    """Which model to write with, and with how many threads: another number may round otherwise.

    `processes`: how many processes are worth their start. A small model on a CPU spends its time between operations too
    short for two threads to share, so there is one for each thread that torch would have.
    """

    spec: LanguageSpec
    digest: str
    threads: int
    processes: int

    @classmethod
    def here(cls, spec: LanguageSpec, digest: str) -> LanguageTools:
        """For jobs that may run in another folder, on this machine or one that sees the same files."""
        source, threads = Path(spec.source), torch.get_num_threads()
        if not source.is_dir():
            return cls(spec, digest, threads, 1)
        spec = spec.model_copy(update={"source": str(source.absolute())})
        small = weight_bytes(source, torch.float32) <= SMALL
        processes = min(threads, MOST) if small and language_device().type == "cpu" else 1
        return cls(spec, digest, 1 if processes > 1 else threads, processes)

    def load(self) -> LanguageModel:
        """The model, loaded once in each thread for as long as the same one is asked for."""
        wanted = (self.digest, self.spec.model_copy(update={"source": "", "name": ""}), language_device())
        return _loaded.get(wanted, lambda: load_language_model(self.spec, self.digest))


# Answers over layers and strengths, in shards that any process can write: one for each concept or mix.


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
    vectors: SteeringVectors | Alternation | None = None
    layers: tuple[int, ...] = ()
    strengths: tuple[float, ...] = ()

    def steered(
        self, number: int, condition: Literal["steered", "mix"], concept: str, vectors: SteeringVectors | Alternation,
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
            atomic_write(files[place], table.write_parquet)
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


# Under which conditions the test prompts are answered: steered, unsteered, and the controls of both.

ConditionName = Literal["unsteered", "steered", "random", "instruction", "asked", "removed", "mix"]
# Scored as answers to the prompt that asks for the concept.
UNDER_GIVEN: tuple[ConditionName, ...] = ("asked", "removed")


class Removal(BaseModel):
    """How a concept that a prompt asks for is taken out, by the direction in which asking moves an answer's tokens.

    `project` takes the component along it out of tokens, measured from where plain answers lie; `subtract` pushes them
    the other way, in the units of steering.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["project", "subtract"] = "project"
    layers: list[int] | None = Field(
        default=None, description="null: project at all, subtract where the concept is added."
    )
    strength: float = Field(default=1.5, gt=0, description="To project: 1 takes the component out, 2 reflects it.")
    tokens: str = Field(default="all", description="Which tokens: last, generated, all, span:a:b.")

    def edits(self, vectors: SteeringVectors, way: SteeringWay, chosen: int) -> list[Edit]:
        """The edits that take out what `vectors` (`removal_vectors`) say; `chosen`: where the concept is added."""
        if self.by == "project":
            layers = sweep_layers(vectors, self.layers)
            return text_edits(vectors, layers, self.strength, action="erase", tokens=self.tokens)
        return replace(way, tokens=self.tokens).add(vectors, self.layers or [chosen], -self.strength)


@dataclass(frozen=True, slots=True, eq=False)
class TextCondition:
    """One way to answer all test prompts.

    `concept`: the concept or mix that it is about, None for unsteered; `instruction`: words added to each prompt;
    `as_`: the names under which its texts are scored. All but `asked` and `removed` count under the plain prompt: how
    likely the unsteered model finds the text as an answer to that, and how far its distributions lie from the plain
    ones. What is asked for in words is scored twice, as a control of steering and as what is then removed.
    """

    as_: tuple[ConditionName, ...]
    concept: str | None = None
    layer: int | None = None
    strength: float | None = None
    instruction: str | None = None
    edits: tuple[Edit, ...] = ()

    def given(self, prompt: str) -> str:
        """What the model is asked for `prompt`."""
        return prompt if self.instruction is None else f"{prompt} {self.instruction}"


def conditions(
    vectors: Mapping[str, SteeringVectors | Alternation],
    instructions: Mapping[str, str],
    chosen: Mapping[str, Mapping[str, Any]],
    mixes: Mapping[str, Mapping[str, Any]],
    way: SteeringWay,
    removal: Removal,
    removals: Mapping[str, SteeringVectors],
    random_seed: int,
) -> list[TextCondition]:
    """All conditions: unsteered; for each concept of `chosen` steered at its layer and strength, by a random direction
    at the same, asked for in words, and asked for with its vector of `removals` taken out; and each mix at its own
    point.
    """
    found = [TextCondition(("unsteered",))]
    for name, point in chosen.items():
        own, layer, strength = vectors[name], int(point["layer"]), float(point["strength"])
        assert isinstance(own, SteeringVectors), "a mix is no concept"
        random = random_like(own, random_seed)
        away = removal.edits(removals[name], way, layer)
        said = instructions[name]
        found += [
            TextCondition(("steered",), name, layer, strength, edits=tuple(way.add(own, [layer], strength))),
            TextCondition(("random",), name, layer, strength, edits=tuple(way.add(random, [layer], strength))),
            TextCondition(("instruction", "asked"), name, instruction=said),
            TextCondition(("removed",), name, None, removal.strength, said, tuple(away)),
        ]
    for text, point in mixes.items():
        layer, strength = int(point["layer"]), float(point["strength"])
        found.append(
            TextCondition(("mix",), text, layer, strength, edits=tuple(way.add(vectors[text], [layer], strength)))
        )
    return found


def joined(several: Sequence[TextCondition], rows: int) -> list[Edit]:
    """The edits of `several` conditions that are written as one batch, `rows` texts of each, one after the other.

    Each edit has its strength on its own condition's rows and zero, which changes nothing, on all others.
    """
    found = []
    for place, condition in enumerate(several):
        for edit in condition.edits:
            strength = torch.zeros(len(several) * rows)
            strength[place * rows : (place + 1) * rows] = edit.strength
            found.append(replace(edit, strength=strength))
    return found


def mixed(text: str, vectors: Mapping[str, SteeringVectors]) -> SteeringVectors | Alternation:
    """The mix that `text` names: a sum of unit directions, so that weights alone decide, or concepts in turns."""
    weights = parse_mix(text)
    parts = {name: vectors[name] for name in weights}
    return Alternation(parts, weights) if takes_turns(text) else mix(parts, weights, of="unit")


def concept_vectors(folder: Path, model: Fingerprint) -> dict[str, SteeringVectors]:
    """The vectors of every concept in `folder`, in the order of their names; raises as `load_vectors` does."""
    return {path.stem: load_vectors(path, model) for path in sorted(folder.glob("*.safetensors"))}


def all_vectors(folder: Path, model: Fingerprint, mixes: Sequence[str]) -> dict[str, SteeringVectors | Alternation]:
    """The vectors of every concept in `folder`, in the order of their names, and then of every mix of them.

    Raises UserErrors for mixes of concepts that are not there, and as `load_vectors` for vectors of another model.
    """
    found = concept_vectors(folder, model)
    problems = [
        f"{text}: there is no concept {name}" for text in mixes for name in parse_mix(text) if name not in found
    ]
    if problems:
        raise UserErrors(f"params.yaml: language.mixes (concepts are {', '.join(found)}):", problems)
    return {**found, **{text: mixed(text, found) for text in mixes}}


@dataclass(frozen=True, slots=True, eq=False)
class AnswersShard:
    """The answers to `prompts` (id and text) under `conditions`, which are one batch, to be written into `file`."""

    tools: LanguageTools
    file: Path
    conditions: tuple[TextCondition, ...]
    prompts: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    sampling: Sampling
    decoding: Decoding


def plan_answers(
    tools: LanguageTools, folder: Path, conditions: Sequence[TextCondition], prompts: Sequence[tuple[str, str]],
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
    atomic_write(shard.file, table.write_parquet)
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
