"""Families of pipelines, one file each, by the name that params.yaml gives. A new one is a `Family`, registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steerwright.errors import UserError
from steerwright.models.families.family import Family, Step, is_module
from steerwright.models.families.flux import Flux
from steerwright.models.families.sd import StableDiffusion

if TYPE_CHECKING:
    import torch
    from torch import nn

    from steerwright.models.hookpoints import Hookpoint

__all__ = ["FAMILIES", "Family", "Step", "denoiser", "execution_device", "family_of", "family_or_none", "in_denoiser"]

FAMILIES: dict[str, Family] = {}


def register(made: Family) -> None:
    """Add a family; of two that match a pipeline the later one has it."""
    FAMILIES[made.name] = made


register(StableDiffusion())
register(Flux())


def family_or_none(pipeline: Any) -> Family | None:
    """The family of `pipeline`; None for one with nothing that denoises. UserError for a denoiser of no family."""
    found = next((family for family in reversed(FAMILIES.values()) if family.matches(pipeline)), None)
    roots = dict.fromkeys(family.root for family in FAMILIES.values())
    if found is None and (there := [root for root in roots if is_module(getattr(pipeline, root, None))]):
        kind = type(getattr(pipeline, there[0])).__name__
        raise UserError(
            f"{type(pipeline).__name__} denoises by a {kind}, which is of none of the families "
            f"{', '.join(FAMILIES)}; add one (steerwright.models.families.register)."
        )
    return found


def family_of(pipeline: Any) -> Family:
    """The family of `pipeline`; UserError for one of none."""
    found = family_or_none(pipeline)
    if found is None:
        nouns = " nor a ".join(dict.fromkeys(family.noun for family in FAMILIES.values()))
        raise UserError(f"{type(pipeline).__name__} has neither a {nouns}, so nothing in it denoises.")
    return found


def denoiser(pipeline: Any) -> Any:
    """The network that denoises; UserError for a pipeline that has none."""
    return getattr(pipeline, family_of(pipeline).root)


def in_denoiser(hookpoint: Hookpoint) -> bool:
    """Whether `hookpoint` lies in a denoiser, so that it runs once for every denoising step."""
    return hookpoint.path.split(".")[0] in {family.root for family in FAMILIES.values()}


def execution_device(pipeline: Any, module: nn.Module) -> torch.device:
    """Where `module` computes: where its weights are, or, if they are offloaded, where they will be brought."""
    import torch

    here = next((parameter.device for parameter in module.parameters()), None)
    if here is None or here.type in ("cpu", "meta"):
        for part in (module, *_components_with(pipeline, module)):
            for inner in part.modules():
                device = getattr(getattr(inner, "_hf_hook", None), "execution_device", None)
                if device is not None:
                    return torch.device(device)
    return here or torch.device(getattr(pipeline, "device", "cpu"))


def _components_with(pipeline: Any, module: nn.Module) -> list[nn.Module]:
    components = [part for part in getattr(pipeline, "components", {}).values() if is_module(part)]
    return [part for part in components if any(inner is module for inner in part.modules())]
