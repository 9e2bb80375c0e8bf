"""A sparse autoencoder on disk: a folder with config.json and sae.safetensors. Normative: docs/formats.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steerwright.errors import UserError
from steerwright.files import NewFolder, lfs_pointer_in
from steerwright.former_name import current
from steerwright.models.fingerprint import same_digest
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.activations import ACTIVATIONS, Activation
from steerwright.sae.sae import ConstantNorm, InputNorm, NoNorm, PerRow, Sae, ScaleBy, Standardise
from steerwright.sae.site import Site

# What the folder of an autoencoder says about it, in config.json: everything but its tensors.


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ActivationEntry(_Entry):
    """An activation without its tensors (`threshold`; `gate_bias`, `mag_bias`, `r_mag`), which are with the weights."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
    k: int | None = Field(default=None, ge=1)
    relu: Literal["before", "after"] | None = None
    by_decoder_norm: bool | None = None

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in ACTIVATIONS:
            raise ValueError(f"activation {kind!r} does not exist; there are {', '.join(ACTIVATIONS)}")
        return kind

    @model_validator(mode="after")
    def _settings(self) -> Self:
        # Fields that an activation brings along are allowed, those of no activation are not.
        if unknown := sorted(set(self.model_extra or {}) - set(ACTIVATIONS[self.kind].setting_names())):
            raise ValueError(f"activation {self.kind} has no {', '.join(unknown)}")
        return self

    @classmethod
    def of(cls, activation: Activation) -> Self:
        settings = {name: getattr(activation, name) for name in activation.setting_names()}
        return cls(kind=activation.kind, **settings)

    def activation(self, tensors: Mapping[str, Tensor]) -> Activation:
        """With its tensors. Raises KeyError for one that is missing, ValueError for a setting that is."""
        known = ACTIVATIONS[self.kind]
        settings = {name: getattr(self, name, None) for name in known.setting_names()}
        if missing := [name for name, value in settings.items() if value is None]:
            raise ValueError(f"activation {self.kind} without {missing[0]}")
        return known(**settings, **{name: tensors[name] for name in known.tensor_names()})


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
    """Name of the format, as `steerwright sae import --format` takes it."""
    library: str
    version: str | None
    """The library's version, where the checkpoint says it."""
    files: dict[str, str]
    """SHA-256 (hex) by file name."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The checkpoint's own configuration, as it was."""


class SaeDescription(_Entry):
    """All that config.json says."""

    schema_name: Literal["steerwright.sae"]
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
    shapes |= {name: (n,) for name in ACTIVATIONS[found.activation.kind].tensor_names()}
    if found.input_norm.kind == "standardise":
        shapes |= {"input_mean": (d,), "input_std": (d,)}
    return shapes


SCHEMA: Literal["steerwright.sae"] = "steerwright.sae"
VERSION: Literal[1] = 1
CONFIG, WEIGHTS = "config.json", "sae.safetensors"
EXTRA = "extra."
_MAY_BE_ABSENT = {"input_bias", "skip"}


