"""Distinct n-grams and repetition, counted by hand."""

import math

import pytest

from steerwright.scoring.language.fluency import distinct, repeated, words


def test_words_have_no_case_and_no_punctuation_but_their_apostrophes() -> None:
    assert words("Arr, the Cap'n's here -- ye don\u2019t say!") == [
        "arr",
        "the",
        "cap'n's",
        "here",
        "ye",
        "don\u2019t",
        "say",
    ]
    assert words("  ... ") == []


def test_distinct_n_is_the_share_of_different_n_grams_of_all_texts() -> None:
    # a b a b: bigrams ab ba ab; b c: bc. Unigrams a b a b b c: 3 of 6; bigrams: 3 of 4.
    assert distinct(["a b a b", "b c"], 1) == pytest.approx(3 / 6)
    assert distinct(["a b a b", "b c"], 2) == pytest.approx(3 / 4)
    # Joined, the texts would have the bigram "b b" too.
    assert distinct(["a b", "b a"], 2) == 1.0
    assert math.isnan(distinct(["word", ""], 2))


def test_a_text_repeats_the_n_grams_that_stood_in_it_before() -> None:
    assert repeated("the cat sat on the mat") == 0.0
    # Trigrams of x y z x y z x: xyz yzx zxy xyz yzx, of which two stood before.
    assert repeated("x y z x y z x") == pytest.approx(2 / 5)
    assert repeated("no no") == 0.0
    assert repeated("no " * 12) == pytest.approx(9 / 10)
