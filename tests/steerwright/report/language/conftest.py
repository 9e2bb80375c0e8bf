"""A made-up run of the language pipeline: texts that an imagined model wrote, and the tables that follow from them."""

import math
import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from steerwright.report.language.content import KINDS, LanguageContent
from steerwright.report.provenance import RunProvenance

Make = Callable[..., LanguageContent]
FACTORS = {
    "happy": "emotion", "sad": "emotion", "angry": "emotion", "fearful": "emotion", "excited": "emotion",
    "calm": "emotion", "formal": "style", "casual": "style", "poetic": "style", "technical": "style",
    "pirate": "personality", "shakespeare": "personality", "enthusiastic": "personality",
    "pessimistic": "personality", "confident": "personality", "brief": "length", "verbose": "length",
}  # fmt: skip
FEW = {name: FACTORS[name] for name in ("happy", "sad", "pirate", "brief")}
LAYERS, STRENGTHS = tuple(range(8)), (0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 2.0)
TOPICS = ("the lake", "the market", "ships & <sails>", "bread", "the train", "a letter", "stars", "the garden")
RATES = {"unsteered": 0.06, "steered": 0.96, "random": 0.08, "instruction": 0.98, "asked": 0.97, "removed": 0.15}
MIXES = {"happy:0.7,sad:0.3": {"happy": 0.7, "sad": 0.3}, "happy:0.5,pirate:0.5": {"happy": 0.5, "pirate": 0.5}}


@pytest.fixture(scope="session")
def make() -> Make:
    return make_content


@pytest.fixture(scope="session")
def content() -> LanguageContent:
    return make_content()


def make_content(factors: dict[str, str] = FEW, prompts: int = 8, decodings: tuple[str, ...] = ("greedy", "sampled"),
                 rates: dict[tuple[str, str], float] | None = None, **more: Any) -> LanguageContent:  # fmt: skip
    """`rates`: (concept, condition) -> the rate that it shall have."""
    dice = random.Random(0)
    asked = rates or {}
    wanted = {
        (concept, condition): asked.get((concept, condition), rate)
        for concept in factors for condition, rate in RATES.items()
    }  # fmt: skip
    texts = _texts(dice, factors, prompts, decodings, wanted)
    sweep = _sweep(dice, factors)
    best = {row["concept"]: row for row in sweep.filter("chosen").iter_rows(named=True)}
    values: dict[str, Any] = {
        "title": "Steering a language model <itself>",
        "model": "seasons-lm (models/seasons-lm)",
        "provenance": RunProvenance({"Command": "steerwright run language"}, {"a": {"b": 1}}, {"texts": "ab12"}),
        "factors": factors,
        "texts": texts,
        "sweep": sweep,
        "mix_sweep": _sweep(dice, dict.fromkeys(MIXES, "")),
        "aggregate": _aggregate(factors, decodings, wanted, prompts),
        "mixes": _mixes(factors, decodings),
        "statistics": pl.DataFrame([
            {"concept": concept, "layer": layer, "norm": 0.3 + layer, "relative_norm": 0.05 + 0.09 * layer,
             "separability": 0.55 + 0.45 * (1 - math.exp(-layer * (place + 1) / len(factors)))}
            for place, concept in enumerate(factors) for layer in LAYERS
        ], schema=KINDS["statistics"]),
        "cosines": pl.DataFrame([
            {"concept": one, "other": other, "layer": layer,
             "cosine": 1.0 if one == other else 0.7 * math.cos(3 * min(a, b) + 2 * max(a, b))}
            for a, one in enumerate(factors) for b, other in enumerate(factors) for layer in (3, 4)
        ], schema=KINDS["cosines"]),
        "chosen": {name: {"layer": row["layer"], "strength": row["strength"], "units": "relative", "safe": [0, 1.0]}
                   for name, row in (best | {mix: {"layer": 4, "strength": 0.9} for mix in MIXES}).items()},
        "ratio_limit": 1.5,
        "judge": "the classifier seasons-text-labels",
        "done": {"Prompts": "8 requests <each>.", "Vectors": "From 12 pairs of each concept."},
    }  # fmt: skip
    return LanguageContent(**values | more)


