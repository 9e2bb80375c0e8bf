"""The sides of contrast pairs, on a planted concept."""

from typing import Any

import pytest
import torch

from steerwright.activations.residuals import AnsweredText
from steerwright.errors import UserError
from steerwright.vectors.language import contrast_texts, described_policy, pair_sides, role_of, unread

CONCEPTS = {
    "sad": {
        "instruction": "Be sad.",
        "pairs": [
            {"id": "sad-0", "prompt": "The lake?", "positive": "alas, a lake", "negative": "a lake"},
            {"id": "sad-1", "prompt": "The boat?", "positive": "alas, a boat", "negative": "a boat"},
        ],
    }
}


def test_an_instructed_answer_is_the_same_on_both_sides_and_the_request_is_not() -> None:
    assert contrast_texts(CONCEPTS, "instructed") == {
        "sad-0:positive": AnsweredText("a lake", "The lake? Be sad."),
        "sad-0:negative": AnsweredText("a lake", "The lake?"),
        "sad-1:positive": AnsweredText("a boat", "The boat? Be sad."),
        "sad-1:negative": AnsweredText("a boat", "The boat?"),
    }
    assert (role_of("instructed"), role_of("requests")) == ("assistant", "user")


BARE: dict[str, Any] = {
    "happy": {
        "instruction": "Be happy.",
        "pairs": [{"id": "happy-0", "prompt": None, "positive": "I feel joyful", "negative": "I feel neutral"}],
    }
}


def test_two_texts_by_themselves_are_read_raw_and_without_a_request() -> None:
    assert contrast_texts(BARE, "texts") == {
        "happy-0:positive": AnsweredText("I feel joyful"),
        "happy-0:negative": AnsweredText("I feel neutral"),
    }
    assert contrast_texts(CONCEPTS, "texts")["sad-1:positive"] == AnsweredText("alas, a boat")
    assert (role_of("texts"), described_policy("texts", "last")) == ("raw", "text last")


def test_a_pair_without_a_request_is_refused_where_one_is_read() -> None:
    for contrast in ("requests", "answers"):
        with pytest.raises(UserError, match=rf"pair happy-0 of happy has no prompt.*contrast: {contrast} reads.*texts"):
            contrast_texts(BARE, contrast)  # type: ignore[arg-type]
    # A plain answer to nothing, after the words that ask and after none.
    assert contrast_texts(BARE, "instructed")["happy-0:positive"] == AnsweredText("I feel neutral", "Be happy.")


def test_what_a_contrast_leaves_out_of_the_pairs_is_said() -> None:
    said = unread(CONCEPTS, "requests")
    assert said is not None and said.startswith("contrast: requests does not read the pairs' positive and negative")
    assert "language.activations.contrast: answers, or texts" in said
    assert "the pairs' positive, so" in str(unread(CONCEPTS, "instructed"))
    assert "the pairs' prompt, so" in str(unread(CONCEPTS, "texts"))
    assert unread(CONCEPTS, "answers") is None
    assert unread(BARE, "texts") is None


def test_contrasts_say_apart_what_their_vectors_were_taken_from() -> None:
    assert described_policy("instructed", "content") == "instructed content"
    assert described_policy("requests", "last") == "request last"
    assert described_policy("answers", "content") == "content"


def test_sides_are_found_by_id_whatever_the_order_of_the_rows() -> None:
    ids = ["sad-1:negative", "sad-0:positive", "sad-1:positive", "sad-0:negative"]
    rows = torch.arange(8.0).reshape(2, 4, 1)
    above, below = pair_sides(rows, ids, CONCEPTS)["sad"]
    assert above[0].flatten().tolist() == [1, 2] and below[0].flatten().tolist() == [3, 0]
    assert above[1].flatten().tolist() == [5, 6] and below[1].flatten().tolist() == [7, 4]
