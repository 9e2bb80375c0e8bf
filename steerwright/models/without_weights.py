"""A model as its configs describe it, without weights: what it weighs and what shapes it computes, at no cost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from steerwright.errors import UserError
from steerwright.models.building import building
from steerwright.models.custom_code import check_components
from steerwright.models.families.flux import Flux, text_length
from steerwright.models.hookpoints import Hookpoint, cut_input, cut_output, resolve
from steerwright.models.identify import config_folder
from steerwright.models.spec import ModelSpec

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class ShapesOnly:
    """Bytes of the weights: of each network by name, of the largest module that is brought to a GPU by itself."""

    networks: dict[str, int]
    largest_module: int

    @property
    def total(self) -> int:
        return sum(self.networks.values())

    def on_gpu(self, offload: str) -> int:
        """Bytes of weights that lie on a GPU at once, with this way of offloading."""
        return {"none": self.total, "model": max(self.networks.values())}.get(offload, self.largest_module)


@dataclass(frozen=True, slots=True)
class TokenShape:
    """What one picture has at a hookpoint at one step: tokens on a grid ((tokens,) or (h, w)), `width` values each."""

    grid: tuple[int, ...]
    width: int


class ModelWithoutWeights:
    """The networks of a FLUX pipeline on torch's meta device, which holds shapes and no values."""

    def __init__(self, spec: ModelSpec) -> None:
        """Reads configs from the model's folder, the cache or the hub. Raises UserError when there are none.

        UserError too for another family than `flux`.
        """
        if spec.family != Flux.name:
            raise UserError(
                f"Model {spec.name!r}: only for the family flux are configs enough, not for {spec.family!r}; let it "
                "be loaded."
            )
        self.spec = spec
        folder = config_folder(spec)
        self.pipeline: Any = SimpleNamespace(**_components(folder))
        self.pipeline.vae_scale_factor = 2 ** (len(self.pipeline.vae.config.block_out_channels) - 1)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its pictures in pixels."""
        own = Flux().image_pixels(self.pipeline)
        return self.spec.height or own[0], self.spec.width or own[1]

    def weights(self) -> ShapesOnly:
        """What the weights take in the precision of the spec."""
        each = _BYTES[self.spec.dtype]
        networks = {name: part for name, part in vars(self.pipeline).items() if isinstance(part, nn.Module)}
        leaves = [module for part in networks.values() for module in part.modules() if not list(module.children())]
        return ShapesOnly(
            {name: each * _parameters(part) for name, part in networks.items()},
            each * max(_parameters(module) for module in leaves),
        )

    def token_shapes(self, hookpoints: Sequence[Hookpoint]) -> dict[Hookpoint, TokenShape]:
        """Shapes of what one picture gives at `hookpoints`. UserError for those that do not exist or have no tokens."""
        height, width = Flux().image_grid(self.pipeline, *self.size)
        transformer, found = self.pipeline.transformer, dict[Hookpoint, TokenShape]()
        now = SimpleNamespace(text_tokens=text_length(self.pipeline), image_tokens=height * width)
        handles = []
        for hookpoint in hookpoints:

            def look(_: Any, args: Any, kwargs: Any, output: Any, hookpoint: Hookpoint = hookpoint) -> None:
                inside = hookpoint.where == "in"
                seen = cut_input(hookpoint, args, kwargs, now) if inside else cut_output(hookpoint, output, now)
                found[hookpoint] = _shape(seen, hookpoint, (height, width))

            module = resolve(self.pipeline, hookpoint)
            handles.append(module.register_forward_hook(look, with_kwargs=True))
        try:
            with torch.inference_mode():
                transformer(**_inputs(transformer.config, now.text_tokens, now.image_tokens))
        finally:
            for handle in handles:
                handle.remove()
        return found


def _shape(seen: Tensor, hookpoint: Hookpoint, grid: tuple[int, int]) -> TokenShape:
    if seen.ndim != 3:
        raise UserError(f"Hookpoint {hookpoint} gives a tensor of shape {list(seen.shape)}, without tokens.")
    tokens = seen.shape[1]
    return TokenShape(grid if hookpoint.tokens == "image" and tokens == math.prod(grid) else (tokens,), seen.shape[2])


def _inputs(config: Any, text: int, image: int) -> dict[str, Tensor]:
    sizes = {
        "hidden_states": (1, image, config.in_channels),
        "encoder_hidden_states": (1, text, config.joint_attention_dim),
        "pooled_projections": (1, config.pooled_projection_dim),
        "timestep": (1,),
        "txt_ids": (text, 3),
        "img_ids": (image, 3),
        **({"guidance": (1,)} if config.guidance_embeds else {}),
    }
    return {name: torch.zeros(*size, device="meta") for name, size in sizes.items()}


@building()
def _components(folder: Path) -> dict[str, Any]:
    import diffusers
    import transformers

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    check_components("Model", index, str(folder))
    found: dict[str, Any] = {}
    for name, (library, kind) in ((n, v) for n, v in index.items() if isinstance(v, list) and v[0] is not None):
        if name == "tokenizer_2":
            settings = json.loads((folder / name / "tokenizer_config.json").read_text(encoding="utf-8"))
            found[name] = SimpleNamespace(model_max_length=int(settings.get("model_max_length", 512)))
        elif name == "scheduler":
            found[name] = getattr(diffusers, kind).from_pretrained(folder / name)
        elif library == "diffusers":
            found[name] = _on_meta(
                getattr(diffusers, kind).from_config, getattr(diffusers, kind).load_config(folder / name)
            )
        elif not name.startswith("tokenizer") and library == "transformers":
            network = getattr(transformers, kind)
            found[name] = _on_meta(network, network.config_class.from_pretrained(folder / name))
    if Flux.root not in found:
        raise UserError(f"{folder} names no transformer in its model_index.json; save the pipeline again.")
    return found


def _on_meta(make: Any, config: Any) -> Any:
    with torch.device("meta"):
        return make(config).eval().requires_grad_(False)


def _parameters(module: nn.Module) -> int:
    # A parameter that two modules share lies in memory once; parameters() gives it once.
    return sum(parameter.numel() for parameter in module.parameters())
