"""A word's tokens are those that the text encoder gets for it."""

from typing import Any

from steerwright.lab.pictures.edits import prompt_words


def test_tokens_at_the_places_of_a_word_spell_it(sd: Any) -> None:
    tokenizer = sd.pipeline.tokenizer
    prompt = "a red house, beside THE unfathomable lake in winter"
    ids = tokenizer(prompt).input_ids
    found = prompt_words(tokenizer, prompt)
    assert [one.word for one in found] == prompt.split()
    for one in found:
        spelt = tokenizer.decode([ids[place] for place in one.tokens]).replace(" ", "")
        assert spelt == one.word.lower()


def test_words_beyond_the_text_encoders_length_are_left_out(sd: Any) -> None:
    tokenizer = sd.pipeline.tokenizer
    found = prompt_words(tokenizer, "lake " * 500)
    assert len(found) == tokenizer.model_max_length - 2
    assert found[-1].tokens == (tokenizer.model_max_length - 2,)
    assert prompt_words(tokenizer, "x" * 900) == []
