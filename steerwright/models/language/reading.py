"""Whether a language model writes as it reads: measured on a few tokens, since no name of a class says so.

Steering and scoring rest on three things: that no token sees what comes after it, that a token which is written one by
one after what the model remembers is computed as in a whole text, and that padding counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.building import building
from steerwright.models.custom_code import NO_CODE, code_refused, wants_code
from steerwright.models.hookpoints import Hookpoint, tensor_out
from steerwright.models.identify import config_folder
from steerwright.models.language.layers import block_hookpoints, module_at
from steerwright.models.language.spec import LanguageSpec

_SHORT, _MORE, _NEW = 4, 3, 4
_WINDOW = 64  # of a window of attention up to so many tokens, what is beyond it is looked at too


def check_reading(model: Any, last: Hookpoint, device: torch.device, name: str) -> bool:
    """Whether `model`, a causal language model of transformers, reads a text the same with padding before it.

    `last` is its last block. Five forwards of a few tokens. UserError, which begins with the model's `name`, for a
    model that computes tokens otherwise while it writes than in a whole text, or whose blocks do not give one row for
    each token: what is steered in it could not be known.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    length = window + 1 if isinstance(window, int) and _SHORT <= window <= _WINDOW else _SHORT
    text, beside = _ids(config.vocab_size, length, device), _ids(config.vocab_size, length + _MORE, device).flip(0)
    pair = torch.stack([torch.cat([text.new_full((_MORE,), int(text[0])), text]), beside])
    mask = torch.ones_like(pair)
    mask[0, :_MORE] = 0
    kind = type(model).__name__
    try:
        together = _written(model, last, pair, mask, _MORE)
        if together.good:
            return True
        alone = _written(model, last, text[None], torch.ones_like(text)[None], 0)
    except _OtherShapeError as error:
        raise UserError(
            f"Model {name!r}: the blocks of {kind} give {error} for a text, not one row for each of its tokens, so it "
            "cannot be known what is steered; it is not supported."
        ) from None
    if not alone.good:
        raise UserError(
            f"Model {name!r}: {kind} computes tokens otherwise while it writes than in a whole text (the last block's "
            f"values differ by {alone.apart:.0%}), so what is steered and measured would not agree; it is not a causal "
            "language model, or not supported."
        )
    return False


class _OtherShapeError(Exception):
    pass


class _Compared:
    """What the last block gave while tokens were written, held against the whole text read at once."""

    def __init__(self, written: Tensor, read: Tensor, prompt: int, dtype: torch.dtype) -> None:
        distance = (written - read).norm(dim=-1) / read.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        # The median: in half precision rounding may send a token to other experts of a mixture, but not most of them.
        self.apart = max(float(distance[:prompt].median()), float(distance[prompt:].median()))
        # A model that gives no numbers says so when it is asked for a text.
        self.good = self.apart <= (0.01 if dtype == torch.float32 else 0.1) or not bool(read.isfinite().all())


def _written(model: Any, last: Hookpoint, ids: Tensor, mask: Tensor, padding: int) -> _Compared:
    """Continue the rows by generation, and read the first of them alone and whole."""
    from transformers import GenerationConfig

    settings = GenerationConfig(
        max_new_tokens=_NEW, min_new_tokens=_NEW, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True
    )
    gave: list[Tensor] = []
    handle = module_at(model, last).register_forward_hook(lambda _, __, output: gave.append(tensor_out(output)))
    try:
        with torch.inference_mode():
            found = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
            steps, gave[:] = list(gave), []
            model(input_ids=found[:1, padding:-1], use_cache=False)
    finally:
        handle.remove()
    if len(gave) != 1 or not steps:
        raise _OtherShapeError("nothing")
    (whole,) = gave
    if [whole.ndim, *whole.shape[:2]] != [3, 1, found.shape[1] - padding - 1]:
        raise _OtherShapeError(f"{list(whole.shape)}")
    if [steps[0].ndim, *steps[0].shape[:2]] != [3, *ids.shape]:
        raise _OtherShapeError(f"{list(steps[0].shape)}")
    written = torch.cat([steps[0][0, padding:], *(step[0, -1:] for step in steps[1:])])
    return _Compared(written.float(), whole[0].float(), ids.shape[1] - padding, whole.dtype)


def _ids(vocabulary: int, count: int, device: torch.device) -> Tensor:
    """Different ids from all over the vocabulary."""
    return torch.linspace(vocabulary // 7, vocabulary - 1 - vocabulary // 11, count, device=device).long()


# What a language model's config alone says of it: its layers, its width and its kind, without reading weights.


@dataclass(frozen=True, slots=True)
class LanguageArchitecture:
    """`kind` is the config's model_type (mistral, phi3, gpt2); `hookpoints` the residual stream after each block."""

    kind: str
    hookpoints: tuple[Hookpoint, ...]
    width: int


def read_architecture(spec: LanguageSpec) -> LanguageArchitecture:
    """The architecture of `spec`; kilobytes are downloaded where they must be. UserError where it cannot be had."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = config_folder(spec)
    try:
        config = AutoConfig.from_pretrained(str(folder), **NO_CODE)
        with building(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, **NO_CODE)
    except Exception as error:  # as in load.py: a config can be wrong in any way
        if wants_code(error):
            raise code_refused(f"Model {spec.name!r}", spec.source, folder) from error
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"Model {spec.name!r}: {spec.source} is no causal language model ({first}).") from error
    return LanguageArchitecture(
        str(config.model_type), block_hookpoints(model), int(config.get_text_config().hidden_size)
    )
