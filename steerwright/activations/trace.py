"""Record what modules compute through nnsight, and hand the loaded model to nnsight for experiments of one's own.

nnsight sees a module's tensors as its forward takes and gives them: edits that PyTorch hooks make (our own) come
after. Hooks and traces of an unedited model give the same tensors; a test holds this.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steerwright.activations.record import update
from steerwright.arguments import seed_list
from steerwright.errors import UserError
from steerwright.models.families import execution_device, family_of
from steerwright.models.hookpoints import Hookpoint, cut_input, cut_output, resolved_path
from steerwright.models.running import PipelineState, track

if TYPE_CHECKING:
    from steerwright.models.spec import ModelSpec


def trace_text(pipeline: Any, token_ids: Tensor, hookpoints: Iterable[Hookpoint]) -> dict[Hookpoint, Tensor]:
    """The tensors at `hookpoints` of one forward of the text encoder on `token_ids` [n, tokens], on its device.

    UserError when a hookpoint does not exist; ValueError when one lies outside the text encoder.
    """
    wanted = _paths(pipeline, hookpoints, root="text_encoder")
    found: dict[Hookpoint, list[Tensor]] = {hookpoint: [] for hookpoint in wanted}
    nnsight = _import_nnsight()
    running = PipelineState(pipeline)
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


def as_nnsight(model: Any) -> Any:
    """nnsight's own model around what is loaded: the same weights, for traces and edits of one's own (docs/nnsight.md).

    `model` is a LoadedModel or a diffusers pipeline (its modules are `model.unet`, ...), or a LanguageModel
    (`model.model.layers`, ...). Pictures take `seed`: one whole number, from which the images of a batch count up, or
    one for each image; with equal steps and guidance the picture is that of `make_pictures`. A LoadedModel's own steps
    and guidance are those of a call outside of a trace; a trace takes one step unless told otherwise. UserError for an
    argument that the pipeline has not, which diffusers would drop in silence.

    nnsight instruments the modules for good; wrap its use in `uninstrumented_after(pipeline)` to undo that.
    """
    nnsight = _import_nnsight()
    if hasattr(model, "tokenizer") and isinstance(getattr(model, "model", None), nn.Module):
        return nnsight.TransformersModel(model.model, task="text-generation", tokenizer=model.tokenizer)
    pipeline = getattr(model, "pipeline", model)
    found = nnsight.DiffusionModel(_PipelineModule(pipeline, getattr(model, "spec", None)))
    found.pipeline = pipeline
    return found


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

    def __init__(self, pipeline: Any, spec: ModelSpec | None = None) -> None:
        super().__init__()
        for name, component in pipeline.components.items():
            if isinstance(component, nn.Module):
                self.add_module(name, component)
        self.pipeline = pipeline
        self._spec = spec

    def forward(self, *args: Any, seed: Any = None, **kwargs: Any) -> Any:
        names = list(inspect.signature(type(self.pipeline).__call__).parameters)[1:]
        # The pipeline's **kwargs are two callbacks of old; whatever else they hold it drops without a word.
        unknown = sorted(set(kwargs) - {*names, "callback", "callback_steps"})
        if unknown:
            raise UserError(
                f"{type(self.pipeline).__name__} takes no {', '.join(unknown)}; choose among seed, {', '.join(names)}."
            )
        asked = {**dict(zip(names, args, strict=False)), **kwargs}
        for name, value in self._own().items():
            asked.setdefault(name, value)
        if seed is not None:
            if asked.get("generator") is not None:
                raise UserError("seed and generator both say where the noise comes from; give one of them.")
            asked["generator"] = _generators(seed, _images(asked))
        return self.pipeline(**asked)

    def _own(self) -> dict[str, Any]:
        """What this model is run with where nothing else is asked for, as `generate` runs it."""
        found = family_of(self.pipeline).own_arguments(self.pipeline)
        if self._spec is not None:
            spec = self._spec
            found |= {"num_inference_steps": spec.steps, "guidance_scale": spec.guidance}
            found |= {name: side for name in ("height", "width") if (side := getattr(spec, name)) is not None}
        return found


def _images(asked: dict[str, Any]) -> int:
    """How many images a call makes."""
    prompt, embeds = asked.get("prompt"), asked.get("prompt_embeds")
    prompts = len(embeds) if embeds is not None else len(prompt) if isinstance(prompt, (list, tuple)) else 1
    return prompts * int(asked.get("num_images_per_prompt") or 1)


def _generators(seed: Any, images: int) -> list[torch.Generator]:
    """Noise from one seed for each image; from a single one they count up, as nnsight's own models do."""
    seeds = seed_list(seed)
    if len(seeds) == 1:
        seeds = [seeds[0] + place for place in range(images)]
    if len(seeds) != images:
        raise UserError(f"{len(seeds)} seeds for {images} pictures; give one, or one for each.")
    # On the CPU, so that a seed means the same noise on every device.
    return [torch.Generator("cpu").manual_seed(one) for one in seeds]


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


def _read(envoy: Any, hookpoint: Hookpoint, running: PipelineState) -> Tensor:
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
