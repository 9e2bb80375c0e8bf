"""EleutherAI's sparsify (eai-sparsify 1.3) and SAeUron, which has its layout: cfg.json and sae.safetensors.

pre = relu(encoder (x - b_dec) + bias), the k largest (or the largest of each of k groups), y = z @ W_dec + b_dec
(+ x @ W_skip.T). W_dec is [n, d], as ours.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import Activation, GroupMax, TopK
from steerwright.sae.formats.files import CheckpointFiles, Unfit
from steerwright.sae.formats.fold import (
    LAYER_NORM,
    ImportedSae,
    Tensors,
    add_subtraction,
    fold_input_norm,
    fold_subtraction,
    is_layer_norm,
    one_dtype,
)
from steerwright.sae.sae import InputNorm, NoNorm, PerRow, Sae
from steerwright.sae.site import Site

_WEIGHTS, _CONFIG = "sae.safetensors", "cfg.json"
_MODULE = re.compile(r"(?:unet|transformer)(?:\.\w+)+")
SAEURON_ONLY = {"batch_topk", "sample_topk", "input_unit_norm"}


class SparsifyConfig(BaseModel):
    """What of cfg.json says how the weights are used, of both libraries; the defaults are theirs."""

    model_config = ConfigDict(extra="ignore")

    d_in: int = Field(ge=1)
    activation: Literal["topk", "groupmax"] = "topk"
    expansion_factor: int = Field(default=32, ge=1)
    num_latents: int = Field(default=0, ge=0)
    k: int = Field(ge=1)
    transcode: bool = False
    skip_connection: bool = False
    input_unit_norm: bool = False
    batch_topk: bool = False
    sample_topk: bool = False
    signed: bool = False
    jumprelu: bool = False


def recognises(checkpoint: CheckpointFiles) -> bool:
    return _has_layout(checkpoint) and not SAEURON_ONLY & set(checkpoint.raw(_CONFIG) or {})


def recognises_saeuron(checkpoint: CheckpointFiles) -> bool:
    return _has_layout(checkpoint) and bool(SAEURON_ONLY & set(checkpoint.raw(_CONFIG) or {}))


def read(checkpoint: CheckpointFiles) -> ImportedSae:
    """As eai-sparsify 1.3 reads it: settings that it no longer has are left out, and listed as lost if they were on."""
    config = checkpoint.config(_CONFIG, SparsifyConfig)
    gone = tuple(
        f"{name}: true, which sparsify no longer has and does not follow"
        for name in ("signed", "jumprelu")
        if getattr(config, name)
    )
    notes = []
    if config.transcode:
        notes.append("a transcoder: what it reconstructs may be the activations of another place than its rows'")
    return _read(checkpoint, config, "eai-sparsify", NoNorm(), gone, notes)


def read_saeuron(checkpoint: CheckpointFiles) -> ImportedSae:
    """As SAeUron uses it: trained with BatchTopK or k for a whole picture or not, each row has its own k largest."""
    config = checkpoint.config(_CONFIG, SparsifyConfig)
    notes = [
        f"trained with {name}: SAeUron uses it, and so does steerwright, with the {config.k} largest of each row"
        for name in ("batch_topk", "sample_topk")
        if getattr(config, name)
    ]
    norm = LAYER_NORM if config.input_unit_norm else NoNorm()
    # Its training run names the checkpoint's folder by the module: unet.up_blocks.1.attentions.1.
    module = checkpoint.folder.resolve().name
    site = Site(hookpoint=str(Hookpoint(module)) if _MODULE.fullmatch(module) else None)
    found = _read(checkpoint, config, "SAeUron", norm, (), notes)
    return replace(found, sae=replace(found.sae, site=site))


def write(found: ImportedSae, folder: Path) -> None:
    """Raises Unfit for activations and norms of rows that sparsify does not have."""
    sae = fold_input_norm(found.sae)
    if not isinstance(sae.input_norm, NoNorm):
        raise Unfit("sparsify takes rows as they are, and this one norms each row")
    # "transcode" is how sparsify says that b_dec is not subtracted.
    sae = one_dtype(fold_subtraction(sae) if sae.input_bias is not None else sae)
    settings = {
        **_activation_settings(sae.activation),
        "multi_topk": False,
        "skip_connection": sae.skip is not None,
        "transcode": not sae.subtract_bias,
    }
    _write(sae, settings, folder)


def write_saeuron(found: ImportedSae, folder: Path) -> None:
    """Raises Unfit for what SAeUron does not have: anything but TopK with b_dec subtracted."""
    sae = fold_input_norm(found.sae)
    if sae.skip is not None or not isinstance(sae.activation, TopK):
        raise Unfit("SAeUron has TopK only, without a skip connection")
    if not isinstance(sae.input_norm, NoNorm) and not is_layer_norm(sae.input_norm):
        raise Unfit(f"SAeUron has no norm of rows like {sae.input_norm}")
    sae = one_dtype(add_subtraction(sae))
    settings = {
        **_activation_settings(sae.activation),
        "multi_topk": False,
        "batch_topk": False,
        "sample_topk": False,
        "input_unit_norm": isinstance(sae.input_norm, PerRow),
    }
    del settings["activation"]
    _write(sae, settings, folder)


def _has_layout(checkpoint: CheckpointFiles) -> bool:
    return not checkpoint.is_torch and {"encoder.weight", "encoder.bias", "W_dec", "b_dec"} <= set(checkpoint.content)


def _read(
    checkpoint: CheckpointFiles,
    config: SparsifyConfig,
    library: str,
    norm: InputNorm,
    lossy: tuple[str, ...],
    notes: list[str],
) -> ImportedSae:
    tensors = Tensors(checkpoint.content, checkpoint.weights)
    d = config.d_in
    n = config.num_latents or d * config.expansion_factor
    skip = tensors.take("W_skip", d, d) if config.skip_connection else None
    sae = Sae(
        tensors.take("encoder.weight", n, d),
        tensors.take("encoder.bias", n),
        tensors.take("W_dec", n, d),
        tensors.take("b_dec", d),
        _activation(config, n, checkpoint.folder / _CONFIG),
        norm,
        subtract_bias=not config.transcode,
        skip=skip,
    )
    trained = "batchtopk" if config.batch_topk else config.activation
    raw = checkpoint.raw(_CONFIG) or {}
    return ImportedSae(
        sae,
        library=library,
        config=raw,
        facts={"architecture": trained},
        lossy=(*lossy, *tensors.left()),
        notes=tuple(notes),
    )


def _activation(config: SparsifyConfig, n: int, place: Path) -> Activation:
    if config.k > n or (config.activation == "groupmax" and n % config.k):
        raise UserError(f"{place}: k = {config.k} does not fit {n} latents ({config.activation}). Is it damaged?")
    return TopK(config.k) if config.activation == "topk" else GroupMax(config.k)


def _activation_settings(activation: Activation) -> dict[str, Any]:
    match activation:
        case TopK(k, _, by_decoder_norm) if not by_decoder_norm:
            return {"activation": "topk", "k": k}
        case GroupMax(k):
            return {"activation": "groupmax", "k": k}
    raise Unfit("sparsify chooses a fixed number of latents: it has topk and groupmax only")


def _write(sae: Sae, settings: dict[str, Any], folder: Path) -> None:
    tensors: dict[str, Tensor] = {
        "encoder.weight": sae.encoder,
        "encoder.bias": sae.encoder_bias,
        "W_dec": sae.decoder,
        "b_dec": sae.decoder_bias,
    }
    if sae.skip is not None:
        tensors["W_skip"] = sae.skip
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / _WEIGHTS)
    config = {
        "expansion_factor": max(1, sae.size // sae.width),
        "normalize_decoder": True,
        "num_latents": sae.size,
        **settings,
        "d_in": sae.width,
    }
    (folder / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
