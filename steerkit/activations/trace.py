"""Record what modules compute through nnsight, and hand the loaded model to nnsight for experiments of one's own.

nnsight sees a module's tensors as its forward takes and gives them: edits that PyTorch hooks make (steerkit's own) come
after. Hooks and traces of an unedited model give the same tensors; a test holds this.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steerkit.activations.record import update
from steerkit.models.branches import Running, track
from steerkit.models.denoiser import execution_device
from steerkit.models.hookpoint import Hookpoint, resolved_path
from steerkit.models.streams import cut_input, cut_output


def trace_text(pipeline: Any, token_ids: Tensor, hookpoints: Iterable[Hookpoint]) -> dict[Hookpoint, Tensor]:
    """The tensors at `hookpoints` of one forward of the text encoder on `token_ids` [n, tokens], on its device.

    UserError when a hookpoint does not exist; ValueError when one lies outside the text encoder.
    """
    wanted = _paths(pipeline, hookpoints, root="text_encoder")
    found: dict[Hookpoint, list[Tensor]] = {hookpoint: [] for hookpoint in wanted}
    nnsight = _import_nnsight()
    running = Running(pipeline)
    with uninstrumented_after(pipeline.text_encoder), torch.inference_mode():
        encoder = nnsight.NNsight(pipeline.text_encoder)
        with encoder.trace() as tracer:
            with tracer.invoke(token_ids.to(execution_device(pipeline, pipeline.text_encoder))):
                pass
            # An invoke of its own for each, since nnsight wants the accesses of one invoke in the order of execution.
            for hookpoint, path in wanted.items():
                with tracer.invoke():
                    found[hookpoint].append(_read(_descend(encoder, path[1:]), hookpoint, running))
    return {hookpoint: tensors[0] for hookpoint, tensors in found.items()}


def trace_images(
    pipeline: Any, hookpoints: Iterable[Hookpoint], prompts: list[str], **call: Any
) -> tuple[dict[Hookpoint, list[Tensor]], Any]:
    """The tensors at `hookpoints`, one per forward of the module, during one call of the pipeline; and its output.

    `call` is what the pipeline takes besides the prompts (num_inference_steps, generator, ...).
    """
    wanted = _paths(pipeline, hookpoints, root=None)
    found: dict[Hookpoint, list[Tensor]] = {hookpoint: [] for hookpoint in wanted}
    outputs: list[Any] = []
    nnsight = _import_nnsight()
    with uninstrumented_after(pipeline), torch.inference_mode(), _quiet_open_loops(), track(pipeline) as running:
        model = as_nnsight(pipeline)
        with model.trace(**call) as tracer:
            with tracer.invoke(prompts):
                outputs.append(nnsight.save(model.output))
            for hookpoint, path in wanted.items():
                with tracer.invoke():
                    for _ in tracer.iter[:]:
                        found[hookpoint].append(_read(_descend(model, path), hookpoint, running))
    return found, outputs[0]


def as_nnsight(pipeline: Any) -> Any:
    """nnsight's DiffusionModel around the loaded `pipeline`: the same weights, its modules as `model.unet`, ...

    nnsight instruments the modules for good; wrap its use in `uninstrumented_after(pipeline)` to undo that.
    """
    model = _import_nnsight().DiffusionModel(_PipelineModule(pipeline))
    model.pipeline = pipeline
    return model


@contextmanager
def uninstrumented_after(owner: Any) -> Iterator[None]:
    """Take off, when the block ends, what nnsight put on the modules of `owner` (a module or a pipeline)."""
    components = [owner] if isinstance(owner, nn.Module) else owner.components.values()
    modules = [m for component in components if isinstance(component, nn.Module) for m in component.modules()]
    before = [{name: vars(module).get(name) for name in _INSTRUMENTS} for module in modules]
    try:
        yield
    finally:
        for module, held in zip(modules, before, strict=True):
            for name, value in held.items():
                if value is None:
                    vars(module).pop(name, None)
                else:
                    vars(module)[name] = value


# What nnsight writes into the instance dictionary of every module that it wraps.
_INSTRUMENTS = ("forward", "__nnsight__")


class _PipelineModule(nn.Module):
    """A pipeline as a module whose children are its models and whose forward is one call."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        for name, component in pipeline.components.items():
            if isinstance(component, nn.Module):
                self.add_module(name, component)
        self.pipeline = pipeline

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.pipeline(*args, **kwargs)


def _import_nnsight() -> Any:
    """Import nnsight without the method `.save` that it would give to every object of the process.

    PIL images and others have a `save` of their own, and libraries ask `hasattr(x, "save")`: nnsight.save(x) serves.
    """
    import nnsight
    from nnsight._c import unmount

    if unmount is not None and hasattr(object, "save"):
        unmount("save")
    return nnsight


def _paths(pipeline: Any, hookpoints: Iterable[Hookpoint], root: str | None) -> dict[Hookpoint, list[str]]:
    paths = {hookpoint: resolved_path(pipeline, hookpoint).split(".") for hookpoint in dict.fromkeys(hookpoints)}
    for hookpoint, path in paths.items():
        if root is not None and path[0] != root:
            raise ValueError(f"hookpoint {hookpoint} lies outside {root}")
    return paths


def _descend(envoy: Any, path: list[str]) -> Any:
    for name in path:
        envoy = envoy[int(name)] if name.isdigit() else getattr(envoy, name)
    return envoy


def _read(envoy: Any, hookpoint: Hookpoint, running: Running) -> Tensor:
    if hookpoint.where == "out":
        return cut_output(hookpoint, envoy.output, running).detach().clone()
    args, kwargs = envoy.inputs
    if hookpoint.where == "in":
        return cut_input(hookpoint, args, kwargs, running).detach().clone()
    return update(hookpoint, args, kwargs, cut_output(hookpoint, envoy.output, running), running)


@contextmanager
def _quiet_open_loops() -> Iterator[None]:
    # nnsight warns whenever an open loop over steps ends, which is how ours ends by design.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was never reached.*", category=UserWarning)
        yield
