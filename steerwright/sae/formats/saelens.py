"""SAELens (sae-lens 6.54, and what it reads of versions before 6): cfg.json and sae_weights.safetensors.

Row-vector maths: pre = (x - b_dec) @ W_enc + b_enc, x^ = z @ W_dec + b_dec. A training checkpoint is read as SAELens
saves it for inference: norms folded where it chooses by them, BatchTopK (arXiv:2412.06410) with its threshold.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import AbsTopK, Activation, Gated, JumpRelu, Relu, TopK
from steerwright.sae.formats.files import CheckpointFiles, Unfit, validated
from steerwright.sae.formats.fold import (
    LAYER_NORM,
    ImportedSae,
    Tensors,
    fold_affine,
    fold_decoder_norms,
    fold_input_norm,
    fold_scale,
    fold_subtraction,
    is_layer_norm,
    one_dtype,
)
from steerwright.sae.sae import ConstantNorm, InputNorm, NoNorm, Sae
from steerwright.sae.site import Site

# cfg.json of SAELens, as it is since version 6, and what its earlier versions mean.

_RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
CHOOSE_BY_NORM = {"topk", "abstopk", "batchtopk", "matryoshka_batchtopk"}
THRESHOLDED = {"batchtopk", "matryoshka_batchtopk"}
_KNOWN = {"standard", "jumprelu", "gated"} | CHOOSE_BY_NORM
_NO_AUTOENCODERS = {
    "transcoder": "predicts the activations of another place",
    "skip_transcoder": "predicts the activations of another place",
    "jumprelu_transcoder": "predicts the activations of another place",
    "jumprelu_skip_transcoder": "predicts the activations of another place",
    "matching_pursuit": "finds its latents one after the other, each in what those before it leave over",
    "temporal": "looks at the tokens before",
}
# "estimated": by a factor or a matrix that SAELens folds into the weights when training ends.
NORMS = {"none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "covariance_whitening"}

RESHAPES = {"none", "hook_z"}


class SaeLensConfig(BaseModel):
    """What of cfg.json says how the weights are used; the defaults are SAELens' own."""

    model_config = ConfigDict(extra="ignore")

    architecture: str
    d_in: int = Field(ge=1)
    d_sae: int = Field(ge=1)
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    reshape_activations: str = "none"
    k: float | None = None
    rescale_acts_by_decoder_norm: bool = False
    matryoshka_widths: list[int] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


def read_config(raw: Mapping[str, Any], path: Path) -> SaeLensConfig:
    """cfg.json of any version. UserError for what is no autoencoder, or cannot be encoded row by row."""
    config = validated(SaeLensConfig, _modern(raw, path), path)
    if config.architecture in _NO_AUTOENCODERS:
        raise UserError(
            f"{path}: a {config.architecture} of SAELens is not imported: it {_NO_AUTOENCODERS[config.architecture]}. "
            f"Known are {', '.join(sorted(_KNOWN))}."
        )
    if config.architecture not in _KNOWN:
        raise UserError(f"{path}: architecture {config.architecture!r}; known are {', '.join(sorted(_KNOWN))}.")
    if config.reshape_activations not in RESHAPES:
        raise UserError(
            f"{path}: reshape_activations {config.reshape_activations!r}; known are {', '.join(sorted(RESHAPES))}."
        )
    if config.normalize_activations not in NORMS:
        raise UserError(
            f"{path}: normalize_activations {config.normalize_activations!r}; known are {', '.join(sorted(NORMS))}."
        )
    return config


