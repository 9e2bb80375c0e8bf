"""Removal vectors against a loop over the pairs by transformers' own hidden states, without batches or padding."""

from collections.abc import Callable
from typing import Any

import torch

from steerwright.vectors.language import removal_vectors

PAIRS = [
    ("Tell me about the lake.", "the lake is by the house"),
    ("Tell me about the boat.", "the boat lies by the market"),
    ("Tell me about the stone.", "the stone is in the garden"),
]
CONCEPTS = {
    "sad": {
        "instruction": "Answer in a sad tone.",
        "pairs": [
            {"id": f"sad-{number}", "prompt": prompt, "positive": "I weep", "negative": plain}
            for number, (prompt, plain) in enumerate(PAIRS)
        ],
    }
}


def _answer_states(model: Any, request: str, answer: str) -> torch.Tensor:
    """The residual stream after each block at the answer's own tokens, float64 [layers, tokens, d]."""
    chat = [{"role": "user", "content": request}]
    asked = model.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    # The template of this model sets a space between them, which is part of the first token.
    ids = model.tokenizer(f"{asked} {answer}", add_special_tokens=False, return_offsets_mapping=True)
    own = [begin >= len(asked) for begin, _ in ids["offset_mapping"]]
    seen: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple) else out))
        for block in model.model.model.layers
    ]
    with torch.no_grad():
        model.model(torch.tensor([ids["input_ids"]]))
    for handle in handles:
        handle.remove()
    return torch.stack([states.reshape(-1, states.shape[-1])[torch.tensor(own)] for states in seen]).double()


def test_a_vector_is_what_asking_changes_in_the_tokens_of_plain_answers(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    found = removal_vectors(model, CONCEPTS)["sad"]
    asked, plain = (
        torch.stack([_answer_states(model, prompt + words, answer).mean(1) for prompt, answer in PAIRS]).mean(0)
        for words in (" Answer in a sad tone.", "")
    )
    assert found.token_policy == "instructed content"
    for layer, hookpoint in enumerate(found.hookpoints):
        (direction,) = found.at_layers([layer]).directions.values()
        assert hookpoint == model.hookpoints[layer]
        assert torch.allclose(direction.unit.double() * direction.norm, asked[layer] - plain[layer], atol=1e-5)
        # Where the tokens of plain answers lie along it.
        assert torch.allclose(direction.origin.double(), plain[layer] @ direction.unit.double(), atol=1e-4)
