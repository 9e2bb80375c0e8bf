"""Texts as ids: held against the tokenizer's own template, and read back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from steerkit.errors import UserError
from steerkit.models.language.encode import Encoded, encode, encode_texts, last_tokens

PROMPTS = ["Tell me about the lake.", "The old house?", "Tell me about the market by the lake, and the boat."]


def own_words(model: Any, encoded: Encoded) -> list[str]:
    return [model.tokenizer.decode(ids[own]) for ids, own in zip(encoded.ids, encoded.content, strict=True)]


@pytest.mark.parametrize("padding", ["left", "right"])
def test_a_prompt_is_a_request_in_the_models_own_template(
    language: Callable[[str], Any], language_shape: str, padding: Any
) -> None:
    model = language(language_shape)
    encoded = encode(model, PROMPTS, padding=padding)
    for row, prompt in enumerate(PROMPTS):
        turns = [{"role": "user", "content": prompt}]
        expected = (
            model.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
            if model.has_chat
            else model.tokenizer(prompt)["input_ids"]
        )
        assert encoded.ids[row][encoded.mask[row]].tolist() == expected
        empty = encoded.mask.shape[1] - len(expected)
        padded = encoded.mask[row, :empty] if padding == "left" else encoded.mask[row, len(expected) :]
        assert not padded.any()
    assert own_words(model, encoded) == PROMPTS


def test_an_answer_ends_with_its_last_word_and_only_it_is_content(
    language: Callable[[str], Any], language_shape: str
) -> None:
    model = language(language_shape)
    answers = ["The lake is old.", "A boat lies in the garden by the house."]
    encoded = encode_texts(model, answers, ["Tell me about the lake.", None], "assistant")
    assert [words.strip() for words in own_words(model, encoded)] == answers
    whole = [model.tokenizer.decode(ids[mask]) for ids, mask in zip(encoded.ids, encoded.mask, strict=True)]
    assert "Tell me about the lake." in whole[0]
    assert all(document.endswith(answer) for document, answer in zip(whole, answers, strict=True))
    if model.has_chat:
        turns = [{"role": "user", "content": "Tell me about the lake."}, {"role": "assistant", "content": answers[0]}]
        rendered = model.tokenizer.apply_chat_template(turns, tokenize=False)
        assert rendered.startswith(whole[0]), "what the template puts after the answer is left away"


def test_a_text_as_a_request_is_what_generation_reads(language: Callable[[str], Any], language_shape: str) -> None:
    model = language(language_shape)
    asked, generated = encode_texts(model, PROMPTS, role="user", padding="left"), encode(model, PROMPTS)
    assert torch.equal(asked.ids, generated.ids)
    assert torch.equal(asked.content, generated.content)


def test_raw_texts_have_no_template(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode_texts(model, ["The lake."], ["A boat."], "raw")
    assert model.tokenizer.decode(encoded.ids[0]) == "<s>A boat. The lake."
    assert own_words(model, encoded) == ["The lake."] or own_words(model, encoded) == [" The lake."]
    assert model.tokenizer.decode(encode(model, ["A boat."], chat=False).ids[0]) == "<s>A boat."


def test_a_spec_without_chat_reads_prompts_as_they_are(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    plain = replace(model, spec=model.spec.model_copy(update={"chat": False}))
    assert torch.equal(encode(plain, ["A boat."]).ids, encode(model, ["A boat."], chat=False).ids)
    assert torch.equal(encode_texts(plain, ["A boat."]).ids, encode_texts(model, ["A boat."], role="raw").ids)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_the_last_token_is_the_true_last_one_under_either_padding(language: Callable[[str], Any], padding: Any) -> None:
    model = language("mistral")
    encoded = encode_texts(model, PROMPTS, role="user", padding=padding)
    lengths = [len(model.tokenizer(f"[INST] {prompt} [/INST]")["input_ids"]) for prompt in PROMPTS]
    longest = max(lengths)
    expected = [longest - 1] * 3 if padding == "left" else [length - 1 for length in lengths]
    assert last_tokens(encoded).tolist() == expected
    closing = model.tokenizer.convert_tokens_to_ids("[/INST]")
    assert encoded.ids[torch.arange(3), last_tokens(encoded)].tolist() == [closing] * 3


def test_what_cannot_be_encoded_is_named(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    with pytest.raises(UserError, match="prompt number 2 is empty"):
        encode(model, ["a", " \n"])
    with pytest.raises(UserError, match="text number 1 is empty"):
        encode_texts(model, [""])
    with pytest.raises(UserError, match=r"The text 'lake lake .*\.\.\.' takes \d+ tokens, but .* reads 128"):
        encode_texts(model, ["A boat.", "lake " * 200])
    with pytest.raises(UserError, match="2 texts but 1 prompts"):
        encode_texts(model, ["a", "b"], ["c"])
    with pytest.raises(UserError, match="has no chat template"):
        encode(language("gpt2"), ["a"], chat=True)


def test_a_template_that_changes_messages_is_refused(language: Callable[[str], Any]) -> None:
    import copy

    model = language("mistral")
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    with pytest.raises(UserError, match="does not keep a message as it is"):
        encode(replace(model, tokenizer=tokenizer), ["A boat."])


@pytest.mark.parametrize("shape", ["mistral", "llama"])
def test_spaces_around_a_prompt_are_the_templates_matter(language: Callable[[str], Any], shape: str) -> None:
    model = language(shape)  # Llama's template takes them off, Mistral's does not
    turns = [{"role": "user", "content": "  A boat. "}]
    expected = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    encoded = encode(model, ["  A boat. "])
    assert encoded.ids[0].tolist() == expected
    assert own_words(model, encoded)[0].strip() == "A boat."


def test_words_of_the_template_inside_a_prompt_do_not_confuse_its_content(language: Callable[[str], Any]) -> None:
    model = language("qwen2")  # whose template begins with a system's "Be brief."
    assert own_words(model, encode(model, ["Be brief."])) == ["Be brief."]
