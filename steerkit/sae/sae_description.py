"""What the folder of an autoencoder says about it, in config.json: everything but its tensors."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from steerkit.sae.activation import AbsTopK, Activation, Gated, GroupMax, JumpRelu, Relu, TopK
from steerkit.sae.input_norm import ConstantNorm, InputNorm, NoNorm, PerRow, ScaleBy, Standardise
from steerkit.sae.site import Site


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ActivationEntry(_Entry):
    """An activation without its tensors (`threshold`; `gate_bias`, `mag_bias`, `r_mag`), which are with the weights."""

    kind: Literal["relu", "topk", "abstopk", "groupmax", "jumprelu", "gated"]
    k: int | None = Field(default=None, ge=1)
    relu: Literal["before", "after"] | None = None
    by_decoder_norm: bool | None = None

    @classmethod
    def of(cls, activation: Activation) -> "ActivationEntry":
        match activation:
            case Relu():
                return cls(kind="relu")
            case TopK(k, relu, by_decoder_norm):
                return cls(kind="topk", k=k, relu=relu, by_decoder_norm=by_decoder_norm)
            case AbsTopK(k):
                return cls(kind="abstopk", k=k)
            case GroupMax(k):
                return cls(kind="groupmax", k=k)
            case JumpRelu():
                return cls(kind="jumprelu")
            case Gated():
                return cls(kind="gated")

    def activation(self, tensors: Mapping[str, Tensor]) -> Activation:
        """With its tensors. Raises KeyError for one that is missing, ValueError for a setting that is."""
        match self.kind:
            case "relu":
                return Relu()
            case "topk":
                k = self._k()
                if self.relu is None or self.by_decoder_norm is None:
                    missing = "relu" if self.relu is None else "by_decoder_norm"
                    raise ValueError(f"activation topk without {missing}")
                return TopK(k, self.relu, self.by_decoder_norm)
            case "abstopk":
                return AbsTopK(self._k())
            case "groupmax":
                return GroupMax(self._k())
            case "jumprelu":
                return JumpRelu(tensors["threshold"])
            case "gated":
                return Gated(tensors["gate_bias"], tensors["mag_bias"], tensors["r_mag"])

    def _k(self) -> int:
        if self.k is None:
            raise ValueError(f"activation {self.kind} without k")
        return self.k


class InputNormEntry(_Entry):
    """An input norm without its tensors (`input_mean`, `input_std`)."""

    kind: Literal["none", "scale", "row", "constant_norm", "standardise"]
    factor: float | None = None
    eps: float | None = None
    ddof: Literal[0, 1] | None = None

    @classmethod
    def of(cls, norm: InputNorm) -> "InputNormEntry":
        match norm:
            case NoNorm():
                return cls(kind="none")
            case ScaleBy(factor):
                return cls(kind="scale", factor=factor)
            case PerRow(eps, ddof):
                return cls(kind="row", eps=eps, ddof=ddof)
            case ConstantNorm():
                return cls(kind="constant_norm")
            case Standardise():
                return cls(kind="standardise")

    def norm(self, tensors: Mapping[str, Tensor]) -> InputNorm:
        """With its tensors. Raises KeyError for one that is missing, ValueError for a setting that is."""
        match self.kind:
            case "none":
                return NoNorm()
            case "scale" if self.factor is not None:
                return ScaleBy(self.factor)
            case "row" if self.eps is not None and self.ddof is not None:
                return PerRow(self.eps, self.ddof)
            case "constant_norm":
                return ConstantNorm()
            case "standardise":
                return Standardise(tensors["input_mean"], tensors["input_std"])
        raise ValueError(f"input_norm {self.kind} without its numbers")


class Provenance(_Entry):
    """What an imported autoencoder was read from."""

    format: str
    """Name of the format, as `steerkit sae import --format` takes it."""
    library: str
    version: str | None
    """The library's version, where the checkpoint says it."""
    files: dict[str, str]
    """SHA-256 (hex) by file name."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The checkpoint's own configuration, as it was."""


class SaeDescription(_Entry):
    """All that config.json says."""

    schema_name: Literal["steerkit.sae"]
    schema_version: Literal[1]
    latents: int = Field(ge=1)
    width: int = Field(ge=1)
    dtype: Literal["float64", "float32", "float16", "bfloat16"]
    activation: ActivationEntry
    input_norm: InputNormEntry
    subtract_bias: bool
    site: Site
    training: dict[str, Any]
    provenance: Provenance | None
    lossy: tuple[str, ...]


def tensor_shapes(found: SaeDescription) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that an autoencoder so described has; `input_bias` and `skip` may be absent."""
    n, d = found.latents, found.width
    shapes: dict[str, tuple[int, ...]] = {
        "encoder": (n, d),
        "encoder_bias": (n,),
        "decoder": (n, d),
        "decoder_bias": (d,),
        "input_bias": (d,),
        "skip": (d, d),
    }
    if found.activation.kind == "jumprelu":
        shapes["threshold"] = (n,)
    if found.activation.kind == "gated":
        shapes |= {"gate_bias": (n,), "mag_bias": (n,), "r_mag": (n,)}
    if found.input_norm.kind == "standardise":
        shapes |= {"input_mean": (d,), "input_std": (d,)}
    return shapes
