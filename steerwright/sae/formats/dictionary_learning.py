"""dictionary_learning 0.1: ae.pt (a state dict, or a backup that holds one) and config.json.

Each of its classes has its own names and habits; `_CLASSES` lists them. Whether the bias is subtracted is as its code
does it: not by AutoEncoderNew, and not by JumpReluAutoEncoder.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerwright.errors import UserError
from steerwright.sae.activations import Activation, Gated, JumpRelu, Relu, TopK
from steerwright.sae.formats.files import CheckpointFiles, Unfit
from steerwright.sae.formats.fold import (
    ImportedSae,
    Tensors,
    add_subtraction,
    common_threshold,
    fold_input_norm,
    fold_subtraction,
    one_dtype,
    unit_decoder,
)
from steerwright.sae.sae import NoNorm, Sae

_WEIGHTS, _CONFIG = "ae.pt", "config.json"
_PREFIXES = ("_orig_mod.", "module.")


@dataclass(frozen=True, slots=True)
class _Class:
    """Names of a class's tensors. `linear`: encoder.weight [n, d] and decoder.weight [d, n], else W_enc and W_dec."""

    linear: bool
    encoder_bias: str | None
    bias: str
    own: frozenset[str]
    subtracts: bool = True

    @property
    def names(self) -> frozenset[str]:
        matrices = {"encoder.weight", "decoder.weight"} if self.linear else {"W_enc", "W_dec"}
        return frozenset(matrices | {self.bias} | ({self.encoder_bias} if self.encoder_bias else set()) | self.own)


_CHOSEN = frozenset({"k", "threshold"})
_CLASSES = {
    "AutoEncoder": _Class(True, "encoder.bias", "bias", frozenset()),
    "AutoEncoderNew": _Class(True, "encoder.bias", "decoder.bias", frozenset(), subtracts=False),
    "GatedAutoEncoder": _Class(True, None, "decoder_bias", frozenset({"gate_bias", "mag_bias", "r_mag"})),
    "JumpReluAutoEncoder": _Class(False, "b_enc", "b_dec", frozenset({"threshold"}), subtracts=False),
    "AutoEncoderTopK": _Class(True, "encoder.bias", "b_dec", _CHOSEN),
    "BatchTopKSAE": _Class(True, "encoder.bias", "b_dec", _CHOSEN),
    "MatryoshkaBatchTopKSAE": _Class(False, "b_enc", "b_dec", _CHOSEN | {"group_sizes"}),
}
CLASSES = tuple(_CLASSES)


def recognises(checkpoint: CheckpointFiles) -> bool:
    return checkpoint.is_torch and bool(_fitting(_state(checkpoint)))


def reader(class_name: str | None) -> Callable[[CheckpointFiles], ImportedSae]:
    """A reader of checkpoints of the class `class_name`, or of the one that their config.json names."""

    def read(checkpoint: CheckpointFiles) -> ImportedSae:
        state = _state(checkpoint)
        config = _config(checkpoint)
        trainer = config.get("trainer", config)
        return _read(checkpoint, state, trainer, config, class_name or _class_of(checkpoint, state, trainer))

    return read


def write(found: ImportedSae, folder: Path) -> None:
    """ae.pt and config.json for `load_dictionary`. Raises Unfit for what no class of dictionary_learning has."""
    sae = fold_input_norm(found.sae)
    if sae.skip is not None:
        raise Unfit("it has a skip connection, which dictionary_learning does not")
    if not isinstance(sae.input_norm, NoNorm):
        raise Unfit("dictionary_learning takes rows as they are, and this one norms each row")
    name, own = _written_class(sae, found.facts)
    shape = _CLASSES[name]
    sae = one_dtype(add_subtraction(sae) if shape.subtracts else fold_subtraction(sae))
    if isinstance(sae.activation, Gated):
        own = {
            "gate_bias": sae.activation.gate_bias.to(sae.encoder),
            "mag_bias": sae.activation.mag_bias.to(sae.encoder),
            "r_mag": sae.activation.r_mag.to(sae.encoder),
        }
    state = {shape.bias: sae.decoder_bias, **own}
    if shape.linear:
        state |= {"encoder.weight": sae.encoder, "decoder.weight": sae.decoder.T.contiguous()}
    else:
        state |= {"W_enc": sae.encoder.T.contiguous(), "W_dec": sae.decoder}
    if shape.encoder_bias:
        state[shape.encoder_bias] = sae.encoder_bias
    torch.save({key: tensor.contiguous().clone() for key, tensor in state.items()}, folder / _WEIGHTS)
    trainer: dict[str, Any] = {"dict_class": name, "activation_dim": sae.width, "dict_size": sae.size}
    if "k" in state:
        trainer["k"] = int(state["k"])
    if "group_sizes" in state:
        trainer["group_sizes"] = state["group_sizes"].tolist()
    (folder / _CONFIG).write_text(json.dumps({"trainer": trainer}, indent=4), encoding="utf-8")


