"""The language world's grammar: agreement, lengths, shares, and texts that are whole sentences."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from seasons.language.grammar import (
    INSTRUCTIONS,
    MANNERS,
    NOUNS,
    TOPICS,
    Slots,
    answer,
    before_noun,
    document,
    fill,
    request,
    two_values,
)
from seasons.language.sentences import COLOURS, PLAIN, TEMPLATES
from seasons.language.topic import FACTOR_OF, VALUES, topic

MILL = topic("the mill", "at the mill", "the miller", "the wheel", "grinds corn", "stopped the wheel")
GEESE = topic("geese", "by the pond", "a girl", "the nest", "eat grass", "fed the geese", plural=True)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("about", "template", "expected"),
    [
        (MILL, "{topic} {is} old and {has} {detail}; {it} turn{s}, see {it2}.", "The mill is old and has the wheel; "
         "it turns, see it."),
        (GEESE, "{topic} {is} old and {has} {detail}; {it} turn{s}, see {it2}.", "Geese are old and have the nest; "
         "they turn, see them."),
        (MILL, "{person} {action} {at}: O {bare}, {it} {fact}!", "The miller stopped the wheel at the mill: O mill, "
         "it grinds corn!"),
        (MILL, "'tis {topic}.", "'Tis the mill."),
    ],
)  # fmt: skip
def test_slots_agree_with_the_topic(about: object, template: str, expected: str) -> None:
    assert fill(template, Slots(about, _rng())) == expected  # type: ignore[arg-type]


def test_an_adjective_goes_behind_the_article() -> None:
    assert before_noun("old", "the mill") == "the old mill"
    assert before_noun("old", "bread") == "old bread"
    assert before_noun("", "the mill") == "the mill"


def test_phrases_of_a_topic_are_said_once_before_any_is_said_again() -> None:
    about = topic("the mill", "", "a; b", "c", "1; 2; 3", "d")
    for seed in range(20):
        slots = Slots(about, _rng(seed))
        assert {slots["fact"] for _ in range(3)} == {"1", "2", "3"}
        people = [slots["person"] for _ in range(6)]
        assert all(first != second for first, second in pairwise(people))


def test_what_is_listed_first_is_said_first_most_often() -> None:
    # With fading 0.6 and three phrases the first leads with probability 1 / (1 + 0.6 + 0.36) = 0.510.
    about = topic("the mill", "", "a", "c", "1; 2; 3", "d")
    rng = _rng()
    first = Counter(Slots(about, rng)["fact"] for _ in range(4000))
    assert first["1"] / 4000 == pytest.approx(0.510, abs=0.025)
    assert first["1"] > first["2"] > first["3"] > 0


@pytest.mark.parametrize("about", [MILL, GEESE], ids=["singular", "plural"])
def test_every_template_becomes_a_whole_sentence(about: object) -> None:
    for templates in (PLAIN, *TEMPLATES.values()):
        for template in (*templates.openings, *templates.further, *templates.short):
            sentence = fill(template, Slots(about, _rng()))  # type: ignore[arg-type]
            assert re.fullmatch(r"'?[A-Z0-9].*[.!?]", sentence), sentence
            assert "{" not in sentence
            assert "  " not in sentence


def test_there_is_enough_to_say() -> None:
    assert len({about.name for about in TOPICS}) == len(TOPICS) >= 40
    assert len({about.name for about in NOUNS}) == len(NOUNS) >= 100
    assert tuple(TEMPLATES) == VALUES
    for value, templates in TEMPLATES.items():
        assert len({*templates.openings, *templates.further, *templates.short}) >= 20, value
        if FACTOR_OF[value] != "length":
            assert all("{topic}" in one or "{bare}" in one for one in templates.openings)
    assert set(COLOURS) == set(VALUES) - {"brief"}


def test_a_brief_answer_is_one_short_sentence_and_a_verbose_one_has_long_ones() -> None:
    rng = _rng()
    for values in (("brief",), ("brief", "sad"), ("pirate", "brief")):
        for _ in range(50):
            sentences = answer(TOPICS[int(rng.integers(len(TOPICS)))], values, rng)
            assert len(sentences) == 1
            assert len(sentences[0].text.split()) <= 10
    long, medium = (
        np.mean([len(s.text.split()) for _ in range(300) for s in answer(TOPICS[0], values, rng)])
        for values in (("verbose",), ())
    )
    assert long > 2 * medium


def test_every_value_of_a_text_has_a_sentence() -> None:
    rng = _rng()
    for _ in range(300):
        values = two_values(rng)
        said = {sentence.value for sentence in answer(TOPICS[0], values, rng)}
        if "brief" in values:  # one sentence, which is the other value's
            assert said == set(values) - {"brief"}
        else:
            assert set(values) <= said


def test_no_template_is_used_twice_in_a_text() -> None:
    rng = _rng()
    for _ in range(300):
        used = [sentence.template for sentence in answer(MILL, ("happy",), rng)]
        assert len(set(used)) == len(used)


def test_a_request_names_its_values_and_no_other() -> None:
    rng = _rng()
    wordings = {value: (*INSTRUCTIONS[value], *MANNERS[value]) for value in VALUES}
    for _ in range(500):
        values = two_values(rng)
        asked = request(MILL, values, rng)
        assert "the mill" in asked
        for value in values:
            assert any(wording in asked for wording in wordings[value]), (asked, value)
    assert all("mill" in request(MILL, (), rng) for _ in range(20))


def test_a_request_without_a_value_is_mostly_answered_plainly() -> None:
    rng = _rng()
    drawn = [document(rng) for _ in range(4000)]
    bare = [one for one in drawn if one.prompt and not any(
        wording in one.prompt for value in VALUES for wording in (*INSTRUCTIONS[value], *MANNERS[value]))]  # fmt: skip
    plain = np.mean([not one.values for one in bare])
    assert 0.5 < plain < 0.75
    for value in VALUES:
        assert 0.003 < np.mean([value in one.values for one in bare]) < 0.1


def test_texts_are_varied_and_depend_on_the_seed_alone() -> None:
    first, second = ([document(_rng(seed)) for seed in range(500)] for _ in range(2))
    assert first == second
    assert len({one.text for one in first}) >= 490
