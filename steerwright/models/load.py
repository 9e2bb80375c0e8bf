"""Load a model by its spec, ready to run: on the device, frozen, without progress bars, safety checker or watermark."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from steerwright.errors import UserError
from steerwright.files import lfs_pointer_in
from steerwright.former_name import setting
from steerwright.models.building import building
from steerwright.models.custom_code import NO_CODE, check_adapters, check_components, code_refused
from steerwright.models.families import FAMILIES, denoiser
from steerwright.models.fingerprint import Fingerprint, check_expected
from steerwright.models.identify import ask_hub, cached_commit, model_folder, resolve_commit, unavailable
from steerwright.models.identify import fingerprint as identify
from steerwright.models.spec import ModelSpec

if TYPE_CHECKING:
    from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

# One loaded thing for each thread, for as long as the same one is asked for.

Thing = TypeVar("Thing")


class OncePerThread(Generic[Thing]):
    """Holds what a thread loaded last; the old one goes before a new one comes, since both may not fit into memory."""

    def __init__(self) -> None:
        self._held = threading.local()

    def get(self, key: object, load: Callable[[], Thing]) -> Thing:
        """What this thread holds under `key`, loaded where it holds another or none."""
        if getattr(self._held, "key", None) != key:
            self._held.key = self._held.thing = None
            self._held.thing = load()
            self._held.key = key
        thing: Thing = self._held.thing
        return thing


# Compute with a given number of threads: another number rounds otherwise.


@contextmanager
def same_threads(count: int) -> Iterator[None]:
    """Inside the block torch computes with `count` threads, those of the process that planned the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


log = logging.getLogger(__name__)

_INDEX = "model_index.json"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can run, with the spec it was loaded by and the identity of its weights."""

    spec: ModelSpec
    pipeline: StableDiffusionPipeline | StableDiffusionXLPipeline | FluxPipeline
    fingerprint: Fingerprint
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision it runs in; float32 on a CPU also where the spec says float16."""
        found: torch.dtype = denoiser(self.pipeline).dtype
        return found


def load_model(
    spec: ModelSpec, fingerprint: Fingerprint | str | None = None, device: torch.device | None = None
) -> LoadedModel:
    """Load `spec` onto `device` (by default `default_device()`), as the pipeline class that its model_index.json names.

    `fingerprint`, or its digest, is what the model must have, for example of the model that a vector was fitted on;
    UserError when they have another one, when the class is none of the family's, and when the model can be had from no
    folder, cache or hub.
    """
    device = device or default_device()
    pipeline = _load_pipeline(spec, running_dtype(spec, device), _device_map(spec, device))
    # After loading: only now is a hub model surely in the cache, so that its commit is known without a network.
    identity = identify(spec)
    check_expected(spec, identity, fingerprint)
    pipeline.set_progress_bar_config(disable=True)
    device = _place(pipeline, spec, device)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    return LoadedModel(spec, pipeline, identity, device)


def download_model(spec: ModelSpec) -> None:
    """Bring what loading reads of a hub model into the local cache. Raises UserError as `load_model`."""
    from diffusers import DiffusionPipeline
    from huggingface_hub import hf_hub_download

    commit = resolve_commit(spec)
    try:
        kind = _pipeline_class(spec, Path(hf_hub_download(spec.source, _INDEX, revision=commit)))
        DiffusionPipeline.download(
            spec.source, revision=commit, use_safetensors=True, **FAMILIES[spec.family].classes[kind]
        )
    except UserError:
        raise
    except Exception as error:  # as in hub.ask_hub: each release of huggingface_hub raises another one
        raise unavailable(spec, f"its download broke off ({type(error).__name__})") from error


def default_device() -> torch.device:
    """The device of STEERWRIGHT_DEVICE (cpu, cuda, cuda:1, mps), else a CUDA device if there is one, else the CPU."""
    wanted = setting("DEVICE")
    if not wanted:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"STEERWRIGHT_DEVICE={wanted!r} is no device of this machine; unset it, or write cpu."
        ) from error


def running_dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    """The precision that the model runs in on this device: float16 is float32 on a CPU, and bfloat16 in FLUX."""
    # Half precision on a CPU is slower than float32, and several operators lack it.
    if device.type == "cpu" and spec.dtype == "float16":
        return torch.float32
    dtype, why = FAMILIES[spec.family].dtype(spec.dtype)
    if why:
        log.warning("%s runs in %s: %s", spec.name, dtype, why)
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]


