"""Texts as ids: held against the tokenizer's own template, and read back."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.language.encode import Encoded, encode, encode_texts, last_tokens

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
        assert rendered.startswith(whole[0]), "what the template puts after the answer is left out"


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


# EOS at the end, templates that raise, and what a spec says to its template.


@pytest.mark.parametrize("shape", ["mistral", "gpt2"])
def test_no_eos_stands_at_the_end_of_what_is_continued_or_pooled(language: Callable[[str], Any], shape: str) -> None:
    """As tokenizers with add_eos_token would put it there."""
    from tokenizers import processors

    model = language(shape)
    tokenizer = copy.deepcopy(model.tokenizer)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "</s>")}
    begin = "<s> " if shape == "mistral" else ""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin}$A </s>", special_tokens=[(name, id_) for name, id_ in ids.items() if id_ is not None]
    )
    ending = replace(model, tokenizer=tokenizer)
    assert tokenizer("A boat.")["input_ids"][-1] == ids["</s>"]
    for encoding in (
        lambda one: encode(one, PROMPTS, chat=False),
        lambda one: encode_texts(one, PROMPTS, role="raw"),
        lambda one: encode_texts(one, ["The lake."], ["A boat."], "raw", "left"),
    ):
        found, expected = encoding(ending), encoding(model)
        assert torch.equal(found.ids, expected.ids)
        assert torch.equal(found.content, expected.content)
    # One that the text itself ends in is the text's.
    assert encode(ending, ["A boat.</s>"], chat=False).ids[0, -1] == ids["</s>"]


def templated(model: Any, text: str, **settings: Any) -> Any:
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = text
    return replace(model, tokenizer=tokenizer, spec=model.spec.model_copy(update=settings))


TURNS = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '<end>' }}{% endfor %}"
BEGIN = "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{% if not m['content'] %}{{ raise_exception('empty!') }}{% endif %}{% endfor %}",
         r"\(user, assistant\): empty!"),
        ("{% if messages[-1]['role'] == 'assistant' %}{{ raise_exception('ends in an answer') }}{% endif %}" + TURNS,
         r"\(user, assistant\): ends in an answer"),
        ("{{ messages[0]['parts'][0] }}" + TURNS, r"\(user, assistant\): .*parts"),
        ("{% for %}", "Expected an expression"),
    ],
)  # fmt: skip
def test_a_template_that_raises_is_one_message(language: Callable[[str], Any], template: str, words: str) -> None:
    model = templated(language("mistral"), template)
    with pytest.raises(UserError, match=rf"chat template of 'tiny-mistral' refuses .*{words}.*use chat: false"):
        encode_texts(model, ["A boat."], role="assistant")


THINKS = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' }}{% if m['role'] == 'assistant' and loop.last %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)


@pytest.mark.parametrize("settings", [{}, {"template": {"enable_thinking": False}}])
def test_an_answer_is_read_where_generation_begins(language: Callable[[str], Any], settings: dict[str, Any]) -> None:
    """Qwen 3 puts an empty block of thoughts before each answer that it is given, and generation begins before that."""
    model = templated(language("mistral"), THINKS, **settings)
    begins = model.tokenizer.decode(encode(model, ["A boat?"]).ids[0])
    read = encode_texts(model, ["The lake."], ["A boat?"])
    assert model.tokenizer.decode(read.ids[0]) == begins + "The lake."
    assert own_words(model, read) == ["The lake."]
    assert begins.endswith("</think>\n\n") == bool(settings)


def test_a_system_prompt_goes_before_every_request_and_answer(language: Callable[[str], Any]) -> None:
    model = templated(language("mistral"), TURNS + BEGIN, system="Speak of boats.")
    before = "<system>Speak of boats.<end><user>A boat?<end><assistant>"
    assert model.tokenizer.decode(encode(model, ["A boat?"]).ids[0]) == before
    assert model.tokenizer.decode(encode_texts(model, ["The lake."], ["A boat?"]).ids[0]) == before + "The lake."
    assert own_words(model, encode(model, ["A boat?"])) == ["A boat?"]


def test_a_system_prompt_that_the_template_has_no_place_for_is_refused(language: Callable[[str], Any]) -> None:
    users = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    with pytest.raises(UserError, match=r"has no place for a system prompt.*Leave it out, or use chat: false"):
        encode(templated(language("mistral"), users, system="Speak of boats."), ["A boat?"])
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('two roles') }}{% endif %}" + TURNS
    with pytest.raises(
        UserError, match=r"refuses these turns \(a system prompt, user\): two roles. Mend system in its entry"
    ):
        encode(templated(language("mistral"), refusing, system="Speak of boats."), ["A boat?"])
