import pytest

from steerwright.errors import UserError
from steerwright.experiments.dose import Keywords, resistance_groups
from steerwright.experiments.projection import Projection
from steerwright.experiments.strategy import strategy_with_words

WORDS = {"high": ["summer"], "medium": ["lake"], "low": ["room"], "default": "low"}
MULTIPLIERS = {"high": 1.5, "medium": 1.0, "low": 0.9}


def test_prompts_are_grouped_by_the_same_words_whatever_the_strategy() -> None:
    assert resistance_groups(WORDS, ["a lake in summer", "a lake", "a tent"]) == ["high", "medium", "low"]


def test_the_keyword_strategy_takes_its_lists_from_the_groups_and_others_do_not() -> None:
    keywords = strategy_with_words({"kind": "keywords", "multipliers": MULTIPLIERS}, WORDS)
    assert isinstance(keywords, Keywords)
    assert keywords.high == ("summer",)
    bounds = {"kind": "projection", "gain": 1.0, "minimum": 0.5, "maximum": 2.0}
    assert isinstance(strategy_with_words(bounds, WORDS), Projection)


def test_a_group_without_its_list_is_named() -> None:
    with pytest.raises(UserError, match=r"resistance\.low: Field required"):
        resistance_groups({key: WORDS[key] for key in ("high", "medium", "default")}, ["a"])
