"""What a language model's config alone says of it: its layers, its width and its kind, without reading weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerwright.errors import UserError
from steerwright.models.building import building
from steerwright.models.custom_code import NO_CODE, code_refused, wants_code
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.identify import config_folder
from steerwright.models.language.layers import block_hookpoints
from steerwright.models.language.spec import LanguageSpec


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
