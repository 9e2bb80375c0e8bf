"""The checkpoints of "Sparse Autoencoders for Interpreting Visual Features in FLUX.1" (lucas-zhao6; seed 004).

`sae_best.pt`, `sae_epoch_N.pt`, `sae_final.pt`: {model_state_dict, config, ...}. relu(encoder (x - pre_bias) + bias),
with TopK the k largest of these; decoder z + pre_bias. k is not in the state dict, so it must be in the configuration,
or in the name of the run's folder (`..._topk1200_...`).

Its rows are those of one step of a run of FLUX.1-dev, counted from 0 (`timestep`), at the image's MLP of one double
block: the authors' `layer15` is `transformer_blocks[15].ff`. The pictures' size is not in the checkpoint.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import Activation, Relu, TopK
from steerwright.sae.formats.files import CheckpointFiles, Unfit, validated
from steerwright.sae.formats.fold import ImportedSae, Tensors, add_subtraction, fold_input_norm, one_dtype
from steerwright.sae.sae import NoNorm, Sae
from steerwright.sae.site import Site

_NAMES = {"pre_bias", "encoder.weight", "encoder.bias", "decoder.weight"}
_RUN = re.compile(r"sae_training_(.+?)_t(\d+)_")
_LAYER = re.compile(r"(?:layer)?(\d+)|(?:transformer\.)?transformer_blocks\.(\d+)\.ff")
_TOPK_RUN, _L1_RUN = re.compile(r"(?:^|_)topk(\d+)(?:_|$)"), re.compile(r"(?:^|_)l1[^_]*(?:_|$)")


class FluxConfig(BaseModel):
    """What of the checkpoint's `config` says how the weights are used."""

    model_config = ConfigDict(extra="ignore")

    use_topk: bool | None = None
    topk_k: int | None = None
    normalize_data: bool = False
    layer: str | int | None = None
    timestep: int | None = Field(default=None, ge=0)
    l1_coeff: float | None = None


def recognises(checkpoint: CheckpointFiles) -> bool:
    return checkpoint.is_torch and set(_state(checkpoint)) == _NAMES


def read(checkpoint: CheckpointFiles) -> ImportedSae:
    """UserError where k is not known, and for one trained on rows that were normed by statistics that it lacks."""
    raw = checkpoint.content.get("config")
    # The training run writes the same into config.json beside its checkpoints.
    raw = raw if isinstance(raw, Mapping) else checkpoint.raw("config.json") or {}
    raw = {str(name): value for name, value in raw.items()}
    config = validated(FluxConfig, raw, f"{checkpoint.weights}: config")
    if config.normalize_data:
        raise UserError(
            f"{checkpoint.weights} was trained on normed rows (normalize_data) whose mean and deviation it does not "
            "hold, so it cannot be used on any others. Ask its author for them, or for a run without."
        )
    tensors = Tensors(_state(checkpoint), checkpoint.weights)
    n, d = tensors.size("encoder.weight")
    activation = _activation(config, raw, checkpoint, n)
    run = _RUN.match(checkpoint.folder.resolve().name)
    layer = config.layer if config.layer is not None or run is None else run[1]
    timestep = config.timestep if config.timestep is not None or run is None else int(run[2])
    site = Site(
        hookpoint=_hookpoint(layer),
        steps=None if timestep is None else (timestep,),
        # FLUX has its guidance embedded: there is one branch, and it carries the prompt.
        branches=("cond",),
    )
    sae = Sae(
        tensors.take("encoder.weight", n, d),
        tensors.take("encoder.bias", n),
        tensors.take("decoder.weight", d, n).T.contiguous(),
        tensors.take("pre_bias", d),
        activation,
        site=site,
    )
    facts = {
        "architecture": "topk" if isinstance(activation, TopK) else "relu",
        "layer": layer,
        "timestep": timestep,
        "l1": config.l1_coeff,
    }
    return ImportedSae(
        sae,
        library="lucas-zhao6/FLUX",
        config={name: value for name, value in raw.items() if isinstance(value, (str, int, float, bool, type(None)))},
        facts={name: value for name, value in facts.items() if value is not None},
        lossy=tensors.left(),
    )


def write(found: ImportedSae, folder: Path) -> None:
    """`sae_final.pt`. Raises Unfit for anything but ReLU and TopK of rows as they are."""
    sae = fold_input_norm(found.sae)
    if sae.skip is not None or not isinstance(sae.input_norm, NoNorm):
        raise Unfit("it takes rows as they are and has no skip connection")
    match sae.activation:
        case Relu():
            k = None
        case TopK(k, _, by_decoder_norm) if not by_decoder_norm:
            pass
        case _:
            raise Unfit("it has ReLU (L1) and TopK only")
    sae = one_dtype(add_subtraction(sae))
    state = {
        "pre_bias": sae.decoder_bias.clone(),
        "encoder.weight": sae.encoder.clone(),
        "encoder.bias": sae.encoder_bias.clone(),
        "decoder.weight": sae.decoder.T.contiguous(),
    }
    steps, place = found.sae.site.steps, _LAYER.fullmatch((found.sae.site.hookpoint or "").partition(":")[0])
    config = {
        "layer": found.facts.get("layer", f"layer{place[2]}" if place and place[2] else None),
        "timestep": found.facts.get("timestep", steps[0] if steps is not None and len(steps) == 1 else None),
        "input_dim": sae.width,
        "hidden_dim": sae.size,
        "expansion_factor": sae.size // sae.width,
        "l1_coeff": found.facts.get("l1", 0.0),
        "use_topk": k is not None,
        "topk_k": k,
        "normalize_data": False,
    }
    torch.save({"model_state_dict": state, "config": config}, folder / "sae_final.pt")


def _state(checkpoint: CheckpointFiles) -> Mapping[str, Any]:
    inner = checkpoint.content.get("model_state_dict")
    return {str(k): v for k, v in inner.items()} if isinstance(inner, Mapping) else checkpoint.content


def _hookpoint(layer: str | int | None) -> str | None:
    """Where `layer15` of the authors' code is; None for what they do not write, such as a block without its module."""
    found = _LAYER.fullmatch(str(layer))
    return None if found is None else str(Hookpoint(f"transformer.transformer_blocks.{found[1] or found[2]}.ff"))


def _activation(config: FluxConfig, raw: Mapping[str, Any], checkpoint: CheckpointFiles, n: int) -> Activation:
    """TopK or ReLU as the configuration says; where it says nothing, as the run's folder is named; never a guess."""
    k = config.topk_k
    if config.use_topk is False or (config.use_topk is None and "topk_k" in raw and k is None):
        return Relu()
    run = checkpoint.folder.resolve().name
    if k is None and (found := _TOPK_RUN.search(run)):
        k = int(found[1])
    elif k is None and config.use_topk is None and _L1_RUN.search(run):
        return Relu()
    if k is None or not 1 <= k <= n:
        raise UserError(
            f"{checkpoint.weights}: its k is {'not in it' if k is None else k}, and neither use_topk nor the name of "
            f"its folder says that it has none ({n} latents). k is not guessed: name the folder as the training run "
            "did (sae_training_LAYER_tN_topk1200_x4_TIME), or ask its author."
        )
    return TopK(k)