def _old_activation(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`architecture` and `k` of a version before 6, whose TopK is an activation function of the standard one."""
    activation, architecture = found.get("activation_fn") or "relu", found.get("architecture")
    if activation not in ("relu", "topk"):
        raise UserError(f"{path}: activation_fn {activation!r}; known are relu and topk.")
    if (activation == "topk" and architecture not in ("standard", "topk")) or (
        architecture == "topk" and found.get("activation_fn") == "relu"
    ):
        raise UserError(
            f"{path}: architecture {architecture!r} does not go with activation_fn {activation!r}. Which is right?"
        )
    if activation != "topk" and architecture != "topk":
        return {}
    inner = found.get("activation_fn_kwargs")
    named = {
        key: value
        for key, value in (
            ("activation_fn_kwargs.k", inner.get("k") if isinstance(inner, Mapping) else None),
            ("k", found.get("k")),
        )
        if value is not None
    }
    if not named:
        raise UserError(
            f"{path}: a TopK without k: there is neither activation_fn_kwargs.k nor k. It is not guessed; write it "
            "there, or ask the checkpoint's author."
        )
    if len(set(named.values())) > 1:
        raise UserError(f"{path}: {' but '.join(f'{key} is {value}' for key, value in named.items())}. Which is right?")
    return {"architecture": "topk", "k": next(iter(named.values()))}


def _modern(raw: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """As since version 6: a missing version means an earlier one, whose keys are all at the top level."""
    metadata = raw.get("metadata")
    version = raw.get("sae_lens_version") or (metadata.get("sae_lens_version") if isinstance(metadata, dict) else None)
    major = re.match(r"\d+", str(version or "0"))
    if major is not None and int(major[0]) >= 6:
        # Version 6 has no activation_fn; a file that names one all the same is held to it.
        old = {_RENAMED[name]: raw[name] for name in _RENAMED if name in raw} | dict(raw)
        return {**raw, **_old_activation(old, path)} if old.get("activation_fn") else raw
    found = {_RENAMED.get(name, name): value for name, value in raw.items()}
    found["architecture"] = found.get("architecture") or "standard"
    found |= _old_activation(found, path)
    norm = found.get("normalize_activations")
    if norm is None or isinstance(norm, bool):
        found["normalize_activations"] = "expected_average_only_in" if norm else "none"
    found["metadata"] = {
        name: found.get(name) for name in ("model_name", "hook_name", "sae_lens_version", "sae_lens_training_version")
    }
    if "hook_z" in str(found.get("hook_name")):
        found.setdefault("reshape_activations", "hook_z")
    return found


WRITES_VERSION = "6.54.12"
_WEIGHTS, _CONFIG = "sae_weights.safetensors", "cfg.json"
# Tensors that say which latents are active: one that the architecture does not use says that it is another one.
_OF_ACTIVATIONS = ("threshold", "log_threshold", "topk_threshold", "b_gate", "b_mag", "r_mag")
_NORMS: dict[str, InputNorm] = {"layer_norm": LAYER_NORM, "constant_norm_rescale": ConstantNorm()}


def recognises(checkpoint: CheckpointFiles) -> bool:
    return not checkpoint.is_torch and not checkpoint.is_npz and {"W_enc", "W_dec", "b_dec"} <= set(checkpoint.content)


def read(checkpoint: CheckpointFiles) -> ImportedSae:
    """UserError for what is no autoencoder (transcoders), or cannot be encoded row by row."""
    raw = checkpoint.raw(_CONFIG)
    if raw is None:
        raise UserError(f"{checkpoint.weights} has no {_CONFIG} beside it, and that says which architecture it is.")
    config = read_config(raw, checkpoint.folder / _CONFIG)
    tensors = Tensors(checkpoint.content, checkpoint.weights)
    n, d = config.d_sae, config.d_in
    encoder = tensors.take("W_enc", d, n).T.contiguous()
    sae = Sae(
        encoder,
        encoder.new_zeros(n) if config.architecture == "gated" else tensors.take("b_enc", n),
        _decoder(tensors, n, d, raw, checkpoint.weights),
        tensors.take("b_dec", d),
        Relu(),
        _NORMS.get(config.normalize_activations, NoNorm()),
        subtract_bias=config.apply_b_dec_to_input,
        site=Site(hookpoint=_hookpoint(config.metadata.get("hook_name"))),
    )
    sae, threshold_scale, lossy = _folded(sae, config, checkpoint)
    sae = replace(sae, activation=_activation(config, tensors, n, threshold_scale, checkpoint))
    if foreign := sorted(name for name in _OF_ACTIVATIONS if name in tensors):
        raise UserError(
            f"{checkpoint.weights} holds {', '.join(foreign)}, but its architecture, {config.architecture!r}, does "
            f"not use {'it' if len(foreign) == 1 else 'them'}. {_CONFIG} belongs to other weights, or its architecture "
            "is missing or wrong: correct it there."
        )
    notes = []
    if config.reshape_activations == "hook_z":
        notes.append("its rows are all heads of an attention layer side by side, [heads * d_head]")
    metadata = config.metadata
    return ImportedSae(
        sae,
        library="sae-lens",
        version=metadata.get("sae_lens_version"),
        config=raw,
        facts=_facts(config),
        extra={
            name: value
            for name, value in (checkpoint.beside("sparsity.safetensors") or {}).items()
            if isinstance(value, Tensor)
        },
        lossy=(*lossy, *tensors.left()),
        notes=tuple(notes),
    )


def write(found: ImportedSae, folder: Path) -> None:
    """An inference checkpoint. Raises Unfit for what SAELens does not have."""
    sae = fold_input_norm(found.sae)
    if sae.skip is not None:
        raise Unfit("it has a skip connection, which SAELens has in transcoders only")
    sae = one_dtype(fold_subtraction(sae) if sae.input_bias is not None else sae)
    architecture, tensors = _written(sae.activation)
    config = {
        "d_in": sae.width,
        "d_sae": sae.size,
        "dtype": str(sae.encoder.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_bias,
        "normalize_activations": _written_norm(sae.input_norm),
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": WRITES_VERSION,
            "sae_lens_training_version": None,
            "model_name": found.facts.get("model_name"),
            "hook_name": sae.site.hookpoint or found.facts.get("hook_name"),
        },
        **architecture,
    }
    tensors |= {"W_enc": sae.encoder.T, "W_dec": sae.decoder, "b_dec": sae.decoder_bias}
    if not isinstance(sae.activation, Gated):
        tensors["b_enc"] = sae.encoder_bias
    dtype = sae.encoder.dtype
    save_file({name: tensor.to(dtype).contiguous().clone() for name, tensor in tensors.items()}, folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
    if "sparsity" in found.extra:
        save_file({"sparsity": found.extra["sparsity"].contiguous()}, folder / "sparsity.safetensors")


def _decoder(tensors: Tensors, n: int, d: int, raw: Mapping[str, Any], place: Path) -> Tensor:
    """W_dec, with the factor of latents that versions before 6 had learned after training, if there is one."""
    decoder = tensors.take("W_dec", n, d)
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        if name not in tensors:
            continue
        factor = tensors.take(name, n)
        if torch.allclose(factor, torch.ones_like(factor)):
            continue
        if not raw.get("finetuning_scaling_factor"):
            raise UserError(f"{place} has a {name}, but {_CONFIG} says that it is not used. Which of them is right?")
        decoder = decoder.to(torch.promote_types(decoder.dtype, torch.float32)) * factor[:, None]
    return decoder


def _folded(sae: Sae, config: SaeLensConfig, checkpoint: CheckpointFiles) -> tuple[Sae, float, tuple[str, ...]]:
    """With what SAELens folds in when training ends; what a BatchTopK's threshold is multiplied by; what is lost."""
    lossy: tuple[str, ...] = ()
    threshold_scale = 1.0
    by_norm = config.rescale_acts_by_decoder_norm and config.architecture in CHOOSE_BY_NORM
    estimated = config.normalize_activations in ("expected_average_only_in", "covariance_whitening")
    scaler = (checkpoint.raw("activation_scaler.json") or {}) if estimated else {}
    whitening = checkpoint.beside("activation_whitening.safetensors") if estimated else None
    if (factor := scaler.get("scaling_factor")) is not None:
        sae = fold_scale(sae, float(factor))
        # The threshold is one of latents times the decoder's norms, which the factor has just divided.
        threshold_scale = 1 / float(factor) if by_norm else 1.0
    if by_norm:
        sae = fold_decoder_norms(sae)
    if whitening is not None:
        d = sae.width
        found = Tensors(whitening, checkpoint.folder / "activation_whitening.safetensors")
        sae = fold_affine(sae, found.take("mean", d), found.take("matrix", d, d), found.take("inverse_matrix", d, d))
    if estimated and factor is None and whitening is None:
        lossy = (
            f"normalize_activations: {config.normalize_activations}, but what was estimated is not in the checkpoint; "
            "rows are taken as they are, as SAELens does",
        )
    return sae, threshold_scale, lossy


def _activation(
    config: SaeLensConfig, tensors: Tensors, n: int, threshold_scale: float, checkpoint: CheckpointFiles
) -> Activation:
    match config.architecture:
        case "standard":
            return Relu()
        case "gated":
            return Gated(tensors.take("b_gate", n), tensors.take("b_mag", n), tensors.take("r_mag", n))
        case "jumprelu":
            if "log_threshold" in tensors:
                return JumpRelu(tensors.take("log_threshold", n).exp())
            return JumpRelu(tensors.take("threshold", n))
        case architecture if architecture in THRESHOLDED:
            return JumpRelu(torch.full((n,), tensors.number("topk_threshold") * threshold_scale, dtype=torch.float32))
    k = config.k
    if k is None or k != int(k) or not 1 <= k <= n:
        raise UserError(
            f"{checkpoint.folder / _CONFIG}: k is {k}; {config.architecture} needs a whole number, 1 to {n}."
        )
    return TopK(int(k), relu="after") if config.architecture == "topk" else AbsTopK(int(k))


def _hookpoint(hook_name: Any) -> str | None:
    """Where it belongs, if that is written as we do (unet.mid_block:out); SAELens' own names are TransformerLens'."""
    if not isinstance(hook_name, str) or ":" not in hook_name:
        return None
    try:
        return str(Hookpoint.parse(hook_name))
    except UserError:
        return None


def _facts(config: SaeLensConfig) -> dict[str, Any]:
    facts = {
        "architecture": config.metadata.get("training_architecture") or config.architecture,
        "k": _whole(config.k) if config.architecture in THRESHOLDED else None,
        "groups": config.matryoshka_widths,
        "model_name": config.metadata.get("model_name"),
        "hook_name": config.metadata.get("hook_name"),
    }
    return {name: value for name, value in facts.items() if value}


def _whole(number: float | None) -> float | None:
    """As an int where it is one: BatchTopK may have 2.5 latents a row on average."""
    return int(number) if number is not None and number == int(number) else number


def _written(activation: Activation) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The keys of cfg.json and the tensors that say what `activation` is."""
    match activation:
        case Relu():
            return {"architecture": "standard"}, {}
        case TopK(k, _, by_decoder_norm):
            if by_decoder_norm:
                raise Unfit("it chooses latents by their size times the decoder's norms but does not keep that size")
            return {"architecture": "topk", "k": k, "rescale_acts_by_decoder_norm": False}, {}
        case AbsTopK(k):
            return {"architecture": "abstopk", "k": k, "rescale_acts_by_decoder_norm": False}, {}
        case JumpRelu(threshold):
            return {"architecture": "jumprelu"}, {"threshold": threshold}
        case Gated(gate_bias, mag_bias, r_mag):
            return {"architecture": "gated"}, {"b_gate": gate_bias, "b_mag": mag_bias, "r_mag": r_mag}
        case _:
            raise Unfit(f"SAELens has no {activation.kind}")


def _written_norm(norm: InputNorm) -> str:
    match norm:
        case NoNorm():
            return "none"
        case ConstantNorm():
            return "constant_norm_rescale"
        case _ if is_layer_norm(norm):
            return "layer_norm"
    raise Unfit(f"SAELens has no norm of rows like {norm}")
