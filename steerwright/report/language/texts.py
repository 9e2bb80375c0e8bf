"""The texts themselves, side by side: the same prompt and seed under every condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from steerwright.report.html.page import Html, el
from steerwright.report.html.theme import decimal, percent
from steerwright.report.language.content import (
    ASKED,
    CONDITIONS,
    INSTRUCTION,
    MIX,
    REMOVED,
    STEERED,
    UNSTEERED,
    LanguageContent,
    colour,
    concept_name,
    condition_name,
)
from steerwright.report.language.tables import text_id
from steerwright.report.language.words import PRESENT, decoding_name, point_words
from steerwright.vectors.mixing import takes_turns

# Prompts of each concept that are shown.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Texts of one prompt, seed and way of decoding; `rows`: condition -> its row of the texts.

    `prompt`: what all of them were asked, or the plain prompt where some were asked in other words.
    """

    prompt: str
    decoding: str
    rows: Mapping[str, Mapping[str, Any]]


def comparisons(
    texts: pl.DataFrame, concept: str, conditions: Sequence[str], count: int = SHOWN, turn: int = 0
) -> list[Comparison]:  # fmt: skip
    """The texts of `concept` for `count` prompts, every way of decoding of each on its first seed.

    The last of `conditions` says which prompts there are; unsteered texts may belong to no concept. Concepts take the
    prompts in turn: the one at place `turn` begins where the one before it ended, so that none are picked by hand.
    """
    mine = texts.filter(
        pl.col("condition").is_in(list(conditions)),
        (pl.col("concept") == concept) | ((pl.col("condition") == UNSTEERED) & pl.col("concept").is_null()),
    )
    anchor = mine.filter(condition=STEERED if STEERED in conditions else conditions[-1])
    prompts = anchor["prompt_id"].unique(maintain_order=True).to_list()
    found: list[Comparison] = []
    for step in range(min(count, len(prompts))):
        prompt = prompts[(turn * count + step) % len(prompts)]
        part = mine.filter(prompt_id=prompt)
        for decoding in sorted(part["decoding"].unique(maintain_order=True), key=lambda name: name != "sampled"):
            seeds = anchor.filter(prompt_id=prompt, decoding=decoding)["seed"]
            if seeds.len() == 0:
                continue
            rows = {
                row["condition"]: row for row in part.filter(decoding=decoding, seed=seeds[0]).iter_rows(named=True)
            }
            ordered = {name: rows[name] for name in conditions if name in rows}
            asked = {_given(row) for row in ordered.values()}
            plain = rows[anchor["condition"][0]]["prompt"]
            found.append(Comparison(asked.pop() if len(asked) == 1 else plain, decoding, ordered))
    return found


def concept_texts(content: LanguageContent) -> list[Html]:
    """A part for each concept that opens; the first is open."""
    found: list[Html] = []
    for turn, concept in enumerate(content.concepts):
        shown = comparisons(content.texts, concept, CONDITIONS, turn=turn)
        if shown:
            body = [comparison(one, [concept]) for one in shown]
            found.append(_part(concept, _said(content, concept), body, not found))
    return found


def removal_texts(content: LanguageContent) -> list[Html]:
    """One prompt for each concept that was removed."""
    found: list[Html] = []
    for turn, concept in enumerate(content.concepts):
        asked = ASKED if content.texts.filter(condition=ASKED).height else INSTRUCTION
        shown = comparisons(content.texts, concept, (asked, REMOVED), 1, turn)
        found += [el("h4", concept_name(concept), class_="of"), *(comparison(one, [concept]) for one in shown)] \
            if shown else []  # fmt: skip
    return found


def mix_texts(content: LanguageContent) -> list[Html]:
    """Two prompts for each mix."""
    found: list[Html] = []
    for turn, mix in enumerate(content.mixes["mix"].unique(maintain_order=True).to_list()):
        parts = content.mixes.filter(mix=mix)["part"].unique(maintain_order=True).to_list()
        shown = comparisons(content.texts, mix, (UNSTEERED, MIX), 2, turn)
        found += [el("h4", mix_name(content.mixes.filter(mix=mix)), class_="of"),
                  *(comparison(one, parts) for one in shown)] if shown else []  # fmt: skip
    return found


def mix_name(rows: pl.DataFrame) -> str:
    """`0.7 happy + 0.3 excited`, or `0.7 happy, 0.3 excited in turns`; `rows`: those of one mix."""
    parts = rows.select("part", "weight").unique(maintain_order=True).iter_rows()
    turns = any(map(takes_turns, rows["mix"].unique()))
    names = (", " if turns else " + ").join(f"{weight:g} {concept_name(part)}" for part, weight in parts)
    return f"{names} in turns" if turns else names


def comparison(one: Comparison, concepts: Sequence[str]) -> Html:
    """A prompt, and under it the texts beside each other, each with what the judge says of `concepts`."""
    cards = [_card(name, row, one.prompt, concepts) for name, row in one.rows.items()]
    head = el("p", el("b", one.prompt), el("span", decoding_name(one.decoding)), class_="prompt")
    return el("div", head, el("div", *cards, class_="side"), class_="compared")


def _part(concept: str, said: str, body: Sequence[Html], opened: bool) -> Html:
    # What a link leads to is within, so that following the link opens the part.
    first = el("span", id=text_id(concept))
    summary = el("summary", el("b", concept_name(concept)), el("small", said))
    return el("details", summary, first, *body, class_="of-concept", open=opened)


def _said(content: LanguageContent, concept: str) -> str:
    point = point_words(content.chosen.get(concept, {}))
    rates = []
    for condition, word in ((STEERED, "steered"), (UNSTEERED, "unsteered")):
        if content.decodings and (row := content.scores(concept, content.decodings[0]).get(condition)):
            rates.append(f"{percent(row['rate'])} {word}")
    return "; ".join(part for part in (", ".join(rates), point) if part)


def _given(row: Mapping[str, Any]) -> str:
    """What the model was asked: the prompt, with an instruction where there is one."""
    return str(row.get("given") or row["prompt"])


def _card(condition: str, row: Mapping[str, Any], prompt: str, concepts: Sequence[str]) -> Html:
    key = el("span", class_="key", style=f"background:var(--{colour(condition)})", aria_hidden="true")
    asked = [el("small", f"Prompt: {_given(row)}")] if _given(row) != prompt else []
    text = [el("span", row["text"])] if row["text"].strip() else [el("i", "no text")]
    if row.get("ended") is False:
        # Cut off where the number of tokens was reached, not where the model ended.
        text.append(el("span", "\u00a0…", class_="cut"))
    numbers = []
    for concept in concepts:
        value = row.get(f"p_{concept}")
        if value is not None and value == value:
            shows = "is-winter" if value >= PRESENT else None
            numbers.append(el("span", f"{concept_name(concept)} {percent(value)}", class_=shows))
    if row["perplexity"] is not None:
        numbers.append(el("span", f"perplexity {decimal(row['perplexity'], 1)}"))
    return el("figure", el("figcaption", key, condition_name(condition), *asked), el("blockquote", *text),
              el("p", *numbers, class_="numbers"))  # fmt: skip
