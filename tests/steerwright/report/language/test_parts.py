"""Parts of the page by themselves: texts side by side, the sweep's tables, the frontier, what was done."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from steerwright.report.html.figures import Attachments
from steerwright.report.language.content import CONDITIONS, KINDS, LanguageContent, nothing
from steerwright.report.language.figures import RATES, ColourScale, rate_table, ratio_table, ratios, short
from steerwright.report.language.frontier import front, frontier_table
from steerwright.report.language.page import vectors_part
from steerwright.report.language.texts import comparison, comparisons, concept_texts
from tasks.language.report import judge_name, read_table, what_was_done

Make = Callable[..., LanguageContent]


def test_texts_beside_each_other_are_of_one_prompt_seed_and_decoding(content: LanguageContent) -> None:
    found = comparisons(content.texts, "sad", CONDITIONS, count=3, turn=1)
    assert [(one.prompt, one.decoding) for one in found] == [
        (f"Tell me about {topic}.", decoding)
        for topic in ("bread", "the train", "a letter") for decoding in ("sampled", "greedy")
    ]  # fmt: skip
    for one in found:
        assert list(one.rows) == list(CONDITIONS)
        assert {row["condition"] for row in one.rows.values()} == set(CONDITIONS)
        for key in ("prompt_id", "seed", "decoding"):
            assert len({row[key] for row in one.rows.values()}) == 1
        assert {row["concept"] for row in one.rows.values()} == {None, "sad"}


def test_of_several_seeds_the_first_is_shown(content: LanguageContent) -> None:
    again = content.texts.with_columns(pl.col("seed") + 100, pl.lit("second").alias("text"))
    found = comparisons(pl.concat([content.texts, again]), "sad", CONDITIONS, count=2)
    assert len(found) == 4 and not any(row["text"] == "second" for one in found for row in one.rows.values())


def test_concepts_take_the_prompts_in_turn_and_begin_again_at_the_end(make: Make) -> None:
    texts = make(prompts=5).texts
    shown = [[one.prompt for one in comparisons(texts, "happy", CONDITIONS, 2, turn)][::2] for turn in range(3)]
    topics = [[prompt.removeprefix("Tell me about ") for prompt in some] for some in shown]
    assert topics == [["the lake.", "the market."], ["ships & <sails>.", "bread."], ["the train.", "the lake."]]


def test_a_card_says_what_the_judge_saw_and_where_a_text_was_cut_off(content: LanguageContent) -> None:
    one = comparisons(content.texts, "happy", CONDITIONS, 1)[0]
    steered = one.rows["steered"] | {"text": "A bright <day>", "ended": False, "p_happy": 0.5, "perplexity": 4.25}
    plain = one.rows["unsteered"] | {"text": "  ", "ended": True, "p_happy": 0.4999}
    drawn = comparison(replace(one, rows={"unsteered": plain, "steered": steered}), ["happy"])
    assert "A bright &lt;day&gt;" in drawn and "no text" in drawn
    assert drawn.count("…") == 1 and drawn.index("A bright") < drawn.index("…")
    assert drawn.count('class="is-winter"') == 1 and "perplexity 4.2" in drawn


def test_what_was_asked_stands_beside_where_it_was_not_the_plain_prompt(content: LanguageContent) -> None:
    one = comparisons(content.texts, "happy", CONDITIONS, 1)[0]
    drawn = comparison(one, ["happy"])
    assert drawn.count("Prompt: ") == 1 and "Prompt: Tell me about the lake. Answer in a happy way." in drawn
    removed = comparisons(content.texts, "happy", ("asked", "removed"), 1)[0]
    assert removed.prompt == "Tell me about the lake. Answer in a happy way."
    assert "Prompt: " not in comparison(removed, ["happy"])


def test_a_concept_without_texts_has_no_part_and_the_first_part_is_open(content: LanguageContent) -> None:
    some = content.texts.filter(pl.col("concept").ne_missing("sad"))
    parts = concept_texts(replace(content, texts=some))
    assert len(parts) == 3 and [" open" in part[: part.index(">")] for part in parts] == [True, False, False]
    assert not any("texts-sad" in part for part in parts)


def test_the_table_of_the_sweep_holds_every_number_in_its_place() -> None:
    rows = pl.DataFrame(
        {"concept": ["happy"] * 3, "layer": [4, 2, 4], "strength": [0.5, 1.0, 1.0], "rate": [0.042, 0.31, 0.97],
         "ratio": [1.04, 1.62, 120.0], "safe": [True, False, None], "chosen": [True, False, False]},
        schema_overrides=KINDS["sweep"],
    )  # fmt: skip
    first = rate_table(rows)
    # Layer 2 was not tried at 0.5; rates fall into the classes of their bounds.
    assert first.index("<td>\u2013</td>") < first.index(">31<") < first.index(">4<") < first.index(">97<")
    assert 'class="c0 best"' in first and 'class="c2 unsafe"' in first and 'class="c5"' in first
    assert "rate 4~%, perplexity 1.04\u00d7, safe, chosen" in first.replace("\u202f", "~")
    second = ratio_table(rows, 1.5)
    assert ">1.0<" in second and ">1.6<" in second and ">99+<" in second


@pytest.mark.parametrize(("value", "said"), [(1.04, "1.0"), (9.94, "9.9"), (9.96, "10"), (99.4, "99"), (99.6, "99+")])
def test_a_ratio_is_said_in_three_letters_at_most(value: float, said: str) -> None:
    assert short(value) == said


def test_a_scale_counts_from_its_bounds_on_and_amber_begins_at_the_limit() -> None:
    scale = ColourScale((0.5, 1.0), ("a", "b", "c"))
    assert [scale.colour(value) for value in (0.49, 0.5, 0.99, 1.0)] == ["a", "b", "b", "c"]
    assert scale.labels() == ["< 0.5", "0.5\u20131", "\u2265 1"]
    assert RATES.labels()[-1] == "\u2265 95\u202f%"
    for limit in (1.0, 1.05, 1.2, 1.5, 4.0):
        bounds = ratios(limit).bounds
        assert list(bounds) == sorted(set(bounds)) and limit in bounds
    frost, amber = ratios(1.5).colour(1.49), ratios(1.5).colour(1.5)
    assert int(frost[5:], 16) > int(frost[1:3], 16) and int(amber[5:], 16) < int(amber[1:3], 16)


def test_the_front_holds_exactly_the_points_that_none_beats() -> None:
    dice = random.Random(3)
    points = [(round(dice.random(), 1), round(1 + dice.random(), 1)) for _ in range(60)]
    table = pl.DataFrame({"rate": [rate for rate, _ in points], "ratio": [ratio for _, ratio in points]})
    beaten = {
        (rate, ratio)
        for rate, ratio in points
        if any(a >= rate and b <= ratio and (a, b) != (rate, ratio) for a, b in points)
    }
    found = list(front(table).iter_rows())
    assert set(found) == set(points) - beaten and len(found) == len(set(found))


def test_the_frontier_leaves_out_what_was_not_measured(content: LanguageContent) -> None:
    sweep = content.sweep.with_columns(
        pl.when(pl.col("strength") > 1).then(float("nan")).otherwise("ratio").alias("ratio")
    )
    table = frontier_table(replace(content, sweep=sweep))
    assert table.height == 4 * 8 * 5 and table["ratio"].is_finite().all()
    for concept in content.concepts:
        on = table.filter("on_front", concept=concept).sort("ratio")["rate"]
        assert on.len() > 0 and on.is_sorted() and on[-1] == table.filter(concept=concept)["rate"].max()


def test_cosines_are_of_the_layer_that_most_concepts_were_steered_at(tmp_path: Path, content: LanguageContent) -> None:
    layers = {"happy": 4, "sad": 4, "pirate": 3, "brief": 0, "happy:0.5,sad:0.5": 3, "happy:0.7,sad:0.3": 3}
    some = replace(
        content, statistics=nothing("statistics"), chosen={name: {"layer": at} for name, at in layers.items()}
    )
    (drawn,) = vectors_part(some, Attachments(tmp_path))
    assert "at layer 4, the one chosen most often" in drawn
    (drawn,) = vectors_part(replace(some, chosen={}), Attachments(tmp_path))
    assert "at layer 3." in drawn


def test_a_table_without_rows_gets_the_columns_that_are_looked_for(tmp_path: Path, content: LanguageContent) -> None:
    pl.DataFrame({"mix": []}).write_parquet(tmp_path / "none.parquet")
    assert read_table(tmp_path / "none.parquet", "mixes").columns == list(KINDS["mixes"])
    content.mixes.write_parquet(tmp_path / "some.parquet")
    assert read_table(tmp_path / "some.parquet", "mixes").equals(content.mixes)


def test_what_was_done_is_said_from_the_tables_and_parameters(content: LanguageContent) -> None:
    pairs = {name: {"factor": factor, "pairs": [{}] * (12 + place)}
             for place, (name, factor) in enumerate(content.factors.items())}  # fmt: skip
    prompts = pl.DataFrame({"id": list("abc"), "prompt": list("xyz"), "split": ["tuning", "tuning", "test"]})
    params = {
        "sampling": {"max_new_tokens": 40, "temperature": 0.7, "top_p": 0.9}, "steering": {"units": "relative"},
        "vectors": {"estimator": "mean_difference", "tokens": "content"},
        "choice": {"perplexity_ratio": 1.5, "distinct": 0.5},
        "texts": {"decodings": ["greedy", "sampled"], "seeds": [17]},
    }  # fmt: skip
    judge = judge_name("models/seasons-text-labels")
    said = what_was_done(pairs, prompts, content.statistics, content.sweep, content.mixes, params, judge)
    assert said["Concepts"].startswith(
        "4 concepts (emotion, personality and length), each with 12 to 15 contrast pairs"
    )
    for contrast, ending in (("requests", "The pairs' own answers do not enter the vectors."),
                             ("texts", "The pairs' requests do not enter the vectors.")):  # fmt: skip
        asked = {**params, "activations": {"contrast": contrast}}
        found = what_was_done(pairs, prompts, content.statistics, content.sweep, content.mixes, asked, judge)
        assert found["Concepts"].endswith(ending)
    assert said["Vectors"] == (
        "One for every concept at each of 8 layers: mean difference, from the mean over each answer's tokens."
    )
    assert said["Sweep"] == (
        "8 layers, 7 strengths from 0.2 to 2 of each token's norm: 224 points on 2 tuning prompts."
    )
    assert "at most 1.5 times" in said["Choice"] and "at least 50 %" in said["Choice"]
    assert said["Texts"].startswith(
        "Answers to 1 test prompt, greedy and sampled (temperature 0.7, top-p 0.9, 1 seed), of at most 40 tokens: "
    )
    assert said["Texts"].endswith("; and 2 mixes.") and said["Judge"].startswith("The classifier seasons-text-labels")
    bare = what_was_done(pairs, prompts, content.statistics, nothing("sweep"), nothing("mixes"), {}, judge)
    assert set(bare) == {"Concepts", "Vectors", "Texts", "Judge"} and bare["Texts"].startswith(
        "Answers to 1 test prompt:"
    )
