"""OpenAI's sparse_autoencoder, and sdxl-unbox (Concept Steerers too), which was made from it.

pre = encoder (x - pre_bias) + latent_bias; the k largest, then relu; x^ = decoder z + pre_bias. OpenAI's files are flat
state dicts that name their activation, and "TopK" there means that rows are normed as well. Those of sdxl-unbox are a
state dict in `state_dict.pth`, with k in config.json beside it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import Activation, Relu, TopK
from steerwright.sae.formats.files import CheckpointFiles, Unfit, validated
from steerwright.sae.formats.fold import (
    LAYER_NORM,
    ImportedSae,
    Tensors,
    add_subtraction,
    fold_input_norm,
    is_layer_norm,
    one_dtype,
)
from steerwright.sae.sae import NoNorm, Sae
from steerwright.sae.site import Site

_CONFIG, _WEIGHTS = "config.json", "state_dict.pth"
_NAMES = {"pre_bias", "encoder.weight", "latent_bias"}
_RUN = re.compile(r"(unet(?:\.[a-z_]+|\.\d+)+)_k\d+_")
_OPENAI_STATISTICS = ("latents_activation_frequency", "latents_mean_square")
_STATISTICS = ("stats_last_nonzero", *_OPENAI_STATISTICS)
_DEAD_STEPS = 10_000_000 // 4096


class UnboxConfig(BaseModel):
    """config.json of sdxl-unbox."""

    model_config = ConfigDict(extra="ignore")

    n_dirs_local: int = Field(ge=1)
    d_model: int = Field(ge=1)
    k: int = Field(ge=1)
    auxk: int | None = None
    dead_steps_threshold: int | None = None


class _OpenAiActivation(BaseModel):
    """`activation` and `activation_state_dict` of OpenAI's state dicts."""

    model_config = ConfigDict(extra="ignore")

    activation: str
    k: int | None = Field(default=None, ge=1)
    postact_fn: str | None = None


def recognises_openai(checkpoint: CheckpointFiles) -> bool:
    return checkpoint.is_torch and set(checkpoint.content) >= _NAMES


def recognises_unbox(checkpoint: CheckpointFiles) -> bool:
    inner = checkpoint.content.get("state_dict") if checkpoint.is_torch else None
    return isinstance(inner, Mapping) and set(map(str, inner)) >= _NAMES


def read_openai(checkpoint: CheckpointFiles) -> ImportedSae:
    """A flat state dict; an untied or a tied one, with ReLU or TopK."""
    content = dict(checkpoint.content)
    inner = content.pop("activation_state_dict", {})
    if "activation" not in content and not set(_OPENAI_STATISTICS) <= set(content):
        raise UserError(
            f"{checkpoint.weights}: its activation is missing, and without it ReLU and TopK look alike. Only OpenAI's "
            "first files, which have ReLU, do without, and those hold latents_activation_frequency. It is not guessed: "
            "ask its author, or give --format sdxl-unbox if it is one of sdxl-unbox with its config.json."
        )
    named = {"activation": content.pop("activation", "ReLU"), **(inner if isinstance(inner, Mapping) else {})}
    config = validated(_OpenAiActivation, named, checkpoint.weights)
    if config.activation not in ("ReLU", "TopK") or config.postact_fn not in ("ReLU", None):
        raise UserError(
            f"{checkpoint.weights}: activation {config.activation} with {config.postact_fn}; known are ReLU, and TopK "
            "with ReLU."
        )
    chooses = config.activation == "TopK"
    if chooses and config.k is None:
        raise UserError(f"{checkpoint.weights}: TopK without k, which is not guessed (activation_state_dict.k).")
    tensors = Tensors(content, checkpoint.weights)
    sae = _sae(tensors, TopK(config.k, relu="after") if config.k is not None and chooses else Relu(), normed=chooses)
    if chooses and config.postact_fn is None:
        raise UserError(f"{checkpoint.weights}: TopK without activation_state_dict.postact_fn, which is not guessed.")
    return ImportedSae(
        sae,
        library="openai/sparse_autoencoder",
        config=named,
        facts={"architecture": "topk" if chooses else "relu"},
        extra=tensors.kept(*_STATISTICS),
        lossy=tensors.left(),
    )


