"""Where the blocks are, for architectures that name them differently."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import nn

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.language.layers import block_hookpoints, blocks, module_at
from steerwright.vectors.steering_vectors import layer_number

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 16,
}  # fmt: skip


def made(kind: str, head: str = "ForCausalLM", **more: int) -> nn.Module:
    """A model of `kind` that holds shapes and no values."""
    with torch.device("meta"):
        return getattr(transformers, kind + head)(getattr(transformers, f"{kind}Config")(**SIZES, **more))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Mistral", "model.layers"),
        ("Phi3", "model.layers"),
        ("Llama", "model.layers"),
        ("Qwen2", "model.layers"),
        ("Qwen3", "model.layers"),
        ("Gemma2", "model.layers"),
        ("GPTNeoX", "gpt_neox.layers"),
        ("OPT", "model.decoder.layers"),
    ],
)
def test_the_blocks_are_found_whatever_the_architecture_calls_them(kind: str, path: str) -> None:
    more = {"pad_token_id": 0} if kind == "Phi3" else {"ffn_dim": 16} if kind == "OPT" else {}
    hookpoints = block_hookpoints(made(kind, **more))
    assert hookpoints == tuple(Hookpoint(f"{path}.{index}") for index in range(3))
    assert [layer_number(hookpoint) for hookpoint in hookpoints] == [0, 1, 2]


def test_the_blocks_of_gpt2_are_numbered_too() -> None:
    hookpoints = block_hookpoints(made("GPT2", "LMHeadModel"))
    assert [str(hookpoint) for hookpoint in hookpoints] == [f"transformer.h.{index}:out" for index in range(3)]
    assert [layer_number(hookpoint) for hookpoint in hookpoints] == [0, 1, 2]


def test_as_many_experts_as_layers_are_not_taken_for_them() -> None:
    model = made("Mixtral", num_local_experts=3)
    expert_lists = [path for path, module in model.named_modules() if "experts" in path]
    assert expert_lists, "a mixture has experts"
    path, modules = blocks(model)
    assert (path, len(modules)) == ("model.layers", 3)


class Stacks(nn.Module):
    """What is no language model: lists of modules, and a config that says how many there should be."""

    def __init__(self, *lengths: int, layers: int | None = 3) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=layers)
        for index, length in enumerate(lengths):
            self.add_module(f"stack{index}", nn.ModuleList(nn.Linear(1, 1) for _ in range(length)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Stacks(2, 5), "its config says 3, and no list is so long"),
        (Stacks(3, 3), "stack0 and stack1 could be them"),
        (Stacks(3, layers=None), "does not say how many layers"),
    ],
)
def test_where_they_cannot_be_told_is_said(model: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        blocks(model)


def test_a_module_that_is_not_there_is_answered_with_the_nearest_ones() -> None:
    model = made("Mistral")
    assert module_at(model, Hookpoint("model.layers.1.mlp")) is model.get_submodule("model.layers.1.mlp")
    with pytest.raises(UserError, match=r"no module 'model.layers.11' in MistralForCausalLM; did you mean .*layers\.1"):
        module_at(model, Hookpoint("model.layers.11"))
    with pytest.raises(UserError, match=r"its layers are model.layers.0 to model.layers.2"):
        module_at(model, Hookpoint("unet"))
