"""The residual stream of texts: held against transformers' hidden states, by both engines, under both paddings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steerwright.activations.residuals import policy_mask, pooled_residuals, residuals
from steerwright.errors import UserError
from steerwright.models.language.encode import encode_texts, last_tokens
from steerwright.steering.algebra import Edit
from steerwright.steering.language.apply import steer_text
from steerwright.steering.operators import Add
from steerwright.vectors.direction import normalised

TEXTS = ["The lake is old.", "A boat lies in the garden by the stone house.", "Hm."]


def by_hand(model: Any, text: str) -> torch.Tensor:
    """[layers, tokens, d] of one text without padding, from hidden states; the last is before the final norm."""
    ids = encode_texts(model, [text]).ids
    last: list[torch.Tensor] = []
    block = model.model.get_submodule(model.hookpoints[-1].path)
    handle = block.register_forward_hook(lambda _, __, out: last.append(out[0] if isinstance(out, tuple) else out))
    states = model.model(input_ids=ids, output_hidden_states=True).hidden_states
    handle.remove()
    return torch.cat([*states[1:-1], last[0]])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_every_layer_is_what_transformers_says_of_each_text_alone(
    language: Callable[[str], Any], language_shape: str, padding: Any
) -> None:
    model = language(language_shape)
    encoded = encode_texts(model, TEXTS, padding=padding)
    found = residuals(model, encoded)
    assert found.shape == (4, 3, encoded.ids.shape[1], 32)
    for row, text in enumerate(TEXTS):
        assert torch.allclose(found[:, row][:, encoded.mask[row]], by_hand(model, text), atol=1e-4)


def instruments(model: Any) -> list[Any]:
    """What is installed on the modules (transformers leaves hooks of its own when it gives hidden states)."""
    return [
        (
            list(module._forward_hooks),
            list(module._forward_pre_hooks),
            vars(module).get("forward"),
            "__nnsight__" in vars(module),
        )
        for module in model.model.modules()
    ]


@pytest.mark.parametrize("padding", ["left", "right"])
def test_both_engines_give_the_same_bits_and_leave_nothing_behind(
    language: Callable[[str], Any], language_shape: str, padding: Any
) -> None:
    model = language(language_shape)
    encoded = encode_texts(model, TEXTS, padding=padding)
    before = instruments(model)
    assert torch.equal(residuals(model, encoded, "hooks"), residuals(model, encoded, "nnsight"))
    assert instruments(model) == before


@pytest.mark.parametrize("engine", ["hooks", "nnsight"])
def test_one_forward_gives_all_layers(language: Callable[[str], Any], engine: Any) -> None:
    model = language("mistral")
    ran: list[int] = []
    handle = model.model.model.layers[0].mlp.register_forward_hook(lambda *_: ran.append(1))
    residuals(model, encode_texts(model, TEXTS), engine)
    handle.remove()
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("last", slice(-1, None)),
        ("content", slice(None)),
        ("span:0:1", slice(0, 1)),
        ("span:1:", slice(1, None)),
        ("span:-2:", slice(-2, None)),
        ("span::2", slice(None, 2)),
    ],
)
def test_a_text_is_the_mean_over_the_tokens_that_the_policy_means(
    language: Callable[[str], Any], policy: str, chosen: slice
) -> None:
    model = language("mistral")
    texts = TEXTS[:2]
    found = pooled_residuals(model, texts, ["Tell me.", "Tell me about the lake."], policy=policy, batch_size=1)
    together = pooled_residuals(model, texts, ["Tell me.", "Tell me about the lake."], policy=policy)
    assert torch.allclose(found, together, atol=1e-5)
    assert found.dtype == torch.float32
    for row, (text, prompt) in enumerate(zip(texts, ["Tell me.", "Tell me about the lake."], strict=True)):
        document = f"<s>[INST] {prompt} [/INST] {text}"
        ids = model.tokenizer(document, add_special_tokens=False, return_tensors="pt").input_ids
        # The answer's own tokens are those after the one that closes the request.
        closing = ids[0].tolist().index(model.tokenizer.convert_tokens_to_ids("[/INST]"))
        states = torch.cat(model.model(input_ids=ids, output_hidden_states=True).hidden_states[1:-1])
        own = states[:, closing + 1 :]
        if model.tokenizer.decode(ids[0, closing + 1]) == " ":
            own = own[:, 1:]  # the template's, when it is a token by itself
        assert torch.allclose(found[:-1, row], own[:, chosen].mean(1), atol=1e-5)


def test_the_last_token_of_a_request_is_where_the_answer_begins(language: Callable[[str], Any]) -> None:
    model = language("phi3")
    encoded = encode_texts(model, TEXTS, role="user", padding="left")
    rows = torch.arange(3)
    expected = residuals(model, encoded)[:, rows, last_tokens(encoded)]
    assert torch.allclose(pooled_residuals(model, TEXTS, role="user", policy="last"), expected, atol=1e-5)
    assert policy_mask(encoded, "last").sum(1).tolist() == [1, 1, 1]
    assert not (policy_mask(encoded, "last") & encoded.content).any()


def test_hooks_see_what_an_edit_makes(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    encoded = encode_texts(model, TEXTS)
    direction = normalised(torch.ones(32))
    edit = Edit(model.hookpoints[1], Add(direction, "unit"), 3.0, tokens="last")
    plain = residuals(model, encoded)
    with steer_text(model, [edit]):
        steered = residuals(model, encoded)
    change = steered - plain
    expected = torch.zeros_like(change[1])
    expected[torch.arange(3), last_tokens(encoded)] = 3.0 * direction.unit
    assert torch.equal(change[0], torch.zeros_like(change[0]))
    assert torch.allclose(change[1][encoded.mask], expected[encoded.mask], atol=1e-5)


def test_no_texts_have_no_rows(language: Callable[[str], Any]) -> None:
    assert pooled_residuals(language("gpt2"), []).shape == (4, 0, 32)


def test_what_cannot_be_pooled_is_named(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    with pytest.raises(UserError, match="Token policy 'eos' does not exist; choose last, content, or span"):
        pooled_residuals(model, TEXTS, policy="eos")
    with pytest.raises(UserError, match=r"span:90: holds no token of the text 'The lake is old\.'"):
        pooled_residuals(model, TEXTS, policy="span:90:")
