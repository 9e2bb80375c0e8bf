"""Gemma Scope (arXiv:2408.05147): params.npz, and params.safetensors of Gemma Scope 2 with config.json. JumpReLU.

pre = x @ W_enc + b_enc, z = pre where it is above both threshold and 0, x^ = z @ W_dec + b_dec: the bias of the decoder
is not taken off the rows. Folders are layer_L/width_W/average_l0_K, or .../layer_L_width_W_l0_SIZE.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import JumpRelu
from steerwright.sae.formats.files import CheckpointFiles, Unfit
from steerwright.sae.formats.fold import ImportedSae, Tensors, fold_input_norm, fold_subtraction, one_dtype
from steerwright.sae.sae import NoNorm, Sae
from steerwright.sae.site import Site

_WEIGHTS, _CONFIG = "params.npz", "config.json"
_NAMES = {"w_enc", "w_dec", "b_enc", "b_dec"}
_LAYER = re.compile(r"layer_(\d+)(?:_|$)")
_TRANSCODER = re.compile(r"transcoder|crosscoder|clt", re.IGNORECASE)


def recognises(checkpoint: CheckpointFiles) -> bool:
    """By its npz, or by the small letters of its safetensors, which nobody else has."""
    if checkpoint.is_torch:
        return False
    names = {name.lower() for name in checkpoint.content}
    return names >= _NAMES and (checkpoint.is_npz or "w_enc" in checkpoint.content)


def read(checkpoint: CheckpointFiles) -> ImportedSae:
    """UserError for transcoders, and where the threshold is missing."""
    config = checkpoint.raw(_CONFIG) or {}
    architecture, kind = config.get("architecture", "jump_relu"), config.get("type", "sae")
    place_in, place_out = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    if architecture != "jump_relu":
        raise UserError(f"{checkpoint.folder / _CONFIG}: architecture {architecture!r}; Gemma Scope has jump_relu.")
    folders = checkpoint.folder.resolve().parts[-4:]
    named = next((part for part in folders if _TRANSCODER.search(part)), None)
    skips = any("skip" in name.lower() or "affine" in name.lower() for name in checkpoint.content)
    if kind != "sae" or named or skips or config.get("affine_connection") or place_out not in (None, place_in):
        raise UserError(
            f"{checkpoint.weights} is a transcoder of Gemma Scope ({named or config}): it predicts the activations of "
            "another place, and is not imported."
        )
    tensors = Tensors({_usual(name): value for name, value in checkpoint.content.items()}, checkpoint.weights)
    d, n = tensors.size("W_enc")
    if "threshold" not in tensors:
        raise UserError(
            f"{checkpoint.weights}: threshold is missing, without which a JumpReLU is another autoencoder. It is not "
            "guessed; download the file again."
        )
    sae = Sae(
        tensors.take("W_enc", d, n).T.contiguous(),
        tensors.take("b_enc", n),
        tensors.take("W_dec", n, d),
        tensors.take("b_dec", d),
        JumpRelu(tensors.take("threshold", n)),
        subtract_bias=False,
        site=Site(hookpoint=_hookpoint(place_in)),
    )
    layer = next((int(found[1]) for part in reversed(folders) if (found := _LAYER.match(part))), None)
    facts = {"architecture": "jumprelu", "layer": layer, "model_name": config.get("model_name"), "hook_name": place_in}
    return ImportedSae(
        sae,
        library="gemma-scope",
        config=config,
        facts={name: value for name, value in facts.items() if value is not None},
        lossy=tensors.left(),
    )


def _hookpoint(place: Any) -> str | None:
    """model.layers.10:out of Gemma Scope 2's model.layers.10.output."""
    found = re.fullmatch(r"([\w.]+)\.(in|out)put", place) if isinstance(place, str) else None
    return None if found is None else str(Hookpoint(found[1], "in" if found[2] == "in" else "out"))


def write(found: ImportedSae, folder: Path) -> None:
    """params.npz, float32. Raises Unfit for anything but JumpReLU of rows as they are."""
    sae = fold_input_norm(found.sae)
    if sae.skip is not None or not isinstance(sae.input_norm, NoNorm) or not isinstance(sae.activation, JumpRelu):
        raise Unfit("Gemma Scope has JumpReLU of rows as they are, nothing else")
    sae = one_dtype(fold_subtraction(sae))
    assert isinstance(sae.activation, JumpRelu)
    tensors: dict[str, Tensor] = {
        "W_enc": sae.encoder.T, "b_enc": sae.encoder_bias, "W_dec": sae.decoder, "b_dec": sae.decoder_bias,
        "threshold": sae.activation.threshold,
    }  # fmt: skip
    arrays: dict[str, Any] = {name: tensor.float().contiguous().numpy() for name, tensor in tensors.items()}
    np.savez(folder / _WEIGHTS, **arrays)


def _usual(name: str) -> str:
    """W_enc of w_enc."""
    return f"W_{name[2:]}" if name.startswith("w_") else name
