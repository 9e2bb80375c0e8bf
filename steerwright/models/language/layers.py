"""Where a language model's blocks are, whatever its architecture calls them."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint


def blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Path and list of the blocks of `model`, a causal language model of transformers, in the order in which they run.

    They are the outermost ModuleList that has as many modules as the model's config says it has layers
    (`model.layers` of Mistral, Llama, Phi-3 and Qwen, `transformer.h` of GPT-2), of a model that sees or hears as well
    the one inside of its text model. UserError where there is none or more than one.
    """
    count = layer_count(model)
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    if isinstance(decoder, nn.Module):
        inside = set(decoder.modules())
        found = [(path, module) for path, module in found if module in inside] or found
    # A mixture's experts are lists too, inside of the blocks.
    shallowest = min((path.count(".") for path, _ in found), default=0)
    outermost = [(path, module) for path, module in found if path.count(".") == shallowest]
    if len(outermost) != 1:
        several = f"{' and '.join(path for path, _ in outermost)} could be them" if outermost else "no list is so long"
        raise UserError(
            f"The layers of this {type(model).__name__} cannot be found: its config says {count}, and {several}. "
            "Its activations cannot be read or steered."
        )
    return outermost[0]


def layer_count(model: nn.Module) -> int:
    """How many layers the model's config says it has; UserError where it does not say."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    count = getattr(text, "num_hidden_layers", None)
    if not isinstance(count, int) or count < 1:
        raise UserError(f"The config of this {type(model).__name__} does not say how many layers it has.")
    return count


def block_hookpoints(model: nn.Module) -> tuple[Hookpoint, ...]:
    """The residual stream after each block, first block first."""
    path, modules = blocks(model)
    return tuple(Hookpoint(f"{path}.{index}") for index in range(len(modules)))


def module_at(model: nn.Module, hookpoint: Hookpoint) -> nn.Module:
    """The module of `model` that `hookpoint` names; UserError with the nearest paths where there is none."""
    try:
        return model.get_submodule(hookpoint.path)
    except AttributeError:
        known = [path for path, _ in model.named_modules() if path]
    near = difflib.get_close_matches(hookpoint.path, known, n=3, cutoff=0.6)
    path, modules = blocks(model)
    instead = f"did you mean {' or '.join(near)}?" if near else f"its layers are {path}.0 to {path}.{len(modules) - 1}."
    raise UserError(f"There is no module {hookpoint.path!r} in {type(model).__name__}; {instead}")