def _state(checkpoint: CheckpointFiles) -> Mapping[str, Any]:
    """The state dict, out of a backup if need be, its names without the prefixes that wrappers leave."""
    found = checkpoint.content
    if isinstance(found.get("ae"), Mapping):
        found = found["ae"]
    clean = {}
    for name, value in found.items():
        bare = str(name)
        while bare.startswith(_PREFIXES):
            bare = bare.split(".", 1)[1]
        clean[bare] = value
    return clean


def _config(checkpoint: CheckpointFiles) -> Mapping[str, Any]:
    """config.json beside the weights, or above a folder of checkpoints; or what a backup holds of it."""
    found = checkpoint.raw(_CONFIG)
    if found is None and checkpoint.folder.resolve().name == "checkpoints":
        found = checkpoint.raw_above(_CONFIG)
    if found is None and isinstance(inner := checkpoint.content.get("config"), Mapping):
        found = dict(inner)
    return found or {}


def _fitting(state: Mapping[str, Any]) -> list[str]:
    """Classes with just these names; k and threshold may be missing, as in its first versions."""
    names = frozenset(state)
    return [
        name for name, shape in _CLASSES.items() if names == shape.names or (names | _CHOSEN) == shape.names >= _CHOSEN
    ]


def _class_of(checkpoint: CheckpointFiles, state: Mapping[str, Any], trainer: Mapping[str, Any]) -> str:
    named = trainer.get("dict_class")
    fitting = _fitting(state)
    if named is not None:
        if named not in _CLASSES:
            raise UserError(f"{checkpoint.weights} is of class {named!r}; known are {', '.join(CLASSES)}.")
        if fitting and named not in fitting:
            raise UserError(
                f"{checkpoint.weights} holds {' or '.join(fitting)}, but {_CONFIG} says {named}. Say which with "
                f"--format dictionary_learning:{fitting[0]}, if you know it."
            )
        return str(named)
    if len(fitting) == 1:
        return fitting[0]
    choices = ", ".join(f"dictionary_learning:{name}" for name in fitting or CLASSES)
    raise UserError(
        f"{checkpoint.weights} may be {' or '.join(fitting or ['any class of dictionary_learning'])}, and no {_CONFIG} "
        f"says which. Say it with --format, one of {choices}."
    )


def _read(
    checkpoint: CheckpointFiles,
    state: Mapping[str, Any],
    trainer: Mapping[str, Any],
    config: Mapping[str, Any],
    name: str,
) -> ImportedSae:
    shape = _CLASSES[name]
    tensors = Tensors(state, checkpoint.weights)
    if shape.linear:
        n, d = tensors.size("encoder.weight")
        encoder, decoder = tensors.take("encoder.weight", n, d), tensors.take("decoder.weight", d, n).T.contiguous()
    else:
        d, n = tensors.size("W_enc")
        encoder, decoder = tensors.take("W_enc", d, n).T.contiguous(), tensors.take("W_dec", n, d)
    bias = tensors.take(shape.bias, d)
    encoder_bias = tensors.take(shape.encoder_bias, n) if shape.encoder_bias else encoder.new_zeros(n)
    activation, facts, notes = _activation(name, tensors, trainer, n, checkpoint)
    if "group_sizes" in tensors:
        facts["groups"] = [int(size) for size in tensors.kept("group_sizes")["group_sizes"].flatten()]
    sae = Sae(encoder, encoder_bias, decoder, bias, activation, subtract_bias=shape.subtracts)
    factor = checkpoint.content.get("norm_factor") if "ae" in checkpoint.content else None
    if isinstance(factor, (int, float, Tensor)) and float(factor) != 1:
        sae = _scaled_biases(sae, float(factor))
        notes.append(
            f"a backup of training on rows over {float(factor):.6g}: its biases are scaled as at the end of it"
        )
    facts |= {key: trainer[key] for key in ("lm_name", "layer", "submodule_name") if trainer.get(key) is not None}
    return ImportedSae(
        sae,
        library="dictionary_learning",
        config=dict(config),
        facts={"architecture": name, **facts},
        lossy=tensors.left(),
        notes=tuple(notes),
    )


