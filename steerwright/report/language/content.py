"""What the report of language models is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import polars.selectors as cs

from steerwright.report.provenance import RunProvenance

UNSTEERED, STEERED, RANDOM, INSTRUCTION = "unsteered", "steered", "random", "instruction"
ASKED, REMOVED, MIX = "asked", "removed", "mix"
# What is compared for every concept; removal and mixes have parts of their own.
CONDITIONS = (UNSTEERED, STEERED, RANDOM, INSTRUCTION)
CONDITION_NAMES = {
    UNSTEERED: "Unsteered", STEERED: "Steered", RANDOM: "Random direction", INSTRUCTION: "Asked in words",
    ASKED: "Asked in words", REMOVED: "Asked in words, direction removed", MIX: "Mixed",
}  # fmt: skip
# Condition -> the theme's colour that it is drawn in, and its mark.
COLOURS = {
    UNSTEERED: "unsteered", STEERED: "adaptive", RANDOM: "random", INSTRUCTION: "prompt", ASKED: "prompt",
    REMOVED: "fixed", MIX: "adaptive",
}  # fmt: skip
MARKS = {UNSTEERED: "o", STEERED: "D", RANDOM: "X", INSTRUCTION: "^", ASKED: "^", REMOVED: "s"}

KINDS: dict[str, dict[str, Any]] = {
    "texts": {
        "condition": pl.String, "concept": pl.String, "layer": pl.Int64, "strength": pl.Float64,
        "prompt_id": pl.String, "prompt": pl.String, "seed": pl.Int64, "decoding": pl.String, "text": pl.String,
        "perplexity": pl.Float64,
    },
    "sweep": {
        "concept": pl.String, "layer": pl.Int64, "strength": pl.Float64, "rate": pl.Float64, "ratio": pl.Float64,
        "safe": pl.Boolean, "chosen": pl.Boolean,
    },
    "aggregate": {
        "concept": pl.String, "condition": pl.String, "decoding": pl.String, "rate": pl.Float64,
        "rate_low": pl.Float64, "rate_high": pl.Float64, "perplexity": pl.Float64, "ratio": pl.Float64,
        "ratio_low": pl.Float64, "ratio_high": pl.Float64, "distinct_1": pl.Float64, "distinct_2": pl.Float64,
        "kl": pl.Float64, "texts": pl.Int64,
    },
    "mixes": {
        "mix": pl.String, "part": pl.String, "weight": pl.Float64, "decoding": pl.String, "rate": pl.Float64,
        "rate_low": pl.Float64, "rate_high": pl.Float64, "both": pl.Float64, "ratio": pl.Float64,
    },
    "statistics": {
        "concept": pl.String, "layer": pl.Int64, "norm": pl.Float64, "relative_norm": pl.Float64,
        "separability": pl.Float64,
    },
    "cosines": {"concept": pl.String, "other": pl.String, "layer": pl.Int64, "cosine": pl.Float64},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bars:
    """What had been hoped for before the run: of a concept, and of how many concepts it should be true.

    `rate`: least share of steered texts that show the concept; `unsteered`: most of the unsteered ones; `ratio`: most
    times the unsteered perplexity; `random`: how far a random direction may lie above unsteered; `concepts`: how many.
    """

    rate: float = 0.8
    unsteered: float = 0.3
    ratio: float = 2.0
    random: float = 0.1
    concepts: int = 12


def nothing(name: str) -> pl.DataFrame:
    """The table `name` of the content without rows."""
    return pl.DataFrame(schema=KINDS[name])


@dataclass(frozen=True, slots=True, eq=False)
class LanguageContent:
    """Everything on the page; `write_language_report` draws it and reads no file.

    - `title`, `model`: the page's heading, and the model's name with a word on what it is.
    - `texts`, `sweep`, `aggregate`, `mixes`, `statistics`: the tables of the language pipeline (docs/formats.md), at
      least with the columns of `KINDS`; any may be without rows, and a sentence stands in their place. Probabilities
      of the judge are columns `p_CONCEPT` of `texts`; texts that belong to no concept have null there. Everything in
      `sweep` is of tuning prompts, everything else of test prompts. `mix_sweep` is the sweep of mixes: its rates are
      of texts that show all parts.
    - `cosines`: concept, other, layer, cosine: between the directions of two concepts at one layer.
    - `chosen`: concept or mix -> its operating point: `layer`, `strength`, `units`, `safe` [lowest, highest strength].
    - `factors`: concept -> what it is a value of (emotion, style, ...), in the order of the page.
    - `ratio_limit`: the perplexity ratio up to which a point of the sweep was safe; `distinct_limit`: the least share
      of the unsteered distinct-2. `judge`: who reads concepts off.
    - `done`: what was done, heading -> sentence; `explanations`: further paragraphs, heading -> text.
    """

    title: str
    model: str
    provenance: RunProvenance
    factors: Mapping[str, str] = field(default_factory=dict)
    texts: pl.DataFrame = field(default_factory=lambda: nothing("texts"))
    sweep: pl.DataFrame = field(default_factory=lambda: nothing("sweep"))
    mix_sweep: pl.DataFrame = field(default_factory=lambda: nothing("sweep"))
    aggregate: pl.DataFrame = field(default_factory=lambda: nothing("aggregate"))
    mixes: pl.DataFrame = field(default_factory=lambda: nothing("mixes"))
    statistics: pl.DataFrame = field(default_factory=lambda: nothing("statistics"))
    cosines: pl.DataFrame = field(default_factory=lambda: nothing("cosines"))
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bars: Bars = field(default_factory=Bars)
    ratio_limit: float | None = None
    distinct_limit: float | None = None
    judge: str = "the judge"
    done: Mapping[str, str] = field(default_factory=dict)
    explanations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, columns in (KINDS | {"mix_sweep": KINDS["sweep"]}).items():
            table: pl.DataFrame = getattr(self, name)
            missing = [column for column in columns if column not in table.columns]
            if missing:
                raise ValueError(f"The table {name} of the report lacks the columns {', '.join(missing)}.")

    @property
    def concepts(self) -> list[str]:
        """Every concept that was steered, swept or described, those of one factor together; mixes are none."""
        steered = self.aggregate.filter(condition=STEERED)["concept"]
        named = [*steered, *self.sweep["concept"], *self.statistics["concept"], *self.chosen]
        found = dict.fromkeys(name for name in named if not is_mix(name))
        ordered = [concept for concept in self.factors if concept in found]
        ordered += [concept for concept in found if concept not in self.factors]
        groups = dict.fromkeys(self.factor(concept) for concept in ordered)
        return [concept for group in groups for concept in ordered if self.factor(concept) == group]

    @property
    def decodings(self) -> list[str]:
        """How texts were decoded, sampled ones first."""
        present = self.aggregate["decoding"].drop_nulls().unique(maintain_order=True).to_list()
        return sorted(present, key=lambda name: name != "sampled")

    def factor(self, concept: str) -> str:
        """What the concept is a value of; empty where that is not known."""
        return self.factors.get(concept, "")

    def groups(self) -> dict[str, list[str]]:
        """Factor -> its concepts."""
        found: dict[str, list[str]] = {}
        for concept in self.concepts:
            found.setdefault(self.factor(concept), []).append(concept)
        return found

    def scores(self, concept: str, decoding: str) -> dict[str, dict[str, Any]]:
        """The rows of the aggregate by condition; NaN is None. Conditions that were not made are not there."""
        rows = self.aggregate.filter(concept=concept, decoding=decoding).with_columns(cs.float().fill_nan(None))
        return {row["condition"]: row for row in rows.iter_rows(named=True) if row["rate"] is not None}


def is_mix(name: str) -> bool:
    """Whether `name` is that of a mix, `happy:0.7,excited:0.3`: no concept's name has a colon."""
    return ":" in name


def concept_name(concept: str) -> str:
    """A concept for people."""
    return concept.replace("_", " ").replace("-", " ")


def condition_name(condition: str) -> str:
    """A condition for people."""
    return CONDITION_NAMES.get(condition, condition.replace("_", " ").capitalize())


def colour(condition: str) -> str:
    """The theme's colour of a condition."""
    return COLOURS.get(condition, "muted")