def read_unbox(checkpoint: CheckpointFiles) -> ImportedSae:
    """state_dict.pth with config.json; mean.pt and std.pt, for its user interface, are kept."""
    config = checkpoint.config(_CONFIG, UnboxConfig)
    inner = checkpoint.content.get("state_dict")
    tensors = Tensors(inner if isinstance(inner, Mapping) else checkpoint.content, checkpoint.weights)
    sae = _sae(tensors, TopK(config.k, relu="after"), normed=False)
    if (sae.size, sae.width) != (config.n_dirs_local, config.d_model):
        raise UserError(
            f"{checkpoint.weights} has {sae.size} latents of width {sae.width}, but {_CONFIG} says "
            f"{config.n_dirs_local} of {config.d_model}. Is one of them another's?"
        )
    # Its training run names a folder above by the module; it trains on what that adds.
    names = (place.name for place in (checkpoint.folder.resolve(), checkpoint.folder.resolve().parent))
    module = next((found[1] for name in names if (found := _RUN.match(name))), None)
    sae = replace(sae, site=Site(hookpoint=None if module is None else str(Hookpoint(module, "update"))))
    extra = tensors.kept(*_STATISTICS)
    for name in ("mean", "std"):
        value = (checkpoint.beside(f"{name}.pt") or {}).get("tensor")
        if isinstance(value, Tensor):
            extra[name] = value
    return ImportedSae(
        sae,
        library="sdxl-unbox",
        config=checkpoint.raw(_CONFIG) or {},
        facts={"architecture": "topk"} | ({} if config.auxk is None else {"auxk_latents": config.auxk}),
        extra=extra,
        lossy=tensors.left(),
        notes=("sdxl-unbox trains on what a block adds, its output less its input: the `update` of a hookpoint",),
    )


def write_openai(found: ImportedSae, folder: Path) -> None:
    """`autoencoder.pt`, a flat state dict. Raises Unfit for anything but ReLU, and TopK of normed rows."""
    sae = fold_input_norm(found.sae)
    match sae.activation:
        case Relu() if isinstance(sae.input_norm, NoNorm):
            activation: dict[str, Any] = {"activation": "ReLU", "activation_state_dict": {}}
        case TopK(k) if is_layer_norm(sae.input_norm):
            activation = {"activation": "TopK", "activation_state_dict": {"k": k, "postact_fn": "ReLU"}}
        case _:
            raise Unfit("OpenAI's has ReLU of rows as they are, and TopK of rows that are normed, nothing else")
    n = sae.size
    state = _state(found, sae) | {
        "latents_activation_frequency": found.extra.get("latents_activation_frequency", torch.ones(n)),
        "latents_mean_square": found.extra.get("latents_mean_square", torch.zeros(n)),
    }
    torch.save(state | activation, folder / "autoencoder.pt")


def write_unbox(found: ImportedSae, folder: Path) -> None:
    """config.json and state_dict.pth. Raises Unfit for anything but TopK of rows as they are."""
    sae = fold_input_norm(found.sae)
    if not isinstance(sae.activation, TopK) or not isinstance(sae.input_norm, NoNorm):
        raise Unfit("sdxl-unbox has TopK of rows as they are, nothing else")
    config = {
        "n_dirs_local": sae.size,
        "d_model": sae.width,
        "k": sae.activation.k,
        "auxk": found.facts.get("auxk_latents"),
        "dead_steps_threshold": found.config.get("dead_steps_threshold") or _DEAD_STEPS,
    }
    state = _state(found, sae)
    # In columns, as its kernels want the decoder.
    state["decoder.weight"] = state["decoder.weight"].T.contiguous().T
    torch.save({"state_dict": state}, folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
    for name in ("mean", "std"):
        if name in found.extra:
            torch.save(found.extra[name].clone(), folder / f"{name}.pt")


def _sae(tensors: Tensors, activation: Activation, normed: bool) -> Sae:
    n, d = tensors.size("encoder.weight")
    encoder = tensors.take("encoder.weight", n, d)
    if isinstance(activation, TopK) and activation.k > n:
        raise UserError(f"k = {activation.k} of {n} latents: the checkpoint is damaged.")
    if "decoder.weight" in tensors:
        decoder = tensors.take("decoder.weight", d, n).T.contiguous()
    else:
        # A tied decoder is the encoder itself, under a second name.
        decoder = tensors.take("decoder.linear.weight", n, d)
    return Sae(
        encoder,
        tensors.take("latent_bias", n),
        decoder,
        tensors.take("pre_bias", d),
        activation,
        LAYER_NORM if normed else NoNorm(),
    )


def _state(found: ImportedSae, sae: Sae) -> dict[str, Any]:
    """The tensors that both have. Raises Unfit for what neither has."""
    if sae.skip is not None:
        raise Unfit("it has a skip connection")
    if isinstance(sae.activation, TopK) and sae.activation.by_decoder_norm:
        raise Unfit("it chooses latents by their size times the decoder's norms")
    sae = one_dtype(add_subtraction(sae))
    last = found.extra.get("stats_last_nonzero", torch.zeros(sae.size, dtype=torch.int64))
    return {
        "pre_bias": sae.decoder_bias.clone(),
        "encoder.weight": sae.encoder.clone(),
        "latent_bias": sae.encoder_bias.clone(),
        "decoder.weight": sae.decoder.T.contiguous(),
        "stats_last_nonzero": last,
    }