def _activation(
    name: str, tensors: Tensors, trainer: Mapping[str, Any], n: int, checkpoint: CheckpointFiles
) -> tuple[Activation, dict[str, Any], list[str]]:
    """The activation, what else its tensors say, and what to tell the user who imports it."""
    if name in ("AutoEncoder", "AutoEncoderNew"):
        return Relu(), {}, []
    if name == "GatedAutoEncoder":
        return Gated(tensors.take("gate_bias", n), tensors.take("mag_bias", n), tensors.take("r_mag", n)), {}, []
    if name == "JumpReluAutoEncoder":
        return JumpRelu(tensors.take("threshold", n)), {}, []
    k: Any = tensors.number("k") if "k" in tensors else trainer.get("k")
    threshold = tensors.number("threshold") if "threshold" in tensors else None
    if isinstance(k, bool) or not isinstance(k, (int, float)) or k != int(k) or not 1 <= k <= n:
        raise UserError(
            f"{checkpoint.weights}: k is {k}; {name} with {n} latents needs 1 to {n}, in it or in {_CONFIG}."
        )
    k = int(k)
    if name == "AutoEncoderTopK":
        return TopK(k), {"threshold": threshold} if threshold is not None and threshold >= 0 else {}, []
    if threshold is None:
        raise UserError(
            f"{checkpoint.weights}: {name} without threshold, which says what latents are active. It is not guessed: "
            "load it in its own library, set the threshold on data, and save it again."
        )
    notes = []
    if threshold < 0:
        notes.append(
            f"its threshold was never set ({threshold:g}): every positive pre-activation is a latent, as in the "
            f"library, not k = {k} of them"
        )
    return JumpRelu(torch.full((n,), threshold)), {"k": k}, notes


def _scaled_biases(sae: Sae, factor: float) -> Sae:
    """What dictionary_learning's scale_biases does: rows were divided by `factor`, and are no longer."""
    activation = sae.activation
    match activation:
        case JumpRelu(threshold):
            activation = JumpRelu(torch.where(threshold >= 0, threshold * factor, threshold))
        case Gated(gate_bias, mag_bias, r_mag):
            activation = Gated(gate_bias * factor, mag_bias * factor, r_mag)
    return replace(
        sae,
        encoder_bias=sae.encoder_bias * factor,
        decoder_bias=sae.decoder_bias * factor,
        activation=activation,
    )


def _written_class(sae: Sae, facts: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
    """The class that gives the same latents when dictionary_learning loads it, and the tensors that are its own."""
    match sae.activation:
        case Relu():
            # AutoEncoder.from_pretrained rescales latents unless the decoder has length 1; AutoEncoderNew never does.
            subtracts = sae.subtract_bias or sae.input_bias is not None
            return "AutoEncoder" if subtracts and unit_decoder(sae) else "AutoEncoderNew", {}
        case TopK(k, _, by_decoder_norm) if not by_decoder_norm:
            threshold = float(facts.get("threshold", -1.0))
            return "AutoEncoderTopK", {"k": torch.tensor(k, dtype=torch.int32), "threshold": torch.tensor(threshold)}
        case Gated():
            return "GatedAutoEncoder", {}
        case JumpRelu(thresholds):
            # Where steerwright trained it, k is in its configuration.
            common, average = common_threshold(sae), facts.get("k", (facts.get("config") or {}).get("k"))
            if common is None or not sae.subtract_bias or not isinstance(average, int):
                return "JumpReluAutoEncoder", {"threshold": thresholds}
            own = {"k": torch.tensor(average, dtype=torch.int32), "threshold": torch.tensor(common)}
            groups = facts.get("groups")
            if facts.get("architecture") == "MatryoshkaBatchTopKSAE" and groups and sum(groups) == sae.size:
                return "MatryoshkaBatchTopKSAE", own | {"group_sizes": torch.tensor(groups)}
            return "BatchTopKSAE", own
    raise Unfit("dictionary_learning has no such activation")