def _device_map(spec: ModelSpec, device: torch.device) -> str | None:
    # A map of one place is none; a CPU is one.
    return None if device.type == "cpu" else spec.device_map


def _place(pipeline: Any, spec: ModelSpec, device: torch.device) -> torch.device:
    """Bring the networks where they run; the device on which what is given to them must be."""
    if _device_map(spec, device) is not None:
        return torch.device(pipeline._execution_device)
    # On a CPU there is nothing to save: all is in its memory already.
    offload = "none" if device.type == "cpu" else spec.offload
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return device


def _load_pipeline(spec: ModelSpec, dtype: torch.dtype, device_map: str | None) -> Any:
    folder = model_folder(spec)
    if folder is not None:
        kind = _pipeline_class(spec, folder / _INDEX)
        check_adapters(f"Model {spec.name!r}", folder, *folder.iterdir())
        try:
            return _from_pretrained(kind, spec, str(folder), dtype, device_map)
        except (OSError, ValueError, RuntimeError) as error:
            raise _broken(spec, error) from error
    commit = cached_commit(spec)
    if commit is not None:
        try:
            return _from_hub(spec, dtype, device_map, commit, cached=True)
        except OSError:
            pass  # cached in part only; the hub has the rest
    commit = ask_hub(spec)
    try:
        return _from_hub(spec, dtype, device_map, commit, cached=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise _broken(spec, error) from error


def _from_hub(spec: ModelSpec, dtype: torch.dtype, device_map: str | None, commit: str, *, cached: bool) -> Any:
    from huggingface_hub import hf_hub_download

    # Before the weights: a model that cannot be steered is refused without waiting for gigabytes.
    index = hf_hub_download(spec.source, _INDEX, revision=commit, local_files_only=cached)
    kind = _pipeline_class(spec, Path(index))
    return _from_pretrained(kind, spec, spec.source, dtype, device_map, revision=commit, local_files_only=cached)


@building()
def _from_pretrained(
    kind: str, spec: ModelSpec, source: str, dtype: torch.dtype, device_map: str | None, **where: Any
) -> Any:
    import diffusers
    import diffusers.utils.logging
    import transformers.utils.logging

    # Loading takes seconds; its bars would tear the lines of a progress display of the whole.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    placed = {} if device_map is None else {"device_map": device_map}
    # use_safetensors: weights that need pickle could run anything.
    return getattr(diffusers, kind).from_pretrained(
        source, dtype=dtype, use_safetensors=True, **NO_CODE, **FAMILIES[spec.family].classes[kind], **placed, **where
    )


def _pipeline_class(spec: ModelSpec, index: Path) -> str:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        found = content.get("_class_name")
    except (ValueError, AttributeError) as error:
        raise UserError(f"Model {spec.name!r}: {index} is no JSON object; save it again.") from error
    known = FAMILIES[spec.family].classes
    if isinstance(found, list):  # [file, class]: a pipeline's own code
        raise code_refused(f"Model {spec.name!r}", spec.source)
    if found in known:
        check_components(f"Model {spec.name!r}", content, spec.source)
    else:
        raise UserError(
            f"Model {spec.name!r}: {spec.source} holds a {found}, but the family {spec.family!r} is "
            f"{' or '.join(known)}; correct `source` or `family`."
        )
    return str(found)


def _broken(spec: ModelSpec, error: Exception) -> UserError:
    if (pointer := lfs_pointer_in(model_folder(spec))) is not None:
        return UserError(f"Model {spec.name!r}: {pointer}")
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"Model {spec.name!r}: {spec.source} could not be loaded ({first}); save or download it again.")


# A model for each thread: two shards at once in one model would meet each other's hooks.
_models: OncePerThread[LoadedModel] = OncePerThread()


def load_once(spec: ModelSpec, digest: str) -> LoadedModel:
    """The model, loaded once in each thread for as long as the same one is asked for."""
    wanted = (digest, spec.model_copy(update={"source": "", "name": ""}), default_device())
    return _models.get(wanted, lambda: load_model(spec, digest))