def save_sae(
    sae: Sae,
    folder: Path,
    facts: Mapping[str, Any] | None = None,
    *,
    provenance: Provenance | None = None,
    lossy: Sequence[str] = (),
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write `sae` to `folder`: all of it or nothing. The same autoencoder and facts give the same bytes.

    `facts`: what is known of its training, as JSON (architecture, rows, final metrics, ...). `lossy`: what the import
    could not keep, one line each. `extra`: tensors to keep with it that it does not need. An autoencoder that is in
    `folder` is replaced; a UserError where anything else is.
    """
    described: dict[str, Any] = {
        "schema_name": SCHEMA,
        "schema_version": VERSION,
        "latents": sae.size,
        "width": sae.width,
        "dtype": str(sae.encoder.dtype).removeprefix("torch."),
        "activation": ActivationEntry.of(sae.activation),
        "input_norm": InputNormEntry.of(sae.input_norm),
        "subtract_bias": sae.subtract_bias,
        "site": sae.site,
        "training": dict(facts or {}),
        "provenance": provenance,
        "lossy": tuple(lossy),
    }
    description = SaeDescription.model_validate(described)
    tensors = _tensors(sae)
    _check(description, tensors)
    tensors |= {EXTRA + name: tensor.detach() for name, tensor in (extra or {}).items()}
    text = json.dumps(description.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=False)
    with NewFolder(folder, is_sae_folder) as new:
        # Copies: safetensors refuses tensors that share memory, as a tied encoder and decoder do.
        save_file({name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, new / WEIGHTS)
        (new / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_sae(folder: Path, site: Site | None = None, allow_mismatch: bool = False) -> Sae:
    """Read the autoencoder of `folder`; nothing in it is ever executed.

    With `site`, an autoencoder of other rows is refused with what differs, unless `allow_mismatch`. Raises UserError
    too for a folder that is missing, holds no autoencoder of this version, or a damaged one.
    """
    found = describe_sae(folder)
    if site is not None:
        require_fit(found.site, site, f"in {folder}", allow_mismatch=allow_mismatch)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} has a {CONFIG} but no {WEIGHTS}; train or import the autoencoder again.")
    try:
        with safe_open(str(folder / WEIGHTS), framework="pt") as file:
            names = sorted(file.keys())
            tensors = {name: file.get_tensor(name) for name in names if not name.startswith(EXTRA)}
        _check(found, tensors)
        return Sae(
            encoder=tensors["encoder"],
            encoder_bias=tensors["encoder_bias"],
            decoder=tensors["decoder"],
            decoder_bias=tensors["decoder_bias"],
            activation=found.activation.activation(tensors),
            input_norm=found.input_norm.norm(tensors),
            subtract_bias=found.subtract_bias,
            input_bias=tensors.get("input_bias"),
            skip=tensors.get("skip"),
            site=found.site,
        )
    except (SafetensorError, OSError, ValueError) as error:
        if (pointer := lfs_pointer_in(folder)) is not None:
            raise UserError(pointer) from error
        raise UserError(f"The autoencoder in {folder} is damaged: {error}. Train or import it again.") from error


def load_extra(folder: Path) -> dict[str, Tensor]:
    """The tensors that `save_sae` was given as `extra`; `folder` must be one that `load_sae` accepts."""
    with safe_open(str(folder / WEIGHTS), framework="pt") as file:
        names = sorted(file.keys())
        return {name.removeprefix(EXTRA): file.get_tensor(name) for name in names if name.startswith(EXTRA)}


def describe_sae(folder: Path) -> SaeDescription:
    """What config.json of `folder` says, without reading a weight. UserError as for `load_sae`."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"There is no autoencoder in {folder}: no {CONFIG}. Train or import one, or correct the path.")
    try:
        found = current(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}. Train or import the autoencoder again.") from error
    if not isinstance(found, dict) or found.get("schema_name") != SCHEMA:
        raise UserError(
            f"{path} does not describe one of our autoencoders. `steerwright sae import` reads those of others."
        )
    if found.get("schema_version") != VERSION:
        raise UserError(
            f"{path} is written in version {found.get('schema_version')} of the format; this steerwright reads version "
            f"{VERSION}. Use the steerwright that wrote it, or train the autoencoder again."
        )
    try:
        described = SaeDescription.model_validate(found)
        if described.provenance is not None and described.site.unknown is None:
            # Imported before there was `unknown`: nobody said anything about these parts.
            described = described.model_copy(update={"site": described.site.imported()})
        return described
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise UserError(f"{path} is damaged at {fields}. Train or import the autoencoder again.") from error


def is_sae_folder(folder: Path) -> bool:
    """Whether `folder` holds an autoencoder in this format, of whatever version."""
    try:
        found = current(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("schema_name") == SCHEMA


def _tensors(sae: Sae) -> dict[str, Tensor]:
    named: dict[str, Tensor | None] = {
        "encoder": sae.encoder,
        "encoder_bias": sae.encoder_bias,
        "decoder": sae.decoder,
        "decoder_bias": sae.decoder_bias,
        "input_bias": sae.input_bias,
        "skip": sae.skip,
    }
    named |= {name: getattr(sae.activation, name) for name in sae.activation.tensor_names()}
    if isinstance(sae.input_norm, Standardise):
        named |= {"input_mean": sae.input_norm.mean, "input_std": sae.input_norm.std}
    return {name: tensor.detach() for name, tensor in named.items() if tensor is not None}


def _check(description: SaeDescription, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where description and tensors do not agree."""
    shapes = tensor_shapes(description)
    if unknown := sorted(set(tensors) - set(shapes)):
        raise ValueError(f"unknown tensors {', '.join(unknown)}")
    for name, shape in shapes.items():
        if name not in tensors:
            if name not in _MAY_BE_ABSENT:
                raise ValueError(f"no tensor {name}")
        elif tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} is {list(tensors[name].shape)}, not {list(shape)}")
        elif not tensors[name].is_floating_point():
            raise ValueError(f"{name} is {tensors[name].dtype}, not floating point")
    k, latents = description.activation.k, description.latents
    if k is not None and (k > latents or (description.activation.kind == "groupmax" and latents % k)):
        raise ValueError(f"{description.activation.kind} with k = {k} of {latents} latents")


def require_hookpoint(own: Site, what: str) -> Hookpoint:
    """Where the autoencoder `what` belongs; UserError where it does not say."""
    if own.hookpoint is None:
        raise UserError(
            f"The autoencoder {what} does not say at which hookpoint it belongs; import it with --hookpoint, or write "
            "its hookpoint beside its folder in params.yaml."
        )
    return Hookpoint.parse(own.hookpoint)


# Whether an autoencoder and the rows that it is to meet belong together.


def site_differences(own: Site, met: Site) -> list[str]:
    """What two sites do not agree on, one line each ("hookpoint: A here, B there"); empty if they fit.

    `own` is the site of an autoencoder, `met` that of rows; what rows do not have is not compared. Rows of some of its
    steps and branches fit, rows of others do not: one that was trained on all steps fits any, one that was trained
    on step 9 does not fit step 12, and one of which nobody says the steps fits none.
    """
    found = []
    for name in ("model", "hookpoint", "steps", "branches", "grid", "resolution"):
        mine, theirs = getattr(own, name), getattr(met, name)
        if name == "branches" and (met.hookpoint or "").startswith("transformer."):
            continue  # FLUX has its guidance embedded: there is one branch
        if name in (own.unknown or ()):
            rows = f"a grid of {met.grid}" if name == "resolution" and theirs is None and met.grid else theirs
            found += [f"{name}: not known and {rows}"] if rows is not None else []
            continue
        if mine is None or theirs is None or mine == theirs:
            continue
        if name == "model" and same_digest(mine, theirs):
            continue
        if name in ("steps", "branches") and set(theirs) <= set(mine):
            continue
        found.append(f"{name}: {mine} and {theirs}")
    return found


def require_fit(own: Site, met: Site, what: str, *, allow_mismatch: bool = False) -> list[str]:
    """What `own`, the site of the autoencoder `what`, and the rows that it is to meet differ in: [] if they fit.

    Raises UserError that names each difference, unless `allow_mismatch`.
    """
    found = site_differences(own, met)
    if found and not allow_mismatch:
        unknown = [name for name in own.unknown or () if any(line.startswith(f"{name}:") for line in found)]
        how = (
            "What is not known fits no rows. If you know it, state it: `steerwright sae import` with "
            f"{', '.join('--' + name for name in unknown)}, or {', '.join(name + ':' for name in unknown)} beside its "
            "folder in params.yaml. Else choose"
            if unknown
            else "Choose"
        )
        raise UserError(
            f"The autoencoder {what} {'may have been' if len(unknown) == len(found) else 'was'} trained on other rows "
            "than those that it is to be used on:\n"
            + "\n".join(f"  - {line}" for line in found)
            + f"\nIts own come first. {how} another autoencoder, or allow the mismatch (allow_mismatch) if you mean it."
        )
    return found