def _texts(
    dice: random.Random, factors: dict[str, str], prompts: int, decodings: tuple[str, ...],
    wanted: dict[tuple[str, str], float],
) -> pl.DataFrame:  # fmt: skip
    rows = []
    for number in range(prompts):
        topic = TOPICS[number % len(TOPICS)]
        for decoding in decodings:
            for condition in RATES:
                for concept in factors if condition != "unsteered" else (None,):
                    shown = concept is not None and dice.random() < wanted[concept, condition]
                    words = f"the way one <{concept}> would say it" if shown else "as everybody knows"
                    ask = f" Answer in a {concept} way." if condition in ("instruction", "asked", "removed") else ""
                    text = f"There is much to say of {topic}, {words}. It is older than it looks and seldom quiet."
                    rows.append(_row(condition, concept, number, topic, ask, decoding, text, factors, shown, dice))
            for mix, parts in MIXES.items():
                if set(parts) <= set(factors):
                    text = f"Oh, {topic}! Both of {mix} in it, and neither too loud."
                    one = _row("mix", mix, number, topic, "", decoding, text, factors, False, dice)
                    rows.append(one | {f"p_{part}": 0.9 for part in parts})
    schema = (
        KINDS["texts"]
        | {"given": pl.String, "tokens": pl.Int64, "ended": pl.Boolean}
        | {f"p_{name}": pl.Float32 for name in factors}
    )
    return pl.DataFrame(rows, schema=schema)


def _row(
    condition: str, concept: str | None, number: int, topic: str, ask: str, decoding: str, text: str,
    factors: dict[str, str], shown: bool, dice: random.Random,
) -> dict[str, Any]:  # fmt: skip
    edited = condition in ("steered", "random", "removed", "mix")
    return {
        "condition": condition, "concept": concept, "layer": 4 if edited else None,
        "strength": 0.8 if edited else None, "prompt_id": f"test-{number}",
        "prompt": f"Tell me about {topic}.", "given": f"Tell me about {topic}.{ask}",
        "seed": number, "decoding": decoding, "text": text, "tokens": len(text.split()), "ended": number % 3 > 0,
        "perplexity": 3 + dice.random() + shown,
        **{f"p_{name}": 0.97 if name == concept and shown else 0.02 for name in factors},
    }  # fmt: skip


def _sweep(dice: random.Random, factors: dict[str, str]) -> pl.DataFrame:
    rows = []
    for place, concept in enumerate(factors):
        middle = 2 + place % 4
        for layer in LAYERS:
            for strength in STRENGTHS:
                force = strength * math.exp(-(((layer - middle) / 2.5) ** 2))
                ratio = (
                    1 + 0.25 * force**2 + 0.6 * max(0.0, strength - 0.9) ** 2 * (1 + layer / 4) + 0.05 * dice.random()
                )
                rate = 1 / (1 + math.exp(-9 * (force - 0.5)))
                safe = ratio <= 1.5
                rows.append({
                    "concept": concept, "layer": layer, "strength": strength, "rate": round(rate, 3), "ratio": ratio,
                    "safe": safe, "chosen": False, "rate_low": max(0, rate - 0.1), "rate_high": min(1, rate + 0.1),
                    "perplexity": 3 * ratio, "distinct_2": 0.95, "kl": force,
                })  # fmt: skip
        mine = [row for row in rows if row["concept"] == concept and row["safe"]]
        max(mine, key=lambda row: (row["rate"], -row["strength"]))["chosen"] = True
    return pl.DataFrame(rows, schema_overrides=KINDS["sweep"])


def _aggregate(
    factors: dict[str, str], decodings: tuple[str, ...], wanted: dict[tuple[str, str], float], prompts: int
) -> pl.DataFrame:  # fmt: skip
    cost = {"unsteered": 1.0, "steered": 1.3, "random": 1.1, "instruction": 1.15, "asked": 1.15, "removed": 1.2}
    rows = []
    for place, concept in enumerate(factors):
        for condition in RATES:
            for decoding in decodings:
                rate, ratio = wanted[concept, condition], cost[condition] + 0.01 * place
                rows.append({
                    "concept": concept, "condition": condition, "decoding": decoding, "rate": rate,
                    "rate_low": max(0.0, rate - 0.06), "rate_high": min(1.0, rate + 0.04), "perplexity": 3.1 * ratio,
                    "ratio": ratio, "ratio_low": ratio - 0.05, "ratio_high": ratio + 0.07, "distinct_1": 0.91,
                    "distinct_2": 0.99, "kl": 0.0 if condition == "unsteered" else 0.42, "texts": prompts,
                })  # fmt: skip
    return pl.DataFrame(rows, schema=KINDS["aggregate"])


def _mixes(factors: dict[str, str], decodings: tuple[str, ...]) -> pl.DataFrame:
    rows = [
        {"mix": mix, "part": part, "weight": weight, "decoding": decoding, "rate": 0.5 + weight / 2,
         "rate_low": 0.4 + weight / 2, "rate_high": 0.55 + weight / 2, "both": 0.71, "both_low": 0.6, "both_high": 0.8,
         "ratio": 1.4, "unsteered": 0.05}
        for mix, parts in MIXES.items() if set(parts) <= set(factors)
        for decoding in decodings for part, weight in parts.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=KINDS["mixes"]) if rows else pl.DataFrame(schema=KINDS["mixes"])
