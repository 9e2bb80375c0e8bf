"""cfg.json of SAELens, as it is since version 6, and what its earlier versions mean."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from steerkit.errors import UserError
from steerkit.sae.formats.checkpoint import validated

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
