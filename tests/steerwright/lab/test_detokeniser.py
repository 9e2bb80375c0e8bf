import pytest

from steerwright.lab.detokeniser import token_texts


@pytest.mark.parametrize("text", ["the old boat, by the house.", "größer → 🚢 ships", "two  blanks\nand a line"])
def test_the_pieces_joined_are_the_text(language, language_shape: str, text: str) -> None:
    model = language(language_shape)
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = token_texts(model, tokens)
    assert len(pieces) == len(tokens)
    assert "".join(pieces) == text


def test_a_character_of_several_tokens_comes_with_its_last(language) -> None:
    model = language("mistral")
    tokens = model.tokenizer("🚢", add_special_tokens=False)["input_ids"]
    assert len(tokens) > 1
    assert token_texts(model, tokens) == [""] * (len(tokens) - 1) + ["🚢"]


def test_what_comes_before_is_not_said_again(language) -> None:
    model = language("mistral")
    before = model.tokenizer("the old", add_special_tokens=False)["input_ids"]
    after = model.tokenizer(" boat", add_special_tokens=False)["input_ids"]
    assert "".join(token_texts(model, after, before)) == " boat"
